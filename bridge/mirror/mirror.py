"""Floor 3: the mirror: in this server's turn, it connects to the broker, again and again, and follows the chat."""

from __future__ import annotations

import random
import threading
from functools import partial
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
from .turn import MirrorTurn
from .users import MirrorUsers

_PAUSES = (1.0, 60.0)  # seconds before the second attempt to connect, and at most; each is up to half shorter by chance
_CLOSE_TIMEOUT = 0.5  # seconds that the broker has to close the connection, and then the thread to end


class Mirror:
    """Owns the thread `mirror`, which connects, receives, and reconnects. The threads that deliver a log send.

    Of several servers on one store that have a mirror at the same root, one runs it; another one takes over when that
    one is gone. One thread calls start and close; any thread may call status.
    """

    def __init__(self, shared: SharedState, broker: Broker, pump: WritePump, *, trusted: bool = False) -> None:
        """`trusted`: the broker lets each client write its own name only."""
        chat, topics = shared.chat, shared.topics
        self._chat = chat
        self._broker = broker
        self._pump = pump
        self._turn = MirrorTurn(chat.servers, topics.root, self._lost)
        self._taken_over = 0  # the turn for which `start` has taken over
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

    @property
    def elsewhere(self) -> str | None:
        """The server that runs the mirror, if another one does. Raises StoreError."""
        return self._turn.elsewhere()

    def start(self) -> None:
        """Restore the users who were on the broker, and connect. Call it before anybody else can take their names.

        If another server runs the mirror, wait until it is gone.
        """
        self._turn.share()
        turn = self._turn.number
        if turn:
            self._take_over()
            self._taken_over = turn
        self._thread.start()

    def status(self) -> BridgeStatus:
        """Return the mirror's state."""
        if self._turn.number:
            return self._status.report(self._progress.behind())
        return self._status.elsewhere(self._turn.elsewhere_now())

    def close(self) -> None:
        """Disconnect and end the thread. The users stay on the broker, and another server takes over."""
        self._turn.close()
        self._presence.publish_server(online=False)
        self._sender.send(encode(Disconnect(), self._sender.version))
        self._sender.end_output()  # to close at once could destroy what was just sent
        if self._thread.is_alive():
            self._thread.join(_CLOSE_TIMEOUT)
            self._sender.hang_up()
            self._thread.join(_CLOSE_TIMEOUT)  # a TCP connection that is being made cannot be interrupted
        self._users.close()
        self._turn.give_up()

    def _lost(self) -> None:
        """Send and acknowledge nothing more: another server may run the mirror in a moment. Returns at once."""
        self._sender.hang_up()
        self._users.hang_up()

    def _take_over(self) -> None:
        """Go on where the server that ran the mirror before has stopped. Raises StoreError."""
        self._progress.load()
        self._users.restore()

    def _run(self) -> None:
        """Thread `mirror`: run the mirror whenever it is this server's turn."""
        while not self._turn.closing:
            turn = self._turn.wait()
            if turn:
                while not (self._turn.is_over(turn) or turn == self._taken_over or self._attempt_take_over()):
                    self._turn.pause(turn, _PAUSES[0])
                self._serve(turn)
                if not self._turn.closing:
                    self._hand_over()

    def _attempt_take_over(self) -> bool:
        try:
            self._take_over()
        except StoreError as error:
            report(events.StoreProblem(str(error), "The mirror starts later."))
        except Exception as mistake:  # noqa: BLE001 - reported, and tried again
            report(events.InternalError(part="mirror", consequence="The mirror starts later."), mistake)
        else:
            report(events.MirrorTaken(self._broker.address))
            return True
        return False

    def _hand_over(self) -> None:
        """End the users' sessions here: they are at another server from now on."""
        try:
            self._users.part()
        except Exception as mistake:  # noqa: BLE001 - reported; the next turn begins with what is left
            report(events.InternalError(part="mirror", consequence="Some users stay online here."), mistake)

    def _serve(self, turn: int) -> None:
        """Connect and serve the connection, again after a pause, until the turn is over."""
        shortest, longest = _PAUSES
        pause = shortest
        while not self._turn.is_over(turn):
            try:
                error = self._connect_and_serve(turn)
            except Exception as mistake:  # noqa: BLE001 - reported; the mirror reconnects
                report(events.InternalError(part="mirror", consequence="The mirror reconnects."), mistake)
                error = "Internal error; see the server's log."
            if self._turn.is_lost(turn):
                error = "This server has lost the database for a moment, so another one may run the mirror."
            if self._status.disconnected(error, quiet=self._turn.closing):
                pause = shortest
            self._turn.pause(turn, pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, longest)

    def _connect_and_serve(self, turn: int) -> str:
        """Serve one connection; return why it ended, or could not be made."""
        sender, session = self._sender, self._session
        try:
            connection, packets, connack, items = connect(
                self._broker, self._pump, sender.walk, partial(self._opened, turn), session.connect_packet()
            )
        except BrokerUnreachable as error:
            sender.version = self._broker.version  # the broker may speak another version when it is back
            return str(error)
        try:
            sender.version = packets.version
            if self._turn.is_over(turn):
                return "The server is shutting down."
            return session.serve(connection, packets, connack, items, partial(self._turn.is_lost, turn))
        except (MqttError, Refused) as error:
            return f"{self._broker.address}: {error.sentence}"
        except StoreError as error:
            return f"Could not store messages from the broker: {error}"
        finally:
            try:
                session.close()
            finally:
                connection.close()

    def _opened(self, turn: int, connection: BrokerConnection) -> None:
        """Have `close`, and the end of the turn, end the connection, also during its handshake."""
        self._sender.use(connection)
        if self._turn.is_over(turn):  # it is over before `close` or `_lost` looks for the connection
            connection.hang_up()

    # The chat's watcher

    def channel_made(self, log: Log) -> None:
        """Publish a new channel, which another server may have published in part."""
        if (reader := self._sender.reader) is not None:
            reader.resume(log, *self._progress.start_of(log))

    def channel_removed(self, log: Log) -> None:
        """Forget a channel that has left the store."""
        self._progress.forget(log)
        if (reader := self._sender.reader) is not None:
            reader.drop(log)

    def presence_changed(self, user: User) -> None:
        """Publish the presence of a user who has come or has gone."""
        self._presence.changed(user)
