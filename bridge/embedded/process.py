"""Floor 3: the process of the embedded broker: amqtt, with the accounts and the access rules of this server.

The supervisor starts `python -m bridge.embedded.process` and writes one line of settings to its standard input. The
process prints `ready` when it serves clients. It ends when its standard input does, so it never outlives the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import closing
from functools import partial
from typing import Any

import amqtt.broker
import msgspec
from amqtt.broker import Broker
from amqtt.contexts import Action, ListenerConfig, ListenerType
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session

from channels import SessionReport
from reporting import events, open_log, report
from wire.names import fold
from wire.topics import Topics

from .access import AccessControl
from .auth import authenticating_handler
from .packet_reader import PacketReader
from .retained import RetainedLimit
from .settings import ProcessSettings

_STOP_TIMEOUT = 2.0  # seconds that amqtt has to end its connections
_RETRY = 1.0  # seconds before a connection that is taken over is told again to end


class AmqttBroker(Broker):
    """amqtt with this server's access control in place of plugins.

    amqtt awaits a plugin in a task of its own, and loses messages if somebody subscribes meanwhile; the checks here
    never wait. Nor does amqtt ask its plugins about wills and retained messages.
    """

    def __init__(self, settings: ProcessSettings) -> None:
        """Call it in the running event loop."""
        self._listener = socket.socket(fileno=settings.listener)
        self._access = AccessControl(settings.store, settings.root, settings.user, settings.secret, settings.limits)
        self._topics = Topics(settings.root)
        self._open: dict[str, tuple[BrokerProtocolHandler, asyncio.Event]] = {}  # by client id
        self._limits = settings.limits
        self._retained_limit = RetainedLimit(settings.limits.retained_per_user, settings.limits.retained)
        amqtt.broker.BrokerProtocolHandler = authenticating_handler(self._access)  # type: ignore[attr-defined]
        super().__init__({"listeners": {"default": {"type": "tcp"}}, "plugins": {}})

    def close(self) -> None:
        """End the threads that check passwords."""
        self._access.close()

    async def _create_server_instance(
        self, listener_name: str, listener_type: ListenerType, address: Any, port: int, ssl_context: Any
    ) -> asyncio.Server:
        """Listen on the socket that the supervisor opened."""
        return await asyncio.start_server(
            partial(self.stream_connected, listener_name=listener_name), sock=self._listener
        )

    async def _handle_client_session(
        self, reader: Any, writer: Any, client_session: Session, handler: Any, server: Any, listener_name: str
    ) -> None:
        """Serve one client after the connection that it takes over has ended, as amqtt ends the session with it."""
        key = client_session.client_id or ""
        while (before := self._open.get(key)) is not None:
            await before[0].handle_connection_closed()
            with contextlib.suppress(TimeoutError):  # if it had not started yet, it did not get the first call
                await asyncio.wait_for(before[1].wait(), _RETRY)
        done = asyncio.Event()
        self._open[key] = (handler, done)
        log: SessionReport = handler.report
        packets = PacketReader(reader, handler.patience, self._limits.payload, log.cut_off)
        log.logged_in(client_session.username or "")
        try:
            await super()._handle_client_session(packets, writer, client_session, handler, server, listener_name)
        finally:
            log.logged_out()
            await self._forget_oldest_session()
            del self._open[key]
            done.set()

    async def _forget_oldest_session(self) -> None:
        """End the session that was left first, if there are more sessions than connections are allowed."""
        if len(self._sessions) > self._limits.connections:
            left = [
                (session.last_disconnect_time or 0, key)
                for key, (session, _) in self._sessions.items()
                if session.transitions.state == "disconnected"
            ]
            if left:
                await self._delete_session(min(left)[1])

    async def _retain_broadcast_message(self, broadcast: dict[str, Any], qos: int, target_session: Session) -> None:
        """Queue a message for a client that is away, unless too many wait; the server's own queue has no limit."""
        server = self._access.is_server(target_session.username or "")
        if server or target_session.retained_messages.qsize() < self._limits.queued:
            await super()._retain_broadcast_message(broadcast, qos, target_session)

    async def _authenticate(self, session: Session, _: ListenerConfig) -> bool:
        """Return True: `authenticating_handler` has checked the login."""
        return True

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        """Return True if the client may do that. A filter may cover any topic, as each message is checked again."""
        me = session.username or ""
        if action is Action.SUBSCRIBE:
            return self._access.is_server(me) or not self._topics.is_forbidden(topic, me)
        return self._access.may(me, topic, write=action is Action.PUBLISH)

    async def _broadcast_message(
        self, session: Session | None, topic: str | None, data: Any, force_qos: int | None = None
    ) -> None:
        """Deliver a message. A will is checked here too, as amqtt itself checks none."""
        if session is not None and topic and self._access.may(session.username or "", topic, write=True):
            await super()._broadcast_message(session, topic, data, force_qos)

    async def retain_message(
        self, source_session: Session | None, topic_name: str | None, data: Any, qos: int | None = None
    ) -> None:
        """Retain a message, up to the limits. Below the root, only the server may retain messages, without limits."""
        me = (source_session.username if source_session is not None else None) or ""
        if not topic_name or not (self._access.is_server(me) or self._access.is_outside_root(topic_name)):
            return
        if not data:
            self._retained_limit.drop(topic_name)
        elif not self._access.is_server(me) and not self._retained_limit.take(fold(me), topic_name, len(data)):
            if source_session is not None and (handler := self._get_handler(source_session)) is not None:
                handler.report.limit_reached("retained")  # type: ignore[attr-defined]
            return
        await super().retain_message(source_session, topic_name, data, qos)

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Send a client the retained messages it subscribed to and may read; amqtt sends them to any new client."""
        topic_filter, qos = subscription
        client = self._get_handler(session)
        mine = any(each.client_id == session.client_id for each, _ in self._subscriptions.get(topic_filter, ()))
        if client is None or not mine:
            return
        sending = [
            client.mqtt_publish(topic, retained.data, min(qos, retained.qos or 0), retain=True)
            for topic, retained in self._retained_messages.items()
            if self._matches(topic, topic_filter) and self._access.may(session.username or "", topic, write=False)
        ]
        await asyncio.gather(*sending, return_exceptions=True)


def _watch(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, ended: threading.Event) -> None:
    """Thread `parent`: stop in order when the parent says so; exit at once when it is gone, as nothing is kept."""
    if sys.stdin.readline():
        loop.call_soon_threadsafe(stop.set)
        ended.wait(_STOP_TIMEOUT)
    os._exit(0)


async def _serve(settings: ProcessSettings) -> None:
    stop, ended = asyncio.Event(), threading.Event()
    broker = AmqttBroker(settings)
    await broker.start()
    watcher = threading.Thread(
        target=_watch, args=(asyncio.get_running_loop(), stop, ended), name="parent", daemon=True
    )
    watcher.start()
    print("ready", flush=True)
    await stop.wait()
    try:
        await asyncio.wait_for(broker.shutdown(), _STOP_TIMEOUT)
    except Exception as error:  # noqa: BLE001 - the process ends anyway, and keeps nothing
        report(events.InternalError(part="embedded-broker", consequence="Not all connections ended cleanly."), error)
    finally:
        broker.close()
        ended.set()


def main() -> None:
    """Read the settings and serve until the parent stops this process."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # the terminal sends them to the parent too, which then stops this process
        signal.signal(number, signal.SIG_IGN)
    settings = msgspec.json.decode(sys.stdin.readline(), type=ProcessSettings)
    logging.getLogger("amqtt").setLevel(logging.ERROR)  # it warns of each wrong login; in its debug log are passwords
    with closing(open_log(settings.log)):
        asyncio.run(_serve(settings))


if __name__ == "__main__":
    main()
