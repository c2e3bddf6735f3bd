"""Floor 3: what any thread sends to the broker, by the connection that the mirror has at that moment."""

from __future__ import annotations

from channels import Chat, Log
from reporting import events, report
from store import StoreError
from wire.mqtt import Properties, publish

from .acknowledgements import Acknowledgements
from .connection import BrokerConnection
from .outgoing import MirrorReader, Recipient

KEEP_ALIVE = 30  # seconds, unless the broker asks for another value


class MirrorSender:
    """Sends by the current connection; drops everything while the mirror is not connected.

    `version` is the broker's MQTT version, `limit` the largest packet that it takes in bytes (0: any), `keep_alive` in
    seconds. Only the mirror's thread calls `use`, `configure`, `close` and `wait_for_room`.
    """

    def __init__(self, chat: Chat, version: int) -> None:
        self._chat = chat
        self._connection: BrokerConnection | None = None
        self._retains = True  # the broker supports retained messages
        self.reader: MirrorReader | None = None  # of the current connection
        self.acknowledgements = Acknowledgements(self.send)
        self.version = version
        self.limit = 0
        self.keep_alive: float = KEEP_ALIVE

    def use(self, connection: BrokerConnection) -> None:
        """Have `hang_up` and `end_output` end this connection from now on."""
        self._connection = connection

    def configure(self, told: Properties) -> None:
        """Note what the properties of the broker's CONNACK say."""
        self._retains = told.retain_available != 0
        self.keep_alive = told.server_keep_alive or KEEP_ALIVE  # [MQTT-3.2.2-21]
        self.limit = told.maximum_packet_size or 0

    def close(self) -> MirrorReader | None:
        """Drop what is sent from now on; return the reader of the connection that has ended."""
        reader, self.reader = self.reader, None
        self._connection = None
        self.acknowledgements.clear()
        return reader

    def send(self, data: bytes) -> None:
        """Send packets after everything that waits."""
        reader = self.reader
        if reader is not None and data:
            reader.reply_bytes(data)

    def publish_retained(self, topic: str, payload: bytes) -> None:
        """Publish a message that the broker retains, if it supports that."""
        self.send(publish(topic.encode(), payload, retain=self._retains, version=self.version))

    def follow_private(self, log: Log, recipient: Recipient, after: int) -> None:
        """Publish a private log for one of its users, after number `after`."""
        if (reader := self.reader) is not None:
            reader.follow_private(log, recipient, after)

    def follows_private(self, log: Log, recipient: Recipient) -> bool:
        """Return True if the private log is published for that user."""
        reader = self.reader
        return reader is not None and reader.follows_private(log, recipient)

    def drop_recipient(self, recipient: Recipient) -> None:
        """Publish nothing more for that user."""
        if (reader := self.reader) is not None:
            reader.drop_recipient(recipient)

    def wait_for_room(self) -> None:
        """Wait until the broker has taken most of what was sent. Hang up if that takes longer than the keep-alive."""
        reader = self.reader
        if reader is not None and not reader.wait_for_room(self._chat.limits.backlog, self.keep_alive):
            self.hang_up()

    def walk(self) -> None:
        """Publish more entries. Called by the pump when the connection is writable again."""
        if (reader := self.reader) is not None:
            try:
                reader.walk(self._chat.store, self._chat.limits)
            except StoreError as error:
                report(events.StoreProblem(str(error), "The mirror reconnects."))
                self.hang_up()
            except Exception as error:  # noqa: BLE001 - reported; the next connection goes on where this one ends
                report(events.InternalError(part="mirror", consequence="The mirror reconnects."), error)
                self.hang_up()

    def hang_up(self) -> None:
        """End the connection. What was not acknowledged, in either direction, is sent again by the next one."""
        if (connection := self._connection) is not None:
            connection.hang_up()

    def end_output(self) -> None:
        """Shut down writing, so that what was just sent still arrives."""
        if (connection := self._connection) is not None:
            connection.end_output()
