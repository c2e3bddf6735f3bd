"""The client's connection to a broker: URL, certificates, refusals, versions, and peers that are not brokers."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client import main
from terminal.links.address import MqttAddress, parse_server
from terminal.links.endpoint import Endpoint
from terminal.links.link import Connected, Disconnected, Event, Received
from terminal.links.mqtt import connection as mqtt_line
from terminal.links.mqtt import link as mqtt_link
from terminal.links.mqtt.connection import PahoConnection
from terminal.links.mqtt.events import Accepted, ConnectionEnded, ConnectRefused
from terminal.links.mqtt.link import MqttLink, _error
from tests.support.examples import examples
from tests.support.terminal import ME
from tests.support.waiting import DEADLINE
from wire.errors import LocalError
from wire.frames import Closing, Error, Hello
from wire.mqtt import V5, V311, ConnAck, Connect, Disconnect, MqttPackets, Reason, encode


@pytest.mark.parametrize(
    ("code", "sentence", "password", "expected"),
    [
        (0x86, "", None, "need-password"),
        (0x86, "The name alice is registered, and the password is wrong.", "x", "wrong-password"),
        (0x87, "The name alice is taken: another user is connected under it.", None, "name-taken"),
        (0x87, "", "x", "wrong-password"),
        (0x89, "", None, "not-allowed"),
    ],
)
def test_a_refused_connect_is_the_answer_to_hello(
    code: int, sentence: str, password: str | None, expected: str
) -> None:
    error = _error(ConnectRefused(code, sentence), Hello(name=ME, password=password, ref=3))
    assert (error.code, error.ref) == (expected, 3)
    assert error.error


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("mqtt://host", MqttAddress((("host", 1883),))),
        ("mqtt://", MqttAddress((("127.0.0.1", 1883),))),
        ("mqtts://host/", MqttAddress((("host", 8883),), tls=True)),
        ("mqtt://alice@[::1]:7000", MqttAddress((("::1", 7000),), "alice")),
        ("mqtt://alice:a%40b%3A@host/lab/chat", MqttAddress((("host", 1883),), "alice", "a@b:", "lab/chat")),
        (
            "mqtt://alice:a,b@host,[::1]:1884,:1885/lab",
            MqttAddress((("host", 1883), ("::1", 1884), ("127.0.0.1", 1885)), "alice", "a,b", "lab"),
        ),
    ],
)
def test_a_url_names_a_broker(text: str, address: MqttAddress) -> None:
    assert parse_server(text) == address


@pytest.mark.parametrize(
    "text",
    ["http://host", "mqtt://alice:secret@host:x", "mqtt://alice:secret@[::1", "mqtt://host/a+", "mqtt://host/?q"],
)
def test_a_bad_url_is_one_sentence_without_the_password(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LocalError):
        parse_server(text)
    assert main([text]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "secret" not in said


def test_certificates_that_cannot_be_read_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    for options in (["mqtts://h", "--ca", "/nowhere"], ["mqtts://h", "--ca", str(tmp_path / "none.pem")]):
        assert main([*options, "--name", ME]) == 2
    assert main(["mqtt://h", "--ca", "/nowhere", "--name", ME]) == 2
    assert capsys.readouterr().err.count("\n") == 3


class Far:
    """A listening socket, and a link that dials it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mqtt_link, "_ANSWER", 0.1)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.events: queue.Queue[Event] = queue.Queue()
        self.endpoint = Endpoint(*self.listener.getsockname())
        self.link = MqttLink([self.endpoint], "", self._deliver)

    def _deliver(self, event: Event) -> None:
        if isinstance(event, Connected):
            self.link.send([Hello(name=ME, ref=1)])
        self.events.put(event)

    def expect(self, kind: type[Event]) -> Event:
        event = self.events.get(timeout=DEADLINE)
        assert isinstance(event, kind), event
        return event

    def accept(self) -> tuple[socket.socket, Connect]:
        connection, _ = self.listener.accept()
        connection.settimeout(DEADLINE)
        (packet,) = MqttPackets().receive(connection.recv(1000))
        assert isinstance(packet, Connect)
        return connection, packet


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    far = Far(monkeypatch)
    far.link.start()
    yield far
    far.link.stop()
    far.listener.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "partyline-link"]


@pytest.mark.parametrize("closes", [True, False])
def test_a_broker_that_does_not_answer_mqtt_5_is_asked_in_3_1_1_for_this_connection(far: Far, closes: bool) -> None:
    """It may have been killed: the next connection begins with MQTT 5 again."""
    for _ in range(2):
        far.expect(Connected)
        first, packet = far.accept()
        assert (packet.version, packet.username, packet.clean, packet.keep_alive) == (V5, ME, False, 30)
        assert packet.will is not None
        assert packet.will.topic == "chat/from/alice/gone"
        if closes:
            first.close()
        second, again = far.accept()
        with first, second:
            assert (again.version, again.client_id, again.clean) == (V311, packet.client_id, True)
        assert far.expect(Disconnected) == Disconnected("the server closed the connection", endpoint=far.endpoint)


@pytest.mark.parametrize("refusal", [b"\x20\x02\x00\x01", encode(ConnAck(Reason.UNSUPPORTED_PROTOCOL_VERSION), V5)])
def test_a_broker_that_refuses_mqtt_5_is_asked_in_3_1_1_from_then_on(far: Far, refusal: bytes) -> None:
    far.expect(Connected)
    first, packet = far.accept()
    with first:
        assert packet.version == V5
        first.sendall(refusal)
        second, packet = far.accept()
    for _ in range(2):
        with second:
            assert packet.version == V311
        far.expect(Disconnected)
        far.expect(Connected)
        second, packet = far.accept()
    second.close()


def test_a_broker_that_has_spoken_mqtt_5_is_never_asked_in_3_1_1(far: Far) -> None:
    """It was killed before its CONNACK, and the client went on with 3.1.1 when it was back."""
    far.expect(Connected)
    first, _ = far.accept()
    with first:
        first.sendall(encode(ConnAck(Reason.SUCCESS), V5) + encode(Disconnect(Reason.SERVER_SHUTTING_DOWN), V5))
        far.expect(Disconnected)
    for _ in range(3):
        far.expect(Connected)
        killed, packet = far.accept()
        killed.close()
        assert packet.version == V5
        assert far.expect(Disconnected) == Disconnected("the server closed the connection", endpoint=far.endpoint)


def test_refused_and_taken_over_are_told_and_the_line_goes_on_with_the_next_hello(far: Far) -> None:
    far.expect(Connected)
    first, packet = far.accept()
    with first:
        first.sendall(encode(ConnAck(Reason.BAD_USER_NAME_OR_PASSWORD), V5))
        refused = far.expect(Received)
        assert isinstance(refused, Received)
        assert [(frame.code, frame.ref) for frame in refused.frames if isinstance(frame, Error)] == [
            ("need-password", 1)
        ]
    far.link.send([Hello(name=ME, password="open-sesame", ref=2)])
    second, packet = far.accept()
    with second:
        assert packet.password == b"open-sesame"
        second.sendall(encode(ConnAck(Reason.SUCCESS), V5) + encode(Disconnect(Reason.SESSION_TAKEN_OVER), V5))
        ended = far.expect(Received)
        assert isinstance(ended, Received)
        assert [frame.code for frame in ended.frames if isinstance(frame, Closing)] == ["replaced"]
        far.expect(Disconnected)


@pytest.mark.parametrize(
    ("garbage", "reason"), [(b"\x00\x00", "the server does not speak MQTT"), (b"", "the server closed the connection")]
)
def test_what_is_no_broker_ends_the_line_and_not_the_link(far: Far, garbage: bytes, reason: str) -> None:
    for _ in range(2):
        far.expect(Connected)
        for _version in (V5, V311):
            connection, _ = far.accept()
            with connection:
                connection.sendall(garbage)
        assert far.expect(Disconnected) == Disconnected(reason, endpoint=far.endpoint)


@settings(max_examples=examples(1.5))
@given(st.binary(max_size=60))
def test_no_bytes_make_the_connection_do_anything_but_end_or_go_on(data: bytes) -> None:
    """Paho may stumble over them; then the line is given up, as after an OSError."""
    near, away = socket.socketpair()
    with near, away, socket.create_server(("127.0.0.1", 0)) as listener:
        line = PahoConnection("id", mqtt_line.V5, None, DEADLINE)
        line.connect("127.0.0.1", listener.getsockname()[1], ME, None, "gone")
        broker, _ = listener.accept()
        with broker:
            broker.sendall(encode(ConnAck(Reason.SUCCESS), V5) + data)
        happened: list[object] = []
        with contextlib.suppress(Exception):
            while not any(isinstance(each, ConnectionEnded) for each in happened):
                happened += line.wait(near, DEADLINE)
        line.close()
        assert Accepted() in happened
