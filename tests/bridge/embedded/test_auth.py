"""Authentication at the embedded broker by itself: what it reads, answers, and leaves in amqtt's session."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from amqtt.adapters import BufferReader, ReaderAdapter, WriterAdapter
from amqtt.errors import MQTTError
from amqtt.session import Session

from bridge.embedded import auth
from bridge.embedded.access import AccessControl
from channels import SessionReport
from store import StoreError
from wire.limits import Limits
from wire.mqtt import V5, V311, ConnAck, Connect, MqttPackets, Reason, encode

HEADER = b"\x10\x0c\x00\x04MQTT"


class Writer:
    """Keeps the bytes that are sent to the client."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.sent += data

    async def drain(self) -> None:
        """Wait for nothing."""

    def get_peer_info(self) -> tuple[str, int]:
        """Return the client's address and port."""
        return "10.0.0.5", 50_000

    async def close(self) -> None:
        """Close the connection."""
        self.closed = True

    def answer(self, version: int) -> int:
        """Return the reason of the CONNACK that was sent."""
        (packet,) = MqttPackets(version=version).receive(self.sent)
        assert isinstance(packet, ConnAck)
        return packet.reason


class Silent:
    """A client that sends nothing."""

    async def read(self, n: int = -1) -> bytes:
        """Wait for ever."""
        await asyncio.get_running_loop().create_future()
        return b""


class Access:
    """Access control that knows one password, and may fail."""

    error: StoreError | None = None

    async def authenticate(self, name: str, password: str, network: str | None) -> bool:
        """Return True for the right password."""
        if self.error is not None:
            raise self.error
        return password == "open-sesame"

    def may(self, name: str, topic: str, *, write: bool) -> bool:
        """Return True for the user's own topics."""
        return topic.startswith(f"chat/from/{name}/")


def read(data: bytes, writer: Writer) -> bytes:
    """Have the CONNECT read from these bytes."""
    return asyncio.run(auth._read_connect(BufferReader(data), cast("WriterAdapter", writer)))


def logged_in(session: Session, writer: Writer, access: Access | None = None) -> Session:
    """Have the session logged in."""
    control = cast("AccessControl", access or Access())
    asyncio.run(auth._log_in(control, session, cast("WriterAdapter", writer), SessionReport("10.0.0.5", "embedded")))
    return session


def session(name: str, password: str | None = "open-sesame", **fields: Any) -> Session:
    """Return amqtt's session after the CONNECT of a client."""
    made = Session()
    made.username, made.password, made.client_id = name, password, "phone"
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def test_exactly_one_connect_is_read() -> None:
    packet = encode(Connect(version=V311, client_id="x" * 200, username="alice"), V311)
    writer = Writer()
    assert read(packet + b"\xc0\x00", writer) == packet
    assert writer.sent == b""


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"\x20\x0c\x00\x04MQTT", "not a CONNECT"),
        (b"\x11\x0c\x00\x04MQTT", "not a CONNECT"),
        (b"\x10\x09\x00\x04MQTT", "9 bytes"),
        (b"\x10\x81\x80\x10\x00\x04MQTT", "262145 bytes"),
    ],
)
def test_other_packets_and_lengths_are_refused_without_an_answer(data: bytes, part: str) -> None:
    writer = Writer()
    with pytest.raises(MQTTError, match=part):
        read(data + b"\x00" * 300_000, writer)
    assert writer.sent == b""


@pytest.mark.parametrize(("level", "version"), [(5, V5), (6, V5), (3, V311)])
def test_other_versions_are_answered_in_their_own_way(level: int, version: int) -> None:
    writer = Writer()
    with pytest.raises(MQTTError, match=f"not protocol version {level}"):
        read(HEADER + bytes((level,)) + b"\x02\x00\x00\x00\x00", writer)
    assert writer.answer(version) == Reason.UNSUPPORTED_PROTOCOL_VERSION


def test_a_client_that_sends_nothing_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_PATIENCE", 0.01)
    handler, writer = auth.authenticating_handler(cast("AccessControl", Access())), Writer()
    with pytest.raises(MQTTError, match="could not read the CONNECT"):
        asyncio.run(
            handler.init_from_connect(cast("ReaderAdapter", Silent()), cast("WriterAdapter", writer), cast("Any", None))
        )
    assert writer.closed


def test_the_client_ids_of_users_are_kept_apart_and_passwords_forgotten() -> None:
    for name in ("alice", "ALICE"):
        made = logged_in(session(name), Writer())
        assert made.client_id == "alice/phone"
        assert made.password is None
    assert logged_in(session("bob"), Writer()).client_id == "bob/phone"


def test_a_wrong_password_a_failing_store_and_a_forbidden_will_are_answered() -> None:
    failing = Access()
    failing.error = StoreError("The disk is gone.")
    forbidden = session("alice", will_flag=True, will_topic="chat/from/bob/gone")
    for made, access, reason in (
        (session("alice", "wrong"), None, Reason.BAD_USER_NAME_OR_PASSWORD),
        (session("alice", None), None, Reason.BAD_USER_NAME_OR_PASSWORD),
        (session("alice"), failing, Reason.NOT_AUTHORIZED),
        (forbidden, None, Reason.NOT_AUTHORIZED),
    ):
        writer = Writer()
        with pytest.raises(MQTTError):
            logged_in(made, writer, access)
        assert writer.answer(V311) == reason
        assert made.client_id == "phone"


def test_answers_about_long_topics_are_not_cached(tmp_path: Any) -> None:
    access = AccessControl(tmp_path, "chat", "partyline", "secret", Limits())
    for length in (256, 257):
        topic = "chat/from/alice/".ljust(length, "x")
        assert access.may("alice", topic, write=True)
        assert not access.may("bob", topic, write=True)
        assert access._may_cached.cache_info().currsize == 2
