"""The will of an MQTT client is published once, whichever server loses the client, dies, or gets it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bridge.clients import stored_wills
from bridge.clients.stored_wills import StoredWills
from server import Server
from tests.servers.alike import Connect, joined, wait_for, wait_until_alike
from tests.servers.conftest import StartServers
from tests.support.clients import Json
from tests.support.mqtt import MqttLine
from tests.support.servers import LocalSite
from tests.support.waiting import eventually
from wire.frames import Entry, History, Join, Page, Say
from wire.limits import Limits
from wire.mqtt import V5, Properties, Will

Mqtt = Callable[..., MqttLine]


def mortal(
    mqtt: Mqtt, server: Server, name: str, text: str, *, delay: int = 0, version: int = V5, **fields: Any
) -> MqttLine:
    """Return a client whose will says something in lab, and whose session is kept."""
    will = Will(f"chat/from/{name}/say/lab", text.encode(), properties=Properties(will_delay_interval=delay or None))
    kept = {"clean": False, "properties": Properties(session_expiry_interval=1_000) if version == V5 else Properties()}
    line = mqtt(server.address, name, will=will, version=version, **kept | fields)
    line.ping()
    return line


def texts(client: Json) -> list[str]:
    """Return what a client has had in lab, after all that was said before."""
    client.request(Say("the end", "lab"))
    wait_for(client, "the end")
    return [entry.text for entry in client.of(Entry) if entry.channel == "lab"][:-1]


def stored(server: Server) -> int:
    """Return how many wills the store has."""
    store = server.chat.store
    site = getattr(store.servers(), "site", None)
    if site is not None:
        return len(site.wills)
    with store.store._database.reading() as db:  # type: ignore[attr-defined]
        return int(db.exec_driver_sql("SELECT count(*) FROM wills").scalar_one())


def wait_until_done(server: Server) -> None:
    """Return when no will is stored, and no id of one."""
    eventually(lambda: stored(server) == 0, lambda: f"{stored(server)} wills are stored")


def test_a_lost_client_and_one_that_says_goodbye(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, version: int
) -> None:
    one, other = start_servers(2)
    watcher = joined(connect, other, "watcher")
    mortal(mqtt, one, "alice", "lost", version=version).reset()
    wait_for(watcher, "lost")
    mortal(mqtt, one, "bob", "never", version=version).disconnect()
    gone = mortal(mqtt, other, "carol", "never", version=version)
    gone.do("gone")
    gone.until_closed()
    wait_until_done(one)
    assert texts(watcher) == ["lost"]


@pytest.mark.parametrize("alone", [True, False])
def test_the_wills_of_a_server_that_dies(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, site: LocalSite, *, alone: bool
) -> None:
    """One of the others publishes each, at once or after its delay; or else the next server that starts."""
    [one] = start_servers(1)
    others = [] if alone else start_servers(3)
    lines = [mortal(mqtt, one, f"user{n}", f"lost {n}", delay=n % 2) for n in range(10)]
    site.kill(1)
    others = others or start_servers(1)
    watcher = joined(connect, others[-1], "watcher")
    wait_until_done(others[0])
    for line in lines:
        line.close()
    found = {entry.text: entry.sender for entry in history(watcher)}
    assert found == {f"lost {n}": f"user{n}" for n in range(10)}
    assert len(history(watcher)) == 10


def history(client: Json) -> list[Entry]:
    """Return what was said in lab."""
    page = client.request(History(channel="lab", after=0))
    assert isinstance(page, Page)
    return page.entries


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("connected", [False, True])
def test_a_client_with_a_delayed_will_connects_at_another_server(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, *, clean: bool, connected: bool
) -> None:
    """Its will is dropped; a clean start ends the session that it belongs to, so it is published (5 §3.1.2.5)."""
    one, other = start_servers(2)
    watcher = joined(connect, other, "watcher")
    first = mortal(mqtt, one, "alice", "over", delay=500)
    if not connected:
        first.reset()
        eventually(lambda: bool(len(waiting(one))), lambda: "the will does not wait")
    keep = Properties(session_expiry_interval=1_000)
    second = mqtt(other.address, "alice", clean=clean, properties=keep)
    assert second.connack.session_present is not clean
    if connected:
        first.until_closed()
    wait_until_done(one)
    eventually(lambda: not one._mqtt.partings._open, lambda: "the first connection is there")
    assert texts(watcher) == ["over"] * clean
    second.ping()


def waiting(server: Server) -> Any:
    """Return the wills that wait at a server."""
    assert isinstance(server._mqtt.wills, StoredWills)
    return server._mqtt.wills._waiting


def test_a_will_without_a_delay_is_published_at_a_take_over(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, version: int
) -> None:
    """Also at the same server; the will of the connection that is there stays."""
    one, other = start_servers(2)
    watcher = joined(connect, other, "watcher")
    lines = [
        mortal(mqtt, server, "alice", f"will {n}", version=version) for n, server in enumerate((one, other, other, one))
    ]
    for n, line in enumerate(lines[:-1]):
        wait_for(watcher, f"will {n}")
        line.until_closed()
    lines[-1].ping()
    eventually(lambda: stored(one) == 1, lambda: f"{stored(one)} wills are stored")
    assert sorted(texts(watcher)) == ["will 0", "will 1", "will 2"]


def test_a_will_that_its_publisher_could_not_forget_is_said_once(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, site: LocalSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has died in between: another one publishes it again, and the store knows it by its id."""
    one, other = start_servers(2)
    watcher = joined(connect, other, "watcher")
    forget = StoredWills._forget
    monkeypatch.setattr(
        StoredWills, "_forget", lambda wills, due: forget(wills, due) if wills is not one._mqtt.wills else None
    )
    mortal(mqtt, one, "alice", "once").reset()
    wait_for(watcher, "once")
    assert stored(other) == 1
    site.kill(1)
    wait_until_done(other)
    assert texts(watcher) == ["once"]


def test_a_server_that_stops_leaves_its_delayed_wills_to_the_others(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt
) -> None:
    """A client that is connected then has not failed: its will is dropped."""
    one, other = start_servers(2)
    watcher = joined(connect, other, "watcher")
    mortal(mqtt, one, "alice", "late", delay=1).reset()
    eventually(lambda: bool(len(waiting(one))), lambda: "the will does not wait")
    mortal(mqtt, one, "bob", "never")
    one.close()
    wait_for(watcher, "late")
    wait_until_done(other)
    assert texts(watcher) == ["late"]


def test_a_will_waits_while_the_store_is_away(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, site: LocalSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_wills, "_AGAIN", 0.01)
    one, other = start_servers(2)
    watcher = joined(connect, other, "watcher")
    lost, said = mortal(mqtt, one, "alice", "lost"), mortal(mqtt, one, "bob", "never")
    site.away = True
    lost.reset()
    said.disconnect()
    eventually(lambda: not one.chat.directory.users()[0].sessions, lambda: "they are there")
    site.away = False
    wait_for(watcher, "lost")
    wait_until_done(one)
    assert texts(watcher) == ["lost"]


def test_a_server_that_was_taken_for_dead_publishes_no_will_again(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, site: LocalSite
) -> None:
    """But it has those again that were not published meanwhile."""
    one, other = start_servers(2)
    watcher = joined(connect, other, "watcher")
    lines = [mortal(mqtt, one, "alice", "at once"), mortal(mqtt, one, "bob", "in the end", delay=500)]
    wait_until_alike(one, other)
    site.cut_off(1)
    wait_for(watcher, "at once")
    eventually(lambda: bool(len(waiting(other))), lambda: "the will does not wait")
    site.back(1)
    eventually(lambda: any(each.owner == 1 for each in site.wills.values()), lambda: repr(site.wills))
    for line in lines:
        line.ping()
        line.reset()
    eventually(lambda: bool(len(waiting(one))), lambda: "the will does not wait")
    mqtt(other.address, "bob").ping()  # a clean start
    wait_for(watcher, "in the end")
    wait_until_done(one)
    assert texts(watcher) == ["at once", "in the end"]


def test_a_will_that_is_a_live_message_or_has_an_id(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, site: LocalSite
) -> None:
    one, other = start_servers(2)
    watcher = joined(connect, other, "watcher")
    reader = mqtt(other.address, "reader")
    reader.subscribe("chat/direct/reader/+")
    lines = [
        mqtt(one.address, "alice", will=Will("chat/direct/reader/alice", b"\x00\xff")),
        mortal(mqtt, one, "bob", '{"text": "with an id", "id": "x1"}'),
        mqtt(one.address, "carol", will=Will("chat/from/carol/msg/watcher", b"to you")),
        mqtt(one.address, "dave", will=Will("chat/from/dave/gone", b"")),
    ]
    for line in lines:
        line.ping()
    site.kill(1)
    assert reader.message("chat/direct/reader/alice").payload == b"\x00\xff"
    assert wait_for(watcher, "with an id").id == "x1"
    assert wait_for(watcher, "to you").sender == "carol"
    wait_until_done(other)
    reader.ping()
    assert len(reader.messages()) == 1
    for line in lines:
        line.close()


def test_wills_over_the_limit_do_not_wait(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, site: LocalSite
) -> None:
    """Neither those of clients here nor those of a server that has died."""
    one, other = start_servers(2, Limits(delayed_wills=1))
    watcher = joined(connect, other, "watcher")
    for n in range(2):
        mortal(mqtt, one, f"user{n}", f"{n}", delay=500).reset()
        eventually(lambda: bool(len(waiting(one))), lambda: "the will does not wait")
    wait_for(watcher, "1")
    line = mortal(mqtt, one, "user2", "2", delay=500)
    site.kill(1)
    watcher.expect(Entry, lambda entry: entry.text in ("0", "2"))
    line.close()
    eventually(lambda: stored(other) == 1, lambda: f"{stored(other)} wills are stored")
    assert watcher.request(Join("lab")).tail == 2
