"""Floor 3: the mirror: it connects to the broker, again and again, and follows the chat."""

from __future__ import annotations

import random
import threading
from urllib.parse import quote

from bridge.clients import SharedState
from channels import Log, User
from net import WritePump
from reporting import events, report
from store import StoreError
from wire.errors import Refused
from wire.frames import BridgeStatus
from wire.mqtt import Disconnect, MqttError, encode

from .address import Broker
from .connection import BrokerConnection, BrokerUnreachable, connect
from .live import MirrorLive
from .presence import MirrorPresence
from .progress import MirrorProgress
from .sender import MirrorSender
from .session import MirrorSession
from .status import MirrorStatus
from .users import MirrorUsers

_PAUSES = (1.0, 60.0)  # seconds before the second attempt to connect, and at most; each is up to half shorter by chance
_CLOSE_TIMEOUT = 0.5  # seconds that the broker has to close the connection, and then the thread to end


class Mirror:
    """Owns the thread `mirror`, which connects, receives, and reconnects. The threads that deliver a log send.

    One thread calls start and close; any thread may call status.
    """

    def __init__(self, shared: SharedState, broker: Broker, pump: WritePump, *, trusted: bool = False) -> None:
        """`trusted`: the broker lets each client write its own name only."""
        chat, topics = shared.chat, shared.topics
        self._chat = chat
        self._broker = broker
        self._pump = pump
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._status = MirrorStatus(broker.address)
        self._progress = MirrorProgress(chat, f"/{quote(topics.root, safe='')}")
        self._sender = MirrorSender(chat, broker.version)
        self._presence = MirrorPresence(chat, topics, self._sender)
        self._users = MirrorUsers(shared, self._sender, self._status, broker.address, trusted=trusted)
        live = MirrorLive(shared, self._sender, self._users, self._status)
        self._session = MirrorSession(
            chat, topics, broker, self._sender, self._users, live, self._presence, self._progress, self._status
        )
        chat.watchers.append(self)

    def start(self) -> None:
        """Restore the users who were on the broker, and connect. Call it before anybody else can take their names."""
        self._progress.load()
        self._users.restore()
        self._thread.start()

    def status(self) -> BridgeStatus:
        """Return the mirror's state."""
        return self._status.report(self._progress.behind())

    def close(self) -> None:
        """Disconnect and end the thread. The users stay on the broker."""
        self._closing.set()
        self._presence.publish_server(online=False)
        self._sender.send(encode(Disconnect(), self._sender.version))
        self._sender.end_output()  # to close at once could destroy what was just sent
        if self._thread.is_alive():
            self._thread.join(_CLOSE_TIMEOUT)
            self._sender.hang_up()
            self._thread.join(_CLOSE_TIMEOUT)  # a TCP connection that is being made cannot be interrupted
        self._users.close()

    def _run(self) -> None:
        """Thread `mirror`: connect and serve the connection, again after a pause."""
        shortest, longest = _PAUSES
        pause = shortest
        while not self._closing.is_set():
            try:
                error = self._connect_and_serve()
            except Exception as mistake:  # noqa: BLE001 - reported; the mirror reconnects
                report(events.InternalError(part="mirror", consequence="The mirror reconnects."), mistake)
                error = "Internal error; see the server's log."
            if self._status.disconnected(error, quiet=self._closing.is_set()):
                pause = shortest
            self._closing.wait(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, longest)

    def _connect_and_serve(self) -> str:
        """Serve one connection; return why it ended, or could not be made."""
        sender, session = self._sender, self._session
        try:
            connection, packets, connack, items = connect(
                self._broker, self._pump, sender.walk, self._opened, session.connect_packet()
            )
        except BrokerUnreachable as error:
            sender.version = self._broker.version  # the broker may speak another version when it is back
            return str(error)
        try:
            sender.version = packets.version
            if self._closing.is_set():
                return "The server is shutting down."
            return session.serve(connection, packets, connack, items)
        except (MqttError, Refused) as error:
            return f"{self._broker.address}: {error.sentence}"
        except StoreError as error:
            return f"Could not store messages from the broker: {error}"
        finally:
            try:
                session.close()
            finally:
                connection.close()

    def _opened(self, connection: BrokerConnection) -> None:
        """Have `close` end the connection, also during its handshake."""
        self._sender.use(connection)
        if self._closing.is_set():  # `close` sets the event before it looks for the connection
            connection.hang_up()

    # The chat's watcher

    def channel_made(self, log: Log) -> None:
        """Publish a new channel from its beginning."""
        if (reader := self._sender.reader) is not None:
            reader.resume(log, 0)

    def channel_removed(self, log: Log) -> None:
        """Forget a channel that has left the store."""
        self._progress.forget(log)
        if (reader := self._sender.reader) is not None:
            reader.drop(log)

    def presence_changed(self, user: User) -> None:
        """Publish the presence of a user who has come or has gone."""
        self._presence.changed(user)
