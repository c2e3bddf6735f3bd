"""Live messages reach clients at other servers, and users of the broker that another server mirrors; none loops."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from bridge.mirror import BrokerConfig
from channels import Live
from channels.ring.notices import encode
from server import Server
from tests.servers.alike import Connect, wait_until_alike
from tests.servers.conftest import StartServers
from tests.support.brokers import StartBroker
from tests.support.brokers.site import Site, quick, start_broker
from tests.support.mqtt import MqttLine
from tests.support.servers import LocalSite
from tests.support.waiting import eventually
from wire.frames import Register
from wire.limits import Limits
from wire.mqtt import NONE, V311, Publish, Reason

__all__ = ["quick", "start_broker"]
Mqtt = Callable[..., MqttLine]
PASSWORD = "correct-horse"


def reader(mqtt: Mqtt, server: Server, name: str, **fields: object) -> MqttLine:
    """Return a client that reads the live messages to its user."""
    line = mqtt(server.address, name, **fields)
    line.subscribe(f"chat/direct/{name}/+")
    return line


def test_a_live_message_reaches_clients_at_every_server(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, version: int
) -> None:
    """All of the receiver's, once each, with their properties, and in order."""
    servers = start_servers(3)
    connect(servers[0].address, "bob").request(Register(PASSWORD))
    secret = PASSWORD.encode()
    readers = [
        reader(mqtt, servers[at], "bob", password=secret, client_id=f"bob{at}", version=version) for at in range(3)
    ]
    alice = mqtt(servers[1].address, "alice")
    wait_until_alike(*servers)
    topic = "chat/direct/bob/alice"
    alice.publish(topic, b"\x00\xff" * 5_000, content_type="x/y", user_property=(("a", "b"), ("a", "c")))
    for number in range(20):
        alice.publish(topic, f"{number}")
    for line in readers:
        line.message(topic, lambda packet: packet.payload == b"19")
        line.ping()
        first, *others = line.messages(topic)
        assert first.payload == b"\x00\xff" * 5_000
        if version != V311:
            assert first.properties.content_type == "x/y"
            assert first.properties.user_property == (("a", "b"), ("a", "c"))
        assert [packet.payload for packet in others] == [b"%d" % number for number in range(20)]


def test_a_live_message_is_told_only_where_its_receiver_may_read_it(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, site: LocalSite
) -> None:
    """Nothing is told for a user who is here, who is away, or who has no MQTT client elsewhere."""
    one, other = start_servers(2)
    here, alice = reader(mqtt, one, "here"), mqtt(one.address, "alice")
    connect(other.address, "program")
    there = reader(mqtt, other, "there")
    wait_until_alike(one, other)
    for to in ("here", "away", "program", "there"):
        alice.publish(f"chat/direct/{to}/alice", to)
    here.message("chat/direct/here/alice")
    there.message("chat/direct/there/alice")
    told = [message for _, message in site.told if '"live"' in message]
    assert len(told) == 1
    assert '"there"' in told[0]


def test_a_live_message_that_a_newer_server_packs_in_another_way_is_passed_over(
    start_servers: StartServers, mqtt: Mqtt
) -> None:
    """Those after it arrive."""
    one, other = start_servers(2)
    bob = reader(mqtt, one, "bob")
    wait_until_alike(one, other)
    known = msgspec.msgpack.encode((b"hello", NONE))
    told = [Live("bob", "alice", packed, False) for packed in (b"\xc1", known)]
    ((message, _),) = encode(told)
    one.chat._inbox.hear(other.chat.servers.here, message)
    bob.message("chat/direct/bob/alice", lambda packet: packet.payload == b"hello")


def test_the_senders_rate_limit_holds(start_servers: StartServers, mqtt: Mqtt) -> None:
    one, other = start_servers(2, Limits(live_per_second=5))
    bob, alice = reader(mqtt, other, "bob"), mqtt(one.address, "alice")
    wait_until_alike(one, other)
    alice.send(*[Publish("chat/direct/bob/alice", b"%d" % number, 1, packet_id=number) for number in range(1, 101)])
    reasons = [alice.settle(number, 1).reason for number in range(1, 101)]
    passed = [b"%d" % number for number, reason in enumerate(reasons, 1) if reason != Reason.QUOTA_EXCEEDED]
    assert 0 < len(passed) < 100
    bob.message("chat/direct/bob/alice", lambda packet: packet.payload == passed[-1])
    assert [packet.payload for packet in bob.messages()] == passed


@pytest.mark.usefixtures("quick")
def test_users_of_the_broker_and_clients_of_a_server_without_the_mirror(
    start_servers: StartServers, start_broker: StartBroker, mqtt: Mqtt, connect: Connect
) -> None:
    """Both ways, and once: neither server sends back what it has heard."""
    broker = start_broker("mosquitto")
    one, other = start_servers(2, broker=BrokerConfig(url=broker.url))
    near = Site(one, broker, mqtt)
    near.up()
    oven = near.line("oven", "chat/direct/+/+", client_id="oven")
    oven.publish("chat/from/oven/register")
    eventually(lambda: other.chat.directory.find("oven") is not None, lambda: "oven is not known")
    alice, bob = reader(mqtt, other, "alice"), reader(mqtt, one, "bob")
    wait_until_alike(one, other)
    alice.publish("chat/direct/oven/alice", "how warm?")
    assert oven.message("chat/direct/oven/alice").payload == b"how warm?"
    for to, line in (("alice", alice), ("bob", bob)):
        oven.publish(f"chat/direct/{to}/oven", "220", qos=0)
        assert line.message(f"chat/direct/{to}/oven").payload == b"220"
    alice.publish("chat/direct/oven/alice", "thanks")
    oven.message("chat/direct/oven/alice", lambda packet: packet.payload == b"thanks")
    assert [packet.payload for packet in oven.messages("chat/direct/oven/alice")] == [b"how warm?", b"thanks"]
    for line in (alice, bob):
        line.ping()
        assert len(line.messages()) == 1
