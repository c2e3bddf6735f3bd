"""Malformed packets on a running server: the connection ends with the right reason, and nothing else happens."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server import Config, Server
from tests.support.clients import Json, endpoint
from tests.support.examples import examples
from tests.support.limits import without_rates
from tests.support.mqtt import MqttLine
from tests.support.mqtt.samples import body_of, client_packets, connected, connects, versions, with_length
from tests.support.waiting import DEADLINE
from wire.frames import Ping
from wire.mqtt import (
    RETURN_CODES,
    V5,
    V311,
    ConnAck,
    Connect,
    Disconnect,
    MqttError,
    MqttPackets,
    Packet,
    Properties,
    PubAck,
    PubAcks,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Reason,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
    encode,
)

Mqtt = Callable[..., MqttLine]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of this file: if one of them breaks it, the later ones fail."""
    server = Server(Config(port=0, mqtt_port=0, data=str(tmp_path_factory.mktemp("live")), limits=without_rates()))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with MqttLine(server.address, "listener") as listener:
        listener.subscribe("chat/channels/#", "chat/direct/#")
        yield server
        with Json(server.address, "honest") as honest:
            honest.request(Ping())
        with MqttLine(server.address, "sender") as sender:
            sender.do("say/lab", "the end")
            listener.hear("lab", "the end")
    server.close()
    after = len(list(Path("/proc/self/fd").iterdir()))
    assert after <= before + 12, f"{after - before} descriptors are left"


def exchange(server: Server, version: int, data: bytes, *, connect: bool) -> list[object]:
    """Send bytes and our end. Return all packets that the server sends until it closes the connection."""
    with MqttLine(server.address, "tester" if connect else None, version=version, connect=connect) as line:
        line.send_bytes(data)
        line.socket.shutdown(socket.SHUT_WR)
        return list(line.until_closed())


def check(server: Server, version: int, data: bytes) -> None:
    """Assert that the server ends the connection with the reason that the parser gives."""
    items = connected(version, topic_alias_maximum=64).receive(data)
    wrong = items[-1] if items and isinstance(items[-1], MqttError) else None
    answers = exchange(server, version, data, connect=True)
    farewells = [item for item in answers if isinstance(item, Disconnect)]
    assert answers[len(answers) - len(farewells) :] == farewells, "DISCONNECT is the last packet"
    if wrong is not None and not any(isinstance(item, Disconnect) for item in items) and version == V5:
        assert len(farewells) == 1
        early = [item for item in items if isinstance(item, (PubRec, PubComp)) or _is_refused(item)]
        assert farewells[0].reason == wrong.reason or early
        assert farewells[0].properties.reason_string
    elif version == V311:
        assert farewells == [], "3.1.1 has no words for it"


def _is_refused(item: object) -> bool:
    """Return True for a packet that the parser takes and that ends the connection."""
    if isinstance(item, Subscribe):
        return bool(item.properties.subscription_identifier)
    return type(item).__name__ == "Auth"


# Every type of packet, cut anywhere, and with any first byte

SAMPLES: tuple[Packet, ...] = (
    Publish("chat/from/tester/say/lab", b"hello", 0),
    Publish("chat/from/tester/say/lab", b"hello", 1, packet_id=7),
    Publish("chat/from/tester/say/lab", b"hello", 2, packet_id=8),
    PubAck(7),
    PubRec(7),
    PubRel(7),
    PubComp(7),
    Subscribe(7, (Subscription("chat/channels/+", 1), Subscription("#", 2))),
    Unsubscribe(7, ("chat/channels/+", "#")),
    Disconnect(),
)


def _sample(packet: Packet, version: int) -> bytes:
    return encode(PubAcks((packet.packet_id,)) if isinstance(packet, PubAck) else packet, version)


@pytest.mark.parametrize("packet", SAMPLES, ids=lambda packet: f"{type(packet).__name__}{getattr(packet, 'qos', '')}")
def test_cut_anywhere(live: Server, version: int, packet: Packet) -> None:
    """The connection ends within a packet; or the packet has the length of what has come."""
    data = _sample(packet, version)
    before = len(_said(live))
    for cut in range(1, len(data)):
        assert exchange(live, version, data[:cut], connect=True) == []
        if cut >= 2:
            check(live, version, with_length(data[0], data[2:cut]))
    assert all(text == "hello"[: len(text)] for text in _said(live)[before:])


def _said(live: Server) -> list[str]:
    """Return the texts of all posts so far."""
    log = live.chat.channel("lab")
    return [] if log is None else [entry.text for entry in live.chat.store.read(log.row, 0, 10_000)]


@pytest.mark.parametrize("packet", SAMPLES[1:8], ids=lambda packet: type(packet).__name__)
def test_any_first_byte(live: Server, version: int, packet: Packet) -> None:
    """Every type and every reserved flag, with a body that is valid for another type."""
    body = body_of(_sample(packet, version))
    for first in range(packet_step(packet), 256, 3):
        check(live, version, with_length(first, body))


def packet_step(packet: Packet) -> int:
    """Return where a sample begins: each sample takes a third of the first bytes."""
    return SAMPLES.index(packet) % 3


def test_connect_cut_anywhere(live: Server, version: int) -> None:
    more = Properties(session_expiry_interval=5, user_property=(("a", "b"),)) if version == V5 else Properties()
    will = Will("chat/from/tester/say/lab", b"last words")
    packet = Connect(
        version=version, client_id="c", keep_alive=60, username="tester", password=b"p", will=will, properties=more
    )
    data = encode(packet, version)
    for cut in range(1, len(data)):
        assert exchange(live, version, data[:cut], connect=False) == []
        if cut >= 2:
            _check_connect(live, version, with_length(data[0], data[2:cut]))
    for bit in range(8):
        flags = bytearray(data)
        flags[9] ^= 1 << bit
        _check_connect(live, version, bytes(flags))


def _check_connect(live: Server, version: int, data: bytes) -> None:
    items = MqttPackets().receive(data)
    answers = exchange(live, version, data, connect=False)
    wrong = items[-1] if items else None
    if not isinstance(wrong, MqttError):
        assert len(answers) == 1
    elif wrong.version == V5 or (wrong.version == V311 and wrong.reason in RETURN_CODES):
        assert len(answers) == 1
        [answer] = answers
        assert isinstance(answer, ConnAck)
        if wrong.version == version:
            assert answer.reason == wrong.reason
    else:
        assert answers == []


# One rule each


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x32\x09\x00\x03a/b\x00\x00\x00x", Reason.PROTOCOL_ERROR),
        (b"\x82\x07\x00\x00\x00\x00\x01a\x00", Reason.PROTOCOL_ERROR),
        (b"\xa2\x06\x00\x00\x00\x00\x01a", Reason.PROTOCOL_ERROR),
        (b"\x40\x02\x00\x00", Reason.PROTOCOL_ERROR),
        (b"\x50\x02\x00\x00", Reason.PROTOCOL_ERROR),
        (b"\x62\x02\x00\x00", Reason.PROTOCOL_ERROR),
        (b"\x70\x02\x00\x00", Reason.PROTOCOL_ERROR),
        (b"\x50\x02\x00\x07", Reason.PROTOCOL_ERROR),
        (b"\x70\x02\x00\x07", Reason.PROTOCOL_ERROR),
        (b"\x20\x03\x00\x00\x00", Reason.PROTOCOL_ERROR),
        (b"\x90\x04\x00\x01\x00\x00", Reason.PROTOCOL_ERROR),
        (b"\xd0\x00", Reason.PROTOCOL_ERROR),
        (b"\x30\x06\x00\x03a\xffb\x00", Reason.MALFORMED_PACKET),
        (b"\x30\x06\x00\x03a\x00b\x00", Reason.MALFORMED_PACKET),
        (b"\x30\x08\x00\x05\xed\xa0\x80ab\x00", Reason.MALFORMED_PACKET),
        (b"\x30\x06\x00\x03a/+\x00", Reason.TOPIC_NAME_INVALID),
        (b"\x30\x06\x00\x03a/#\x00", Reason.TOPIC_NAME_INVALID),
        (b"\x82\x09\x00\x07\x00\x00\x03a#b\x00", Reason.TOPIC_FILTER_INVALID),
        (b"\x82\x07\x00\x07\x00\x00\x01a\x03", Reason.PROTOCOL_ERROR),
        (b"\x82\x03\x00\x07\x00", Reason.PROTOCOL_ERROR),
        (b"\x36\x08\x00\x03a/b\x00\x07\x00", Reason.MALFORMED_PACKET),
        (b"\x38\x06\x00\x03a/b\x00", Reason.MALFORMED_PACKET),
        (b"\x00\x00", Reason.MALFORMED_PACKET),
        (b"\xc1\x00", Reason.MALFORMED_PACKET),
        (b"\xc0\x01\x00", Reason.MALFORMED_PACKET),
        (b"\xc0\x80\x00", Reason.MALFORMED_PACKET),
        (b"\x30\xff\xff\xff\xff\x01", Reason.MALFORMED_PACKET),
        (b"\x30\xff\xff\xff\x7f", Reason.PACKET_TOO_LARGE),
        (b"\x30\x08\x00\x03a/b\x02\x23\x00", Reason.MALFORMED_PACKET),
        (b"\x30\x09\x00\x03a/b\x03\x23\x00\x00", Reason.TOPIC_ALIAS_INVALID),
        (b"\x30\x06\x00\x00\x03\x23\x00\x07", Reason.PROTOCOL_ERROR),
        (b"\xe0\x02\x05\x00", Reason.PROTOCOL_ERROR),
    ],
    ids=lambda value: value.hex("-") if isinstance(value, bytes) else value.name,
)
def test_the_reason_of_each_rule(live: Server, data: bytes, reason: Reason) -> None:
    answers = exchange(live, V5, data, connect=True)
    assert [item.reason for item in answers if isinstance(item, Disconnect)] == [reason]


def test_other_protocols_and_versions(live: Server) -> None:
    def connack(data: bytes, version: int = V311) -> list[object]:
        return exchange(live, version, data, connect=False)

    [old] = connack(b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01c")
    assert isinstance(old, ConnAck)
    assert old.reason == Reason.UNSUPPORTED_PROTOCOL_VERSION
    [new] = connack(b"\x10\x0d\x00\x04MQTT\x06\x02\x00\x3c\x00\x01c", V5)
    assert isinstance(new, ConnAck)
    assert new.reason == Reason.UNSUPPORTED_PROTOCOL_VERSION
    assert connack(b"\x10\x0d\x00\x04HTTP\x04\x02\x00\x3c\x00\x01c") == []
    assert connack(b"\x10\xff\xff\xff\x7f" + b"x" * 100) == []
    assert connack(b"\x10\x80\x80\x80\x80\x01") == []
    assert connack(b"\x10\x00") == []


def test_nothing_is_published_before_connect(live: Server, version: int) -> None:
    """Such bytes are not MQTT: this port takes them for text that somebody types."""
    data = encode(Publish("chat/from/tester/say/lab", b"too early"), version)
    for early in (data, encode(Subscribe(1, (Subscription("#"),)), version), b"\xc0\x00", b"\xe0\x00"):
        with socket.create_connection(endpoint(live.address), DEADLINE) as line:
            line.sendall(early)
            line.shutdown(socket.SHUT_WR)
            answer = b""
            while received := line.recv(1_000):
                answer += received
        assert not answer.startswith((b"\x20", b"\x90", b"\xd0"))
    assert "too early" not in _said(live)


# Random bytes


@settings(max_examples=examples(1.5))
@given(packet=client_packets, at=st.integers(0, 10**6), byte=st.integers(0, 255), data=st.data())
def test_one_wrong_byte(live: Server, packet: tuple[int, Packet], at: int, byte: int, data: st.DataObject) -> None:
    version, sent = packet
    raw = bytearray(encode(sent, version))
    raw[at % len(raw)] = byte
    check(live, version, bytes(raw))


@settings(max_examples=examples(1.5))
@given(version=versions, raw=st.binary(min_size=1, max_size=80))
def test_random_bytes(live: Server, version: int, raw: bytes) -> None:
    check(live, version, raw)


@settings(max_examples=examples(1.5))
@given(version=versions, data=st.data(), at=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_one_wrong_byte_in_connect(live: Server, version: int, data: st.DataObject, at: int, byte: int) -> None:
    raw = bytearray(encode(data.draw(connects(version)), version))
    raw[1 + at % (len(raw) - 1)] = byte
    with MqttLine(live.address, version=version, connect=False) as line:
        line.send_bytes(bytes(raw))
        line.socket.shutdown(socket.SHUT_WR)
        try:
            answers = line.until_closed()
        except AssertionError as error:
            raise AssertionError(f"{bytes(raw)!r}") from error
    assert len([item for item in answers if isinstance(item, ConnAck)]) <= 1
