"""Floor 3: the embedded broker's own process: amqtt, with the accounts and the access rules of this server.

`python -m bridge.embedded.process`, started by supervisor.py, which says on its standard input what is wanted, once. It
answers `ready` on its standard output. It ends when its standard input does, so it never outlives the server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import amqtt.broker
import msgspec
from amqtt.broker import Broker
from amqtt.contexts import Action, ListenerConfig, ListenerType
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session

from wire.topics import Topics

from .auth import Login, checked_handler

_END = 2.0  # seconds that amqtt has to end its connections
_AGAIN = 1.0  # seconds after which a connection that is taken over is told once more


class Wanted(msgspec.Struct, frozen=True):
    """What the parent wants: `listener` is the descriptor of the listening socket, `secret` the password of `user`."""

    listener: int
    data: str
    root: str
    user: str
    secret: str


class EmbeddedBroker(Broker):
    """amqtt with this server's rules in the place of plugins.

    A plugin is awaited in a task of its own, and amqtt loses messages when somebody subscribes in the meantime; what is
    asked here never waits. Nor does amqtt ask its plugins about wills and about retained messages.
    """

    def __init__(self, wanted: Wanted) -> None:
        """Inside the running loop."""
        self._listener = socket.socket(fileno=wanted.listener)
        self._login = Login(Path(wanted.data), wanted.root, wanted.user, wanted.secret)
        self._topics = Topics(wanted.root)
        self._open: dict[str, tuple[BrokerProtocolHandler, asyncio.Event]] = {}  # by client id
        amqtt.broker.BrokerProtocolHandler = checked_handler(self._login)  # type: ignore[attr-defined]
        super().__init__({"listeners": {"default": {"type": "tcp"}}, "plugins": {}})

    async def _create_server_instance(
        self, listener_name: str, listener_type: ListenerType, address: Any, port: int, ssl_context: Any
    ) -> asyncio.Server:
        """Listen on the socket that the parent has opened."""
        return await asyncio.start_server(
            partial(self.stream_connected, listener_name=listener_name), sock=self._listener
        )

    async def _handle_client_session(
        self, reader: Any, writer: Any, client_session: Session, handler: Any, server: Any, listener_name: str
    ) -> None:
        """Serve one client, once the connection that it takes over has come to its end; amqtt ends the session then."""
        key = client_session.client_id or ""
        while (before := self._open.get(key)) is not None:
            await before[0].handle_connection_closed()
            try:
                await asyncio.wait_for(before[1].wait(), _AGAIN)
            except TimeoutError:  # it had not begun yet, and so could not be told
                pass
        done = asyncio.Event()
        self._open[key] = (handler, done)
        try:
            await super()._handle_client_session(reader, writer, client_session, handler, server, listener_name)
        finally:
            del self._open[key]
            done.set()

    async def _authenticate(self, session: Session, _: ListenerConfig) -> bool:
        """Whoever gets as far as this has logged in."""
        return True

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        """Whether a client may do that. A filter may take in anything, as what comes of it is looked at again."""
        me = session.username or ""
        if action is Action.SUBSCRIBE:
            return self._login.is_server(me) or not self._topics.is_forbidden(topic, me)
        return self._login.may(me, topic, write=action is Action.PUBLISH)

    async def _broadcast_message(
        self, session: Session | None, topic: str | None, data: Any, force_qos: int | None = None
    ) -> None:
        """Hand out what was published, and a will, which amqtt asks nobody about."""
        if session is not None and topic and self._login.may(session.username or "", topic, write=True):
            await super()._broadcast_message(session, topic, data, force_qos)

    async def retain_message(
        self, source_session: Session | None, topic_name: str | None, data: Any, qos: int | None = None
    ) -> None:
        """Retain a message; below the root the server alone has any."""
        me = (source_session.username if source_session is not None else None) or ""
        if topic_name and (self._login.is_server(me) or self._login.is_outside(topic_name)):
            await super().retain_message(source_session, topic_name, data, qos)

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Send what is retained, to those who subscribed and may read it; amqtt sends it to whoever connects."""
        topic_filter, qos = subscription
        client = self._get_handler(session)
        mine = any(each.client_id == session.client_id for each, _ in self._subscriptions.get(topic_filter, ()))
        if client is None or not mine:
            return
        sending = [
            client.mqtt_publish(topic, retained.data, min(qos, retained.qos or 0), retain=True)
            for topic, retained in self._retained_messages.items()
            if self._matches(topic, topic_filter) and self._login.may(session.username or "", topic, write=False)
        ]
        await asyncio.gather(*sending, return_exceptions=True)


def _watch(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, ended: threading.Event) -> None:
    """Thread `parent`: end when the parent says so, in good order; or at once when it is gone, as nothing is kept."""
    if sys.stdin.readline():
        loop.call_soon_threadsafe(stop.set)
        ended.wait(_END)
    os._exit(0)


async def _serve(wanted: Wanted) -> None:
    stop, ended = asyncio.Event(), threading.Event()
    broker = EmbeddedBroker(wanted)
    await broker.start()
    watcher = threading.Thread(
        target=_watch, args=(asyncio.get_running_loop(), stop, ended), name="parent", daemon=True
    )
    watcher.start()
    print("ready", flush=True)
    await stop.wait()
    try:
        await asyncio.wait_for(broker.shutdown(), _END)
    except Exception as error:  # it ends all the same, and had nothing to keep
        logging.warning("not all connections were ended well: %r", error)
    finally:
        ended.set()


def main() -> None:
    """Serve what the parent wants."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are sent to the parent as well, which ends this in its turn
        signal.signal(number, signal.SIG_IGN)
    # Not below warning: amqtt writes passwords into its debug log.
    logging.basicConfig(
        level="WARNING", format="%(asctime)s %(levelname)s embedded broker: %(message)s", stream=sys.stderr
    )
    asyncio.run(_serve(msgspec.json.decode(sys.stdin.readline(), type=Wanted)))


if __name__ == "__main__":
    main()
