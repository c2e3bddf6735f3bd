"""Floor 3: authentication at the embedded broker: it checks each CONNECT before amqtt acts on it.

amqtt checks the password last: by then it has ended the session of the same client id, or has replaced its user name
and will. So the login happens here first, and the client ids of each user are kept apart.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from amqtt.adapters import BufferReader, ReaderAdapter, WriterAdapter
from amqtt.errors import AMQTTError, MQTTError, NoDataError
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session

from channels import SessionReport
from net import network_of
from store import StoreError
from wire.errors import PeerError, Refused
from wire.mqtt import CONNECT_FIRST_BYTE, V5, V311, Reason, goodbye, protocol_level, remaining_length
from wire.names import NAME, fold, shorten

from .access import AccessControl

_SHORTEST, _LONGEST = 10, 1 << 18  # bytes of a CONNECT after its fixed header
_PATIENCE = 10.0  # seconds in which a client has to send its CONNECT


def authenticating_handler(access: AccessControl) -> type[BrokerProtocolHandler]:
    """Return a subclass of amqtt's handler of one client's connection that checks logins with `access`."""

    class AuthenticatingHandler(BrokerProtocolHandler):
        """One client's connection: what the log has of it, and the seconds in which each packet has to come."""

        report: SessionReport
        patience: float | None

        @classmethod
        async def init_from_connect(
            cls, reader: ReaderAdapter, writer: WriterAdapter, plugins_manager: Any, loop: Any = None
        ) -> tuple[BrokerProtocolHandler, Session]:
            """Read the CONNECT and log the client in.

            Raises MQTTError if that fails; the client has then been answered, if MQTT has an answer, and disconnected.
            """
            log = SessionReport((writer.get_peer_info() or ("", 0))[0], "embedded")
            try:
                packet = await asyncio.wait_for(_read_connect(reader, writer), _PATIENCE)
                handler, session = await super().init_from_connect(BufferReader(packet), writer, plugins_manager, loop)
                log.client = session.client_id or ""
                await _log_in(access, session, writer, log)
            except Exception as error:
                await _close(writer)
                if not log.user:
                    log.cut_off(_as_peer_error(error))
                if isinstance(error, (AMQTTError, MQTTError)) and not isinstance(error, NoDataError):
                    raise
                raise MQTTError(f"could not read the CONNECT: {error!r}") from error
            assert isinstance(handler, AuthenticatingHandler)
            handler.report = log
            handler.patience = session.keep_alive * 1.5 or None
            session.keep_alive = 0  # else amqtt would look for a packet anew after that time, amid another packet
            return handler, session

    return AuthenticatingHandler


async def _read_connect(reader: ReaderAdapter, writer: WriterAdapter) -> bytes:
    """Return the bytes of a CONNECT of MQTT 3.1.1. Refuses MQTT 5 itself, as amqtt never answers it.

    Raises MQTTError, or MqttError for a malformed length.
    """
    header = await reader.read(1)
    if header[0] != CONNECT_FIRST_BYTE:
        raise MQTTError("the first packet is not a CONNECT")
    start = 0
    while not start:
        header += await reader.read(1)
        length, start = remaining_length(header)
    if not _SHORTEST <= length <= _LONGEST:
        raise MQTTError(f"a CONNECT of {length} bytes")
    body = await reader.read(length)
    level = protocol_level(body)
    if level not in (None, V311):
        version = V5 if level >= V5 else V311
        await _send(writer, goodbye(version, Reason.UNSUPPORTED_PROTOCOL_VERSION, connected=False))
        raise MQTTError(f"the embedded broker speaks MQTT 3.1.1, not protocol version {level}")
    return header + body


def _as_peer_error(error: Exception) -> PeerError:
    """Return why a connection without a valid CONNECT ends, for the log."""
    if isinstance(error, TimeoutError):
        return PeerError("too-slow", "No CONNECT came in time.")
    return error if isinstance(error, PeerError) else PeerError("malformed", f"No valid CONNECT: {error}")


async def _log_in(access: AccessControl, session: Session, writer: WriterAdapter, log: SessionReport) -> None:
    """Check the password and the will, and make the client id unique for its user. Raises MQTTError."""
    name = session.username or ""
    try:
        known = await access.authenticate(name, session.password or "", _network(writer))
    except StoreError as error:
        await _refuse(writer, Reason.NOT_AUTHORIZED)
        log.refused_login(name, "not-stored", str(error))
        raise MQTTError(str(error)) from error
    except Refused as refused:
        await _refuse(writer, Reason.SERVER_UNAVAILABLE)  # clients try again after it
        log.refused_password(name, refused)
        raise MQTTError(f"{shorten(name)}: {refused.sentence}") from refused
    if not known:
        await _refuse(writer, Reason.BAD_USER_NAME_OR_PASSWORD)
        if NAME.fullmatch(name):
            log.wrong_password(name)
        else:
            log.refused_login(name, "bad-name", "The name is not valid.")
        raise MQTTError(f"{shorten(name)!r} is not a valid name, or the password is wrong")
    if session.will_flag and not access.may(name, session.will_topic or "", write=True):
        await _refuse(writer, Reason.NOT_AUTHORIZED)
        log.refused_will(name, f"{name} may not have a will on {session.will_topic}")
        raise MQTTError(f"{name} may not have a will on {shorten(session.will_topic or '', 80)}")
    session.client_id = f"{fold(name)}/{session.client_id}"
    session.password = None


def _network(writer: WriterAdapter) -> str | None:
    peer = writer.get_peer_info()
    return network_of(peer[0]) if peer is not None else None


async def _refuse(writer: WriterAdapter, reason: Reason) -> None:
    """Send the CONNACK of MQTT 3.1.1 that refuses."""
    await _send(writer, goodbye(V311, reason, connected=False))


async def _send(writer: WriterAdapter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def _close(writer: WriterAdapter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await writer.close()
