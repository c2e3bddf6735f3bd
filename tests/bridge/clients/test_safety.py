"""No client writes or reads what belongs to another, in any way; and races of sessions and subscriptions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from threading import Event
from typing import Any

import pytest

from bridge.clients import registry
from server import Server
from store import Client
from tests.support.clients import Json
from tests.support.load import Scene
from tests.support.mqtt import MqttLine, body
from tests.support.reported import Reported
from tests.support.waiting import DEADLINE
from wire.clock import now
from wire.frames import Entry, Join, Msg
from wire.mqtt import V5, V311, Disconnect, Properties, Publish, Reason, Will

Mqtt = Callable[..., MqttLine]
Connecting = Callable[..., Json]

FOREIGN = (
    "chat/from/bob/say/lab",
    "chat/from/BOB/say/lab",
    "chat/from/bob/msg/carol",
    "chat/from//say/lab",
    "chat/from/mallory/../bob/say/lab",
    "chat/channels/lab",
    "chat/channels/lab/text",
    "chat/to/bob/msg/carol",
    "chat/to/mallory/msg/carol",
    "chat/to/bob/stored",
    "chat/presence/bob",
    "chat/presence/mallory",
    "chat/server",
    "chat/direct/bob/carol",
    "chat/direct/bob/mallory/carol",
    "$share/x/chat/channels/lab",
    "$SYS/broker/uptime",
    "chat",
    "/",
)
PRIVATE = (
    "chat/to/bob/#",
    "chat/to/bob/msg/carol",
    "chat/to/BOB/#",
    "chat/to/+/msg/carol",
    "chat/to/+/#",
    "chat/+/bob/#",
    "+/to/bob/#",
    "#",
    "+/#",
    "+/+/+/+/+",
    "chat/direct/#",
    "chat/direct/bob/+",
    "chat/from/#",
    "chat/from/bob/#",
    "$share/x/#",
    "$share/x/chat/to/bob/#",
    "$share/x/chat/channels/lab",
)


@pytest.fixture
def watched(server: Server, mqtt: Mqtt, connect: Connecting) -> MqttLine:
    """Bob, an MQTT client that has subscribed to all that he may read; carol is in the lab."""
    connect(server.address, "carol").request(Join("lab"))
    bob = mqtt(server.address, "bob")
    bob.subscribe("#")
    bob.ping()
    return bob


def check_nothing_came(server: Server, watched: MqttLine, connect: Connecting) -> None:
    """Assert that bob was sent nothing but presence, and that nothing is stored."""
    connect(server.address, "dave").request(Msg("bob", "the end"))
    watched.message("chat/to/bob/msg/dave")
    rest = {packet.topic for packet in watched.messages()} - {"chat/to/bob/msg/dave"}
    assert not [topic for topic in rest if not topic.startswith(("chat/presence/", "chat/server"))], rest
    assert not [packet for packet in watched.messages() if b"forged" in packet.payload]
    assert server.chat.known_channel("lab").tail == 0
    assert server.chat.store.find_private_log("bob", "carol") is None


def test_nobody_publishes_to_the_topics_of_another(
    server: Server, mqtt: Mqtt, connect: Connecting, watched: MqttLine, version: int
) -> None:
    mallory = mqtt(server.address, "mallory", version=version)
    mallory.subscribe("chat/to/mallory/error")
    for topic in FOREIGN:
        for qos in (0, 1, 2):
            for retain in (False, True):
                packet_id = mallory.fresh_id() if qos else 0
                mallory.send(Publish(topic, b"forged", qos, retain, packet_id=packet_id))
                answer = mallory.settle(packet_id, qos)
                assert mallory.error()["topic"] == topic
                assert bool(answer.reason) is (version == V5 and qos > 0)
    check_nothing_came(server, watched, connect)


def test_nobody_publishes_to_the_topics_of_another_by_a_topic_alias(
    server: Server, mqtt: Mqtt, connect: Connecting, watched: MqttLine
) -> None:
    mallory = mqtt(server.address, "mallory")
    for alias, topic in enumerate(FOREIGN, 1):
        assert mallory.publish(topic, b"forged", topic_alias=alias).reason >= 0x80
        assert mallory.publish("", b"forged", topic_alias=alias).reason >= 0x80
    bob = mqtt(server.address, "erin")
    bob.send(Publish("", b"forged", 1, packet_id=1, properties=Properties(topic_alias=1)))
    assert bob.expect(Disconnect).reason == Reason.PROTOCOL_ERROR, "an alias belongs to one connection"
    check_nothing_came(server, watched, connect)


def test_nobody_publishes_to_the_topics_of_another_by_a_will(
    server: Server, mqtt: Mqtt, connect: Connecting, watched: MqttLine, version: int
) -> None:
    for topic in FOREIGN:
        line = mqtt(server.address, "mallory", version=version, will=Will(topic, b"forged", 1, True), refused=True)
        line.until_closed()
    check_nothing_came(server, watched, connect)


def test_nobody_publishes_to_the_topics_of_another_by_a_response_topic(
    server: Server, mqtt: Mqtt, connect: Connecting, watched: MqttLine
) -> None:
    mallory = mqtt(server.address, "mallory")
    mallory.subscribe("#")
    for topic in FOREIGN:
        if topic != "chat/to/mallory/msg/carol":  # her own topic, which she alone reads
            mallory.do("lookup/bob", response_topic=topic)
            mallory.message("chat/to/mallory/lookup/bob")
    check_nothing_came(server, watched, connect)


@pytest.mark.parametrize("client_id", ["bob", "bob-line", "bob/bob-line", "../bob/bob-line", "BOB"])
def test_nobody_gets_the_session_of_another_by_its_client_id(
    server: Server, mqtt: Mqtt, connect: Connecting, watched: MqttLine, version: int, client_id: str
) -> None:
    """Neither a guest without a name nor another user, and not with a session that was kept either."""
    keep = Properties(session_expiry_interval=100) if version == V5 else Properties()
    guest = mqtt(server.address, client_id=client_id, clean=False, properties=keep, version=version, source="127.0.0.2")
    assert not guest.connack.session_present
    mallory = mqtt(server.address, "mallory", client_id=client_id, clean=False, properties=keep, version=version)
    assert not mallory.connack.session_present
    for line in (guest, mallory):
        line.publish("chat/from/bob/say/lab", b"forged")
        line.ping()
    watched.ping()
    check_nothing_came(server, watched, connect)


def test_nobody_reads_the_topics_of_another(
    server: Server, mqtt: Mqtt, connect: Connecting, watched: MqttLine, version: int
) -> None:
    mallory = mqtt(server.address, "mallory", version=version)
    for topic_filter in PRIVATE:
        mallory.subscribe(topic_filter)
    carol = mqtt(server.address, "carol2")
    for qos in (0, 1, 2):
        carol.do("msg/bob", "a secret", qos)
        carol.publish("chat/direct/bob/carol2", "a secret", qos)
        watched.do("msg/carol2", "a secret", qos)
        watched.do("say/lab", '{"text": "in public", "id": "a secret id"}', qos)
        watched.ask("lookup/mallory")
        watched.do("dance")
    watched.publish("chat/direct/mallory/bob", "for mallory")
    assert mallory.message("chat/direct/mallory/bob").payload == b"for mallory"
    mallory.hear("lab", "in public")
    topics = {packet.topic for packet in mallory.messages()}
    assert {topic for topic in topics if not topic.startswith("chat/presence/")} == {
        "chat/server", "chat/channels/lab", "chat/channels/lab/text", "chat/direct/mallory/bob",
    }  # fmt: skip
    assert not [packet for packet in mallory.messages() if packet.payload == b"a secret"]


def test_a_name_is_held_at_all_doors(server: Server, mqtt: Mqtt, connect: Connecting, version: int) -> None:
    """A client that has a name by one door has it by all doors."""
    connect(server.address, "alice")
    refused = mqtt(server.address, "Alice", version=version, refused=True)
    assert refused.connack.reason == Reason.NOT_AUTHORIZED
    mqtt(server.address, "bob", version=version)
    line = connect(server.address)
    line.send_bytes(b'{"op":"hello","name":"bob","ref":1}\n')
    assert "is taken" in repr(line.expect(object, lambda frame: getattr(frame, "ref", None) == 1))  # type: ignore[type-var]


# Races


def test_a_session_that_is_being_restored_does_not_expire(
    server: Server, mqtt: Mqtt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It expires after the store was read and before its filters and cursors were."""
    keep: dict[str, Any] = {"clean": False, "properties": Properties(session_expiry_interval=1_000)}
    alice = mqtt(server.address, "alice", **keep)
    alice.subscribe("chat/channels/lab")
    for n in range(3):
        alice.do("say/lab", f"{n}")
    alice.hear("lab", "2")
    alice.ping()
    alice.disconnect()
    store, resume, end, ended = (
        server.chat.store,
        server.chat.store.resume_client,
        server.chat.store.end_clients,
        Event(),
    )

    def at_the_last_moment(client: Client) -> bool:
        assert resume(client)
        server._mqtt.registry.remember("somebody/else", None, -registry._GRACE)
        assert ended.wait(DEADLINE)
        assert store.make_room("alice/other", 1, 0) is None
        return True

    def end_and_say_so(*, spare: int) -> None:
        end(now() + 2_000_000, spare)
        ended.set()

    monkeypatch.setattr(store, "resume_client", at_the_last_moment)
    monkeypatch.setattr(store, "end_clients", end_and_say_so)
    back = mqtt(server.address, "alice", **keep)
    assert back.connack.session_present
    back.do("say/lab", "3")
    back.hear("lab", "3")
    assert back.texts("lab") == ["3"], "the earlier entries were acknowledged"


class Bustle:
    """Subscribing, taking over, making channels and talking, each repeated on a thread of its own until `end`."""

    def __init__(self, address: str, mqtt: Mqtt, connect: Connecting) -> None:
        self._address = address
        self._reader, self._founder = mqtt(address, "reader"), mqtt(address, "founder")
        self.talker = connect(address, "talker")
        self.talker.request(Join("lab"))
        self._scene = Scene(address)
        each = (self._subscribe, self._take_over, self._found, self._talk)
        self._threads = [self._scene.run(partial(self._keep_on, work), work.__name__) for work in each]

    def end(self) -> None:
        """Stop the threads, and assert that none has failed."""
        self._scene.stop.set()
        for thread in self._threads:
            thread.join()
        assert not self._scene.failures, self._scene.failures

    def _keep_on(self, work: Callable[[int], None]) -> None:
        for turn in count():
            if self._scene.stop.is_set():
                return
            work(turn)

    def _subscribe(self, turn: int) -> None:
        filters = ("chat/channels/+", "chat/channels/lab", "chat/#", "chat/to/reader/#")
        self._reader.subscribe(filters[turn % 4], qos=turn // 4 % 2)
        self._reader.unsubscribe(filters[(turn + 2) % 4])
        self._reader.inbox.clear()
        self._reader.received.clear()

    def _take_over(self, turn: int) -> None:
        version = V5 if turn % 3 else V311
        keep = Properties(session_expiry_interval=100) if turn % 2 and version == V5 else Properties()
        with MqttLine(self._address, "again", clean=bool(turn % 4), version=version, properties=keep) as line:
            line.subscribe("#")
            line.do("join/lab")

    def _found(self, turn: int) -> None:
        self._founder.do(f"join/new{turn}")
        self._founder.do("say/lab", f"{turn}")

    def _talk(self, turn: int) -> None:
        self.talker.request(Msg("reader", f"{turn}"))


def test_changing_subscriptions_disturbs_no_other_reader(
    server: Server, mqtt: Mqtt, connect: Connecting, reported: Reported
) -> None:
    """Subscribing, unsubscribing, joining, leaving, new channels and take-overs, while all clients post."""
    listener = mqtt(server.address, "listener")
    listener.subscribe("chat/channels/lab")
    bustle = Bustle(server.address, mqtt, connect)
    for n in range(300):
        listener.do("say/lab", f"said {n}")
    listener.hear("lab", "said 299")
    bustle.end()
    heard = [body(packet)["number"] for packet in listener.messages("chat/channels/lab")]
    assert heard == list(range(heard[0], heard[0] + len(heard))), "the listener misses nothing"
    assert not [record for record in reported.records if record.exc_info], reported.text
    assert bustle.talker.of(Entry)
