"""Access control of the embedded broker: logins, topics that users may write and read, retained messages."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bridge.embedded import BrokerSupervisor
from channels.passwords import make_hash
from store import Store, open_store
from tests.support.brokers.access import READS, WRITES
from tests.support.limits import without_rates
from tests.support.mqtt import MqttLine
from tests.support.waiting import DEADLINE
from wire.mqtt import V5, V311, ConnAck, Connect, Publish, Reason, Subscribe, Subscription, Will

SECRET = b"secret of alice"
Enter = Callable[..., MqttLine]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the store."""
    return tmp_path_factory.mktemp("embedded") / "data"


@pytest.fixture(scope="module")
def store(data: Path) -> Iterator[Store]:
    """A store in which alice is registered."""
    opened = open_store(data)
    register(opened, "alice", SECRET)
    yield opened
    opened.close()


def register(store: Store, name: str, password: bytes) -> None:
    """Bind a name to a password."""
    store.open_account(name)
    store.set_password(name, make_hash(password.decode()))


@pytest.fixture(scope="module")
def broker(store: Store, data: Path) -> Iterator[BrokerSupervisor]:
    """A running broker for all tests of this module; each test uses clients and topics of its own."""
    made = BrokerSupervisor("127.0.0.1", 0, data, "chat", limits=without_rates())
    made.start()
    assert made.wait_until_ready(DEADLINE)
    yield made
    made.close()
    assert "embedded-broker" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def enter(broker: BrokerSupervisor, mqtt: Callable[..., MqttLine]) -> Enter:
    """Connect by name: the server and alice with their passwords."""
    where = urlsplit(broker.url)
    known = {"partyline": (where.password or "").encode(), "alice": SECRET}

    def make(name: str | None, **fields: Any) -> MqttLine:
        defaults = {"version": V311, "password": known.get(name or "")}
        return mqtt(f"{where.hostname}:{where.port}", name, **{**defaults, **fields})

    return make


def retain(line: MqttLine, topic: str, payload: str) -> None:
    """Publish a retained message."""
    packet_id = line.fresh_id()
    line.send(Publish(topic, payload.encode(), 1, retain=True, packet_id=packet_id))
    line.settle(packet_id, 1)


def sync(server: MqttLine, *lines: MqttLine) -> None:
    """Wait until each line, subscribed to `chat/server`, has received everything that was published before."""
    server.publish("chat/server", "the end")
    for line in lines:
        line.message("chat/server", lambda packet: packet.payload == b"the end")


def test_a_registered_name_takes_its_password(enter: Enter, store: Store) -> None:
    for password in (None, b"", b"wrong", SECRET + b"x"):
        assert enter("alice", password=password, refused=True).connack.reason == Reason.BAD_USER_NAME_OR_PASSWORD
    enter("alice").ping()
    enter("Alice", password=SECRET).ping()
    enter("dora").disconnect()
    register(store, "Dora", b"from now on")
    enter("dora", refused=True)
    enter("dora", password=b"from now on").ping()


def test_guests_need_a_valid_name(enter: Enter) -> None:
    enter("bob").ping()
    enter("carol", password=b"whatever").ping()
    for name in (None, "", "a/b", "+", "#", "a b", "x" * 33, "ü"):
        assert enter(name, client_id="c", refused=True).connack.reason == Reason.BAD_USER_NAME_OR_PASSWORD


def test_only_the_server_has_its_name(enter: Enter) -> None:
    for name in ("partyline", "PartyLine"):
        for password in (None, b"", b"wrong"):
            enter(name, password=password, refused=True)
    enter("partyline").ping()


def test_mqtt_5_is_answered(enter: Enter) -> None:
    """The embedded broker refuses it; amqtt itself would leave the client waiting."""
    line = enter("bob", version=V5, refused=True)
    assert line.connack.reason == Reason.UNSUPPORTED_PROTOCOL_VERSION
    assert line.until_closed() == []


def test_bytes_that_are_not_a_connect_end_the_connection(enter: Enter) -> None:
    for data in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x10\xff\xff\xff\xff\x01",
        b"\x10\x02\x00\x04",
        b"\x10\x0c\x00\x04MQTT\x04",
        b"",
    ):
        line = enter(None, connect=False)
        line.send_bytes(data)
        line.socket.shutdown(socket.SHUT_WR)
        assert line.until_closed() == []
    enter("bob").ping()


def test_what_a_client_may_write(enter: Enter) -> None:
    server, alice = enter("partyline"), enter("alice")
    server.subscribe("chat/#")
    for topic in WRITES:
        alice.publish(topic, "hello")
    sync(server, server)
    got = [packet.topic for packet in server.messages() if packet.payload == b"hello"]
    assert got == [topic for topic, allowed in WRITES.items() if allowed]


def test_what_a_client_may_read(enter: Enter) -> None:
    """Wider filters are granted and show only that; filters that name another user's topics are refused."""
    server, alice = enter("partyline"), enter("alice")
    refused = {each for each in READS if alice.subscribe(each)[0] >= 0x80}
    assert refused == {"chat/to/bob/#", "chat/direct/bob/alice", "chat/from/alice/#"}
    read = ["chat/channels/lab", "chat/presence/bob", "chat/to/alice/msg/bob", "chat/direct/alice/bob"]
    closed = ["chat/to/bob/msg/alice", "chat/direct/bob/alice", "chat/from/alice/say/x", "chat/from/bob/say/x"]
    for topic in (*closed, *read):
        server.publish(topic, "hello")
    sync(server, alice)
    assert {packet.topic for packet in alice.messages()} == {*read, "chat/server"}


def test_topics_outside_the_root_are_free(enter: Enter) -> None:
    bob, carol = enter("bob"), enter("carol")
    assert bob.subscribe("sensors/#", "chatter/+")[0] < 0x80
    for topic in ("sensors/hall/temperature", "chatter/x"):
        carol.publish(topic, "21")
        bob.message(topic)
    everything = enter("dave")
    everything.subscribe("#")
    bob.publish("sensors/x", "22")
    everything.message("sensors/x")


def test_retained_messages(enter: Enter) -> None:
    """Below the root only the server retains; clients get retained messages when they subscribe."""
    server, bob = enter("partyline"), enter("bob")
    retain(server, "chat/presence/zoe", "here")
    retain(bob, "chat/from/bob/say/lab", "never kept")
    retain(bob, "chat/direct/carol/bob", "never kept")
    retain(bob, "lamp/1", "on")
    carol = enter("carol")
    carol.subscribe("chat/direct/carol/+", "#")
    assert carol.message("chat/presence/zoe").retain
    assert carol.message("lamp/1").payload == b"on"
    carol.subscribe("chat/server")
    sync(server, carol)
    assert {packet.topic for packet in carol.messages()} == {"chat/presence/zoe", "lamp/1", "chat/server"}
    silent = enter("dave")  # others have subscribed, dave has not
    silent.subscribe("chat/server")
    sync(server, silent)
    assert {packet.topic for packet in silent.messages()} == {"chat/server"}
    for topic in ("chat/presence/zoe", "lamp/1"):
        retain(server, topic, "")


def test_a_will_obeys_the_rules(enter: Enter) -> None:
    server = enter("partyline")
    server.subscribe("chat/#")
    refused = enter("bob", will=Will("chat/from/alice/say/lab", b"forged", 0), refused=True)
    assert refused.connack.reason == Reason.NOT_AUTHORIZED
    enter("bob", will=Will("chat/from/bob/gone", b"lost", 0)).reset()
    server.message("chat/from/bob/gone")
    assert server.messages("chat/from/alice/say/lab") == []


def test_a_failed_login_changes_nothing(enter: Enter) -> None:
    """Not the session with the same client id, nor its name, nor its will."""
    server = enter("partyline")
    server.subscribe("chat/#")
    alice = enter("alice", client_id="one", clean=False)
    alice.subscribe("chat/to/alice/#", "chat/server")
    will = Will("chat/from/alice/say/lab", b"forged", 0)
    for clean in (False, True):
        for name in ("alice", "partyline"):
            enter(name, client_id="one", clean=clean, password=b"wrong", will=will, refused=True)
        enter("bob", client_id="one", clean=clean).ping()  # another user with the same client id
    server.publish("chat/to/alice/msg/bob", "still here")
    alice.message("chat/to/alice/msg/bob")
    alice.publish("chat/from/bob/say/lab", "forged")
    sync(server, alice, server)
    assert not server.messages("chat/from/alice/say/lab") + server.messages("chat/from/bob/say/lab")


def test_a_session_belongs_to_its_user(enter: Enter) -> None:
    server = enter("partyline")
    alice = enter("alice", client_id="kept", clean=False)
    alice.subscribe("chat/to/alice/#")
    alice.disconnect()
    server.publish("chat/to/alice/msg/bob", "for later")
    thief = enter("bob", client_id="kept", clean=False)
    assert not thief.connack.session_present
    thief.subscribe("chat/server")
    sync(server, thief)
    assert {packet.topic for packet in thief.messages()} == {"chat/server"}
    again = enter("alice", client_id="kept", clean=False)
    assert again.connack.session_present
    assert again.message("chat/to/alice/msg/bob").payload == b"for later"


@pytest.mark.parametrize("clean", [False, True])
def test_a_connection_is_taken_over(enter: Enter, clean: bool) -> None:
    """By the same user: the old connection ends, its will is published, and a persistent session goes on."""
    server = enter("partyline")
    server.subscribe("chat/from/alice/gone")
    old = enter("alice", client_id="phone", clean=clean, will=Will("chat/from/alice/gone", b"lost", 0))
    old.subscribe("chat/to/alice/#")
    new = enter("alice", client_id="phone", clean=clean)
    assert new.connack.session_present != clean
    old.until_closed()
    if clean:
        server.message("chat/from/alice/gone")
        new.subscribe("chat/to/alice/#")
    server.publish("chat/to/alice/msg/bob", "to the new one")
    new.message("chat/to/alice/msg/bob")


def test_many_take_overs_at_once(enter: Enter) -> None:
    """The last one is served, and the others end."""
    server = enter("partyline")
    lines = [enter("bob", connect=False) for _ in range(6)]
    for line in lines:
        line.send(Connect(version=V311, username="bob", client_id="one", clean=False))
    for line in lines:
        line.expect(ConnAck)
    last = enter("bob", client_id="one", clean=False)
    last.subscribe("chat/to/bob/#")
    server.publish("chat/to/bob/msg/alice", "hello")
    last.message("chat/to/bob/msg/alice")
    for line in lines:
        line.until_closed()


def test_no_message_is_lost_while_others_subscribe(enter: Enter) -> None:
    """amqtt by itself skips the remaining subscribers of a message if another client subscribes meanwhile."""
    server, sender = enter("partyline"), enter("bob")
    readers = [enter(f"reader{number}") for number in range(8)]
    for reader in readers:
        reader.subscribe("chat/channels/lab", "chat/server")
    joining = enter("carol")
    for number in range(100):
        server.publish("chat/channels/lab", f"{number}", 0)
        joining.send(Subscribe(number + 1, (Subscription(f"sensors/{number}", 0),)))
        sender.publish(f"sensors/{number}", "x", 0)
    sync(server, *readers)
    for reader in readers:
        said = [packet.payload for packet in reader.messages("chat/channels/lab")]
        assert said == [b"%d" % number for number in range(100)]
