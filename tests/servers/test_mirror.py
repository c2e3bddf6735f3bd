"""One of several servers runs the mirror; another one takes over when it is gone, and nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.mirror import BrokerConfig
from server import Server
from tests.servers.alike import Connect, joined, wait_for, wait_until_alike
from tests.servers.conftest import StartServers
from tests.support.brokers import Broker, StartBroker
from tests.support.brokers.scripted import ScriptedBroker
from tests.support.brokers.scripted import broker as scripted_broker
from tests.support.brokers.site import Site, quick, start_broker
from tests.support.mqtt import MqttLine, body
from tests.support.reported import Reported
from tests.support.servers import LocalSite
from tests.support.waiting import eventually
from wire.errors import LocalError
from wire.frames import BridgeStatus, Error, Hello, Msg, Say, Status, Whois
from wire.mqtt import Properties, PubAck

__all__ = ["quick", "scripted_broker", "start_broker"]
Mqtt = Callable[..., MqttLine]
pytestmark = pytest.mark.usefixtures("quick")
KEPT = Properties(session_expiry_interval=3_600)


@pytest.fixture
def broker(start_broker: StartBroker) -> Broker:
    """A broker that the servers mirror to."""
    return start_broker("mosquitto")


@pytest.fixture
def two(start_servers: StartServers, broker: Broker, mqtt: Mqtt) -> list[Site]:
    """Two servers with the mirror, of which the first one runs it."""
    one, other = start_servers(2, broker=BrokerConfig(url=broker.url))
    sites = [Site(one, broker, mqtt), Site(other, broker, mqtt)]
    sites[0].up()
    wait_until_alike(one, other)
    return sites


def listener(site: Site, name: str, *filters: str) -> MqttLine:
    """Somebody on the broker with a persistent session."""
    return site.line(name, *filters, clean=False, properties=KEPT, client_id=name)


def bridge_of(connect: Connect, server: Server) -> BridgeStatus | None:
    """Return what a user of the server reads of the mirror."""
    with connect(server.address, "asker") as asker:
        status: BridgeStatus | None = asker.request(Status()).bridge
        return status


def numbers(line: MqttLine, channel: str = "lab") -> list[int]:
    """Return the numbers of the entries of a channel as they came, also those that came again."""
    return [body(packet)["number"] for packet in line.messages(f"chat/channels/{channel}")]


def test_another_server_takes_over_when_the_first_one_stops(
    two: list[Site], connect: Connect, broker: Broker, reported: Reported
) -> None:
    one, other = two
    alice = joined(connect, other.server, "alice")
    joined(connect, one.server, "carol")
    oven = listener(one, "oven", "chat/channels/lab", "chat/presence/+", "chat/server")
    oven.ask("register")
    alice.request(Say("before", "lab"))
    oven.hear("lab", "before")
    alice.request(Msg("oven", "are you there?"))
    oven.message("chat/to/oven/msg/alice")
    one.wait(lambda status: status.behind == 0)
    assert other.status.server == one.server.chat.servers.on_duty("mirror chat").name  # type: ignore[union-attr]
    one.server.close()
    other.up()
    alice.request(Say("after", "lab"))
    oven.hear("lab", "after")
    assert numbers(oven) == [1, 2]
    oven.publish("chat/from/oven/say/lab", "still warm")
    wait_for(alice, "still warm")
    assert alice.request(Whois("oven")).doors == ["broker"]
    assert connect(other.server.address).request(Hello(name="oven")).code == "name-taken"
    alice.request(Msg("oven", "and now?"))
    oven.message("chat/to/oven/msg/alice", lambda packet: body(packet)["text"] == "and now?")
    assert other.retained("chat/server") == "online"
    assert other.retained("chat/presence/alice")["online"]
    assert not other.retained("chat/presence/carol", lambda said: not said["online"])["online"]
    assert [event.code for event in reported.events].count("mirror-taken") == 1
    assert "mirror-user-dropped" not in [event.code for event in reported.events]


def test_status_says_which_server_runs_the_mirror(two: list[Site], connect: Connect, broker: Broker) -> None:
    one, other = two
    row = other.server.chat.servers.on_duty("mirror chat")
    assert row is not None
    found = bridge_of(connect, other.server)
    assert found is not None
    assert (found.broker, found.connected, found.server, found.error) == (broker.address, False, row.name, "")
    first = bridge_of(connect, one.server)
    assert first is not None
    assert (first.connected, first.server) == (True, "")


def test_a_server_without_a_broker_never_runs_the_mirror(
    start_servers: StartServers, broker: Broker, mqtt: Mqtt, connect: Connect
) -> None:
    (plain,) = start_servers(1)
    one, other = start_servers(2, broker=BrokerConfig(url=broker.url))
    Site(one, broker, mqtt).up()
    assert bridge_of(connect, plain) is None
    one.close()
    Site(other, broker, mqtt).up()
    alice = joined(connect, plain, "alice")
    oven = Site(other, broker, mqtt).line("oven", "chat/channels/lab")
    alice.request(Say("hello", "lab"))
    oven.hear("lab", "hello")


def test_a_server_that_was_cut_off_lets_go_before_another_one_begins(
    start_servers: StartServers, scripted_broker: ScriptedBroker, connect: Connect, site: LocalSite, reported: Reported
) -> None:
    """It acknowledges nothing more, so the broker sends everything again to the next server."""
    one, other = start_servers(2, broker=BrokerConfig(url=scripted_broker.url))
    visit = scripted_broker.visit()
    visit.open()
    eventually(lambda: one.chat.mirror_status().connected, lambda: "not connected")  # type: ignore[misc]
    visit.bring("chat/from/oven/register", "")
    visit.bring("chat/from/plain/say/lab", "first")
    visit.expect(PubAck)
    visit.expect(PubAck)
    watcher = joined(connect, other, "watcher")
    site.cut_off(one.chat.servers.here)
    visit.until_closed()
    late = visit.inbox.copy()
    again = scripted_broker.newest()
    again.accept(present=True)
    again.grant()
    assert not [packet for packet in late if isinstance(packet, PubAck)]
    assert again.connect.client_id == visit.connect.client_id
    again.bring("chat/from/plain/say/lab", "second")
    again.expect(PubAck)
    wait_for(watcher, "second")
    assert watcher.request(Whois("oven")).online
    site.back(one.chat.servers.here)
    wait_until_alike(one, other)
    assert [each.server for each in site.named("oven")] == [other.chat.servers.here]
    assert one.chat.mirror_status().server == site.living[other.chat.servers.here].row.name  # type: ignore[misc]
    assert "mirror-user-dropped" not in [event.code for event in reported.events]


def test_names_pass_on_while_the_store_has_them_for_the_first_server(
    start_servers: StartServers, scripted_broker: ScriptedBroker, connect: Connect, site: LocalSite, reported: Reported
) -> None:
    """Also those of users who have never said `register`, of whom nothing is stored."""
    one, other = start_servers(2, broker=BrokerConfig(url=scripted_broker.url))
    visit = scripted_broker.visit()
    visit.open()
    for name in ("oven", "plain"):
        visit.bring(f"chat/from/{name}/{'register' if name == 'oven' else 'say/lab'}", "" if name == "oven" else "hi")
        visit.expect(PubAck)
    watcher = joined(connect, other, "watcher")
    here = one.chat.servers.here
    site.living[here].shared["mirror chat"](False)
    del site.duties["mirror chat"]
    site.living[here].shared.clear()
    with site.lock:
        site._appoint()
    again = scripted_broker.newest()
    again.accept(present=True)
    again.grant()
    again.bring("chat/from/plain/say/lab", "there")
    again.expect(PubAck)
    wait_for(watcher, "there")
    for name in ("oven", "plain"):
        assert watcher.request(Whois(name)).online
        assert isinstance(connect(one.address).request(Hello(name=name)), Error)
    wait_until_alike(one, other)
    assert not one.chat.directory.find("oven").sessions  # type: ignore[union-attr]
    assert "mirror-user-dropped" not in [event.code for event in reported.events]


def test_a_registered_user_of_the_broker_stays_proven(two: list[Site], connect: Connect) -> None:
    one, other = two
    oven = listener(one, "oven")
    oven.do("register", '{"password": "correct-horse"}')
    oven.message("chat/to/oven/register")
    one.server.close()
    other.up()
    alice = joined(connect, other.server, "alice")
    oven.publish("chat/from/oven/say/lab", "it is me")
    wait_for(alice, "it is me")
    found = connect(other.server.address).request(Hello(name="oven"))
    assert found.code == "need-password"


def test_an_embedded_broker_belongs_to_one_server(start_servers: StartServers, broker: Broker, mqtt: Mqtt) -> None:
    (one,) = start_servers(1, broker=BrokerConfig(url="embedded://127.0.0.1:0"))
    Site(one, broker, mqtt).up()
    with pytest.raises(LocalError, match="an embedded broker belongs to one server"):
        start_servers(1, broker=BrokerConfig(url="embedded://127.0.0.1:0"))
