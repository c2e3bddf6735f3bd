"""The session of an MQTT client is the same at each server: it comes along, and it ends once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from bridge.clients import partings
from bridge.clients.session_state import SessionState
from channels.hearing import Hearing
from server import Server
from tests.servers.alike import Connect, joined, wait_for, wait_until_alike
from tests.servers.conftest import StartServers
from tests.support.clients import Json
from tests.support.mqtt import MqttLine, body
from tests.support.servers import LocalSite
from tests.support.waiting import DEADLINE, eventually
from wire.frames import Join, Register, Say
from wire.limits import Limits
from wire.mqtt import V5, Properties, Publish, PubRec, Reason, Subscription

Mqtt = Callable[..., MqttLine]
PASSWORD = "correct-horse"


def keep(version: int = V5, seconds: int = 1_000) -> dict[str, Any]:
    """Return what CONNECT says of a session that is kept."""
    properties = Properties(session_expiry_interval=seconds) if version == V5 else Properties()
    return {"clean": False, "version": version, "properties": properties}


def post(client: Json, *texts: str) -> None:
    """Say each in lab."""
    for text in texts:
        client.request(Say(text, "lab"))


def owners(server: Server) -> dict[str, tuple[int, bool]]:
    """Return the server that each session was at last, and whether its client is connected."""
    return {each.key: (each.server, each.until is None) for each in server.chat.store.clients("")}


@pytest.mark.parametrize("away", [True, False])
def test_a_client_goes_on_at_another_server_where_it_was(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, version: int, *, away: bool
) -> None:
    """With its subscriptions, and what it has acknowledged; also if it is connected at the first one still."""
    one, other = start_servers(2)
    bob = joined(connect, one, "bob")
    first = mqtt(one.address, "alice", **keep(version))
    assert first.subscribe("chat/channels/+", "chat/to/alice/msg/+") == (1, 1)
    post(bob, "one", "two")
    first.hear("lab", "two")
    first.ping()
    if away:
        first.disconnect()
        post(bob, "missed")
    second = mqtt(other.address, "alice", **keep(version))
    assert second.connack.session_present
    first.until_closed()
    post(bob, "three")
    second.hear("lab", "three")
    assert second.texts("lab") == ["missed"] * away + ["three"]
    assert owners(one) == {"alice/alice-line": (other.chat.servers.here, True)}
    second.ping()
    second.disconnect()
    post(bob, "four")
    third = mqtt(one.address, "alice", **keep(version))
    assert third.connack.session_present
    third.hear("lab", "four")
    assert third.texts("lab") == ["four"]
    assert third.unsubscribe("chat/channels/+", "chat/to/alice/msg/+") == ((0, 0) if version == V5 else ())


def test_a_clean_start_ends_the_session_at_another_server(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, version: int
) -> None:
    one, other = start_servers(2)
    bob = joined(connect, one, "bob")
    first = mqtt(one.address, "alice", **keep(version))
    first.subscribe("chat/channels/lab")
    second = mqtt(other.address, "alice", version=version)
    assert not second.connack.session_present
    first.until_closed()
    post(bob, "one")
    second.ping()
    assert second.texts("lab") == []
    assert owners(one) == {}
    second.disconnect()
    assert not mqtt(one.address, "alice", **keep(version)).connack.session_present


def test_what_was_not_acknowledged_comes_again(start_servers: StartServers, connect: Connect, mqtt: Mqtt) -> None:
    one, other = start_servers(2)
    bob = joined(connect, one, "bob")
    first = mqtt(one.address, "alice", acknowledge=False, **keep())
    first.subscribe("chat/channels/lab")
    post(bob, "one", "two", "three")
    first.ack(first.hear("lab", "one").packet_id)
    last = first.hear("lab", "three")
    second = mqtt(other.address, "alice", **keep())
    again = second.hear("lab", "three")
    assert second.texts("lab") == ["two", "three"]
    assert again.dup
    assert again.packet_id == last.packet_id


def test_a_message_at_qos_2_that_is_sent_again_at_another_server_is_stored_once(
    start_servers: StartServers, mqtt: Mqtt, connect: Connect, version: int
) -> None:
    one, other = start_servers(2)
    bob = joined(connect, one, "bob")
    first = mqtt(one.address, "alice", **keep(version))
    packet = Publish("chat/from/alice/say/lab", b"once", 2, packet_id=7)
    first.send(packet)
    first.expect(PubRec)
    second = mqtt(other.address, "alice", **keep(version))
    assert second.connack.session_present
    second.send(Publish(packet.topic, packet.payload, 2, dup=True, packet_id=7))
    second.settle(7, 2)
    second.send(Publish(packet.topic, b"twice", 2, packet_id=7))
    assert second.settle(7, 2).reason == 0
    wait_for(bob, "twice")
    post(bob, "the end")
    assert bob.request(Join("lab")).tail == 3


def test_a_session_that_is_connected_elsewhere_makes_no_room(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt
) -> None:
    """The server does not keep the session of the new client instead."""
    one, other = start_servers(2, Limits(sessions_per_user=1))
    alice = connect(one.address, "alice")
    alice.request(Register(PASSWORD))
    known: dict[str, Any] = {"password": PASSWORD.encode(), **keep()}
    phone = mqtt(one.address, "alice", client_id="phone", **known)
    tablet = mqtt(other.address, "alice", client_id="tablet", **known)
    assert tablet.connack.properties.session_expiry_interval == 0
    tablet.disconnect()
    phone.disconnect()
    tablet = mqtt(other.address, "alice", client_id="tablet", **known)
    assert tablet.connack.properties.session_expiry_interval is None
    assert owners(one) == {"alice/tablet": (other.chat.servers.here, True)}


def test_a_session_that_is_connected_elsewhere_is_not_ended(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt
) -> None:
    """Nor does it count as one of a client that is away here, where it was before; nor does a start end it."""
    one, other = start_servers(2)
    first = mqtt(one.address, "alice", **keep(seconds=1))
    first.subscribe("chat/channels/lab")
    first.disconnect()
    second = mqtt(other.address, "alice", **keep(seconds=1))
    eventually(lambda: not one._mqtt.registry._away, lambda: repr(one._mqtt.registry._away))
    assert not one._mqtt.filter_budget._kept
    one.chat.store.end_clients(2**45)
    assert not one.chat.store.drop_away_guest("alice/alice-line")
    start_servers(1)
    second.ping()
    assert owners(one) == {"alice/alice-line": (other.chat.servers.here, True)}
    second.disconnect()
    eventually(lambda: not owners(one), lambda: repr(owners(one)))


def test_the_sessions_of_a_dead_server_are_kept_and_end(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, site: LocalSite
) -> None:
    """One client is back at another server; that server ends the session of the one that is not."""
    one, other = start_servers(2)
    bob = joined(connect, other, "bob")
    lines = {name: mqtt(one.address, name, acknowledge=False, **keep(seconds=1)) for name in ("alice", "carol")}
    for line in lines.values():
        line.subscribe("chat/channels/lab")
        line.ping()
    post(bob, "one")
    for line in lines.values():
        line.hear("lab", "one")
    site.kill(1)
    assert {connected for _, connected in owners(other).values()} == {False}
    back = mqtt(other.address, "alice", **keep(seconds=1))
    assert back.connack.session_present
    back.hear("lab", "one")
    other.chat.store.end_clients(2**45)
    assert [*owners(other)] == ["alice/alice-line"]
    for line in lines.values():
        line.close()


def test_expired_sessions_are_looked_for_now_and_then(
    start_servers: StartServers, mqtt: Mqtt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has parted them: the server may have died since."""
    monkeypatch.setattr("bridge.clients.registry._SWEEP", 0.01)
    one, other = start_servers(2)
    monkeypatch.setattr("bridge.clients.registry._GRACE", 1_000)
    line = mqtt(one.address, "alice", **keep(seconds=1))
    line.disconnect()
    eventually(lambda: not owners(other), lambda: repr(owners(other)))


def test_a_server_that_does_not_answer_is_waited_for_a_while(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, site: LocalSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it goes on, it does not change the session that the other server has."""
    monkeypatch.setattr(partings, "SECONDS", 0.2)
    one, other = start_servers(2)
    bob = joined(connect, other, "bob")
    first = mqtt(one.address, "alice", **keep())
    first.subscribe("chat/channels/lab")
    site.living[1].deaf = True
    second = mqtt(other.address, "alice", **keep())
    assert second.connack.session_present
    second.subscribe("chat/channels/hall")
    first.subscribe("chat/channels/late")
    first.unsubscribe("chat/channels/lab")
    first.disconnect(expiry=0)
    wait_until_gone(one, "alice")
    post(bob, "one")
    second.hear("lab", "one")
    second.ping()
    assert owners(other) == {"alice/alice-line": (other.chat.servers.here, True)}
    assert other.chat.store.client_filters("alice/alice-line").keys() == {"chat/channels/lab", "chat/channels/hall"}
    second.disconnect()
    assert mqtt(other.address, "alice", **keep()).connack.session_present


def wait_until_gone(server: Server, name: str) -> None:
    """Return when the connections of a user at a server have ended for good."""

    def there() -> bool:
        user = server.chat.directory.find(name)
        return (user is not None and bool(user.sessions)) or bool(server._mqtt.partings._open)

    eventually(lambda: not there(), lambda: f"{name} is there")


def test_a_login_that_lost_its_name_takes_no_session_up(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same client has connected at another server while the first login was about to open its session."""
    monkeypatch.setattr(partings, "SECONDS", 0.2)
    one, other = start_servers(2)
    before = mqtt(one.address, "alice", **keep())
    before.subscribe("chat/channels/lab")
    before.disconnect()
    arrived, go_on, open_state = threading.Event(), threading.Event(), SessionState.open

    def open_late(state: SessionState, *arguments: Any, **fields: Any) -> bool:
        if state._shared is one._mqtt:
            arrived.set()
            assert go_on.wait(DEADLINE)
        return open_state(state, *arguments, **fields)

    monkeypatch.setattr(SessionState, "open", open_late)
    late = []
    for clean in (False, True):
        dial = threading.Thread(target=lambda clean=clean: late.append(try_to_connect(mqtt, one, clean=clean)))
        dial.start()
        assert arrived.wait(DEADLINE)
        arrived.clear()
        winner = mqtt(other.address, "alice", **keep())
        assert winner.connack.session_present
        go_on.set()
        dial.join(DEADLINE)
        go_on.clear()
        winner.ping()
        assert owners(other) == {"alice/alice-line": (other.chat.servers.here, True)}
    assert late == [False, False]
    assert other.chat.store.client_filters("alice/alice-line").keys() == {"chat/channels/lab"}


def try_to_connect(mqtt: Mqtt, server: Server, *, clean: bool) -> bool:
    """Return whether a client gets in."""
    try:
        return mqtt(server.address, "alice", **keep() | {"clean": clean}).connack.reason == Reason.SUCCESS
    except (AssertionError, OSError):
        return False


def test_a_server_that_was_cut_off_has_its_sessions_again(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, site: LocalSite
) -> None:
    """But not those that their clients have taken along meanwhile."""
    one, other = start_servers(2)
    bob = joined(connect, other, "bob")
    stays, goes = mqtt(one.address, "alice", **keep()), mqtt(one.address, "carol", **keep())
    for line in (stays, goes):
        line.subscribe("chat/channels/lab")
    wait_until_alike(one, other)
    site.cut_off(1)
    assert {connected for _, connected in owners(other).values()} == {False}
    again = mqtt(other.address, "carol", **keep())
    assert again.connack.session_present
    site.back(1)
    goes.until_closed()
    wait_until_alike(one, other)
    here, there = one.chat.servers.here, other.chat.servers.here
    eventually(
        lambda: owners(other) == {"alice/alice-line": (here, True), "carol/carol-line": (there, True)},
        lambda: repr(owners(other)),
    )
    post(bob, "one")
    for line in (stays, again):
        line.hear("lab", "one")


def test_a_channel_that_a_server_has_not_heard_of_is_read_from_where_the_client_was(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = start_servers(2)
    learn, hears = Hearing._learn, threading.Event()
    monkeypatch.setattr(Hearing, "_learn", lambda hearing, id: learn(hearing, id) if hears.is_set() else None)
    first = mqtt(one.address, "alice", **keep())
    first.subscribe("chat/channels/+")
    bob = joined(connect, one, "bob")
    post(bob, "one", "two")
    first.hear("lab", "two")
    first.ping()
    second = mqtt(other.address, "alice", **keep())
    assert other.chat.channel("lab") is None
    hears.set()
    post(bob, "three")
    second.hear("lab", "three")
    assert second.texts("lab") == ["three"]


def test_presence_is_retained_for_users_at_all_servers(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt
) -> None:
    """New subscribers get it at each server, and present ones are told who comes and goes elsewhere."""
    one, other = start_servers(2)
    near, far = mqtt(one.address, "near"), mqtt(other.address, "far")
    for line in (near, far):
        line.subscribe("chat/presence/+", "chat/server")
    alice = connect(one.address, "alice")
    for line in (near, far):
        told = line.message("chat/presence/alice")
        assert body(told)["online"]
        assert body(told)["doors"] == ["socket"]
    wait_until_alike(one, other)
    late = mqtt(other.address, "late")
    late.subscribe(Subscription("chat/presence/alice", 1, retain_as_published=True), "chat/presence/+", "chat/server")
    late.ping()
    retained = {each.topic: body(each)["online"] for each in late.messages() if each.topic != "chat/server"}
    assert retained == dict.fromkeys([f"chat/presence/{name}" for name in ("alice", "near", "far", "late")], True)
    assert late.messages("chat/server")[0].payload == b"online"
    alice.close()
    for line in (near, far, late):
        line.message("chat/presence/alice", lambda packet: not body(packet)["online"])
    wait_until_alike(one, other)
    again = mqtt(one.address, "again")
    again.subscribe("chat/presence/alice", "chat/presence/far")
    assert not body(again.message("chat/presence/alice"))["online"]
    assert body(again.message("chat/presence/far"))["online"]
