"""Floor 3: who comes in at the embedded broker: CONNECT, checked before amqtt acts on any of it.

amqtt looks at the password last: by then it has ended the session of the same client id, or has given it the new user
name and will. So here a login is done first, and each user's client ids are a space of their own.
"""

from __future__ import annotations

import asyncio
import hmac
from functools import lru_cache
from pathlib import Path
from typing import Any

from amqtt.adapters import BufferReader, ReaderAdapter, WriterAdapter
from amqtt.errors import AMQTTError, MQTTError, NoDataError
from amqtt.mqtt.connack import BAD_USERNAME_PASSWORD, NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session

from bridge.acl import Rules, client_rules, server_rules
from channels import accounts
from store import StoreError
from store.sqlite import read_account
from wire.names import NAME, fold, shorten

_CONNECT = 1 << 18  # bytes of the longest CONNECT
_PATIENCE = 10.0  # seconds that a client has for it
_SHORT = 256  # characters of a topic for which an answer is remembered
_V5, _V311 = 5, 4
# "Unsupported protocol version" as MQTT 5 has it (5 §3.2.2.2), and "unacceptable" as it was before (3.1.1 §3.2.2.3).
_NOT_V5, _NOT_OLDER = b"\x20\x03\x00\x84\x00", b"\x20\x02\x00\x01"


class Login:
    """Whose name a client may take, and what it may do under that."""

    def __init__(self, data: Path, root: str, user: str, secret: str) -> None:
        """`user` is the server's own, with its `secret`; everybody else is in the store, or a guest."""
        self._data = data
        self._outside = server_rules(root)
        self._user = fold(user)
        self._secret = secret
        self._rules = lru_cache(1 << 10)(self._make_rules)
        self._may_short = lru_cache(1 << 12)(self._may)

    def is_server(self, name: str) -> bool:
        """Whether that is the server itself, once it has logged in."""
        return fold(name) == self._user

    def is_outside(self, topic: str) -> bool:
        """Whether a topic is not below the root, and so free for all."""
        return not self._outside.covers(topic)

    def _make_rules(self, name: str) -> Rules:
        return self._outside if self.is_server(name) else client_rules(self._outside.root, name)

    def may(self, name: str, topic: str, *, write: bool) -> bool:
        """Whether somebody who has logged in may write there, or read what is written there."""
        return (self._may_short if len(topic) <= _SHORT else self._may)(name, topic, write)

    def _may(self, name: str, topic: str, write: bool) -> bool:
        mine = self._rules(name)
        return mine.may_write(topic) if write else mine.may_read(topic)

    def check(self, name: str, password: str) -> bool:
        """Whether somebody may come in under that name; takes its time, so not in the loop. Raises StoreError."""
        if NAME.fullmatch(name) is None:
            return False
        if self.is_server(name):
            return hmac.compare_digest(password.encode(), self._secret.encode())
        account = read_account(self._data, name)
        return account is None or account.password is None or accounts.fits(password, account.password)


def checked_handler(login: Login) -> type[BrokerProtocolHandler]:
    """amqtt's class for one client's connection, with this login."""

    class CheckedHandler(BrokerProtocolHandler):
        """One client's connection."""

        @classmethod
        async def init_from_connect(
            cls, reader: ReaderAdapter, writer: WriterAdapter, plugins_manager: Any, loop: Any = None
        ) -> tuple[BrokerProtocolHandler, Session]:
            """Take the CONNECT. Raises MQTTError, after an answer if there is one, and with the connection closed."""
            try:
                packet = await asyncio.wait_for(_read_connect(reader, writer), _PATIENCE)
                made = await super().init_from_connect(BufferReader(packet), writer, plugins_manager, loop)
                await _admit(login, made[1], writer)
            except Exception as error:
                await _close(writer)
                if isinstance(error, (AMQTTError, MQTTError)) and not isinstance(error, NoDataError):
                    raise
                raise MQTTError(f"no CONNECT that can be read: {error!r}") from error
            return made

    return CheckedHandler


async def _read_connect(reader: ReaderAdapter, writer: WriterAdapter) -> bytes:
    """The bytes of a CONNECT of MQTT 3.1.1; amqtt never answers one of MQTT 5. Raises MQTTError."""
    head = bytearray(await reader.read(1))
    if head[0] != 0x10:
        raise MQTTError("the first packet is no CONNECT")
    length = shift = 0
    while True:  # §2.2.3
        head += await reader.read(1)
        length |= (head[-1] & 0x7F) << shift
        shift += 7
        if head[-1] < 0x80:
            break
        if shift > 21:
            raise MQTTError("the first packet has no length")
    if not 10 <= length <= _CONNECT:
        raise MQTTError(f"a CONNECT of {length} bytes")
    body = await reader.read(length)
    if body[:6] == b"\x00\x04MQTT" and body[6] != _V311:
        await _answer(writer, _NOT_V5 if body[6] >= _V5 else _NOT_OLDER)
        raise MQTTError(f"MQTT 3.1.1 is spoken here, not version {body[6]} of the protocol")
    return bytes(head) + body


async def _admit(login: Login, session: Session, writer: WriterAdapter) -> None:
    """Let the client in, with a client id that is no other user's. Raises MQTTError."""
    name = session.username or ""
    try:
        known = await asyncio.to_thread(login.check, name, session.password or "")
    except StoreError as error:
        await _answer(writer, ConnackPacket.build(0, NOT_AUTHORIZED).to_bytes())
        raise MQTTError(str(error)) from error
    if not known:
        await _answer(writer, ConnackPacket.build(0, BAD_USERNAME_PASSWORD).to_bytes())
        raise MQTTError(f"{shorten(name)!r} is no name, or that is not its password")
    if session.will_flag and not login.may(name, session.will_topic or "", write=True):
        await _answer(writer, ConnackPacket.build(0, NOT_AUTHORIZED).to_bytes())
        raise MQTTError(f"{name} may not have a will on {shorten(session.will_topic or '', 80)}")
    session.client_id = f"{fold(name)}/{session.client_id}"
    session.password = None


async def _answer(writer: WriterAdapter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def _close(writer: WriterAdapter) -> None:
    try:
        await writer.close()
    except (OSError, asyncio.IncompleteReadError):
        pass
