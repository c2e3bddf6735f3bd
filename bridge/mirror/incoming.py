"""Floor 3: what the broker sends: requests of its clients, live messages, and retained presence from before."""

from __future__ import annotations

from functools import lru_cache

from reporting import events, report
from store import StoreError
from wire.errors import Refused
from wire.frames import Error
from wire.mqtt import Oversized, Publish, Unusable, encode_acknowledgement, publish
from wire.names import NAME
from wire.topics import Topics, UserPresence

from .live import MirrorLive
from .presence import MirrorPresence
from .sender import MirrorSender
from .status import MirrorStatus
from .users import MirrorUsers

_CACHED_TOPIC = 256  # characters of the longest topic whose sender is cached


class MirrorIncoming:
    """Handles the PUBLISH packets of the broker, in the mirror's thread."""

    def __init__(
        self, topics: Topics, sender: MirrorSender, users: MirrorUsers, live: MirrorLive, presence: MirrorPresence,
        status: MirrorStatus,
    ) -> None:  # fmt: skip
        self._topics = topics
        self._cached_sender = lru_cache(1 << 12)(topics.sender)  # clients publish to the same few topics
        self._sender = sender
        self._users = users
        self._live = live
        self._presence = presence
        self._status = status

    def take(self, packet: Publish) -> None:
        """Handle one PUBLISH. Raises StoreError; the broker has to send it again then."""
        topic = packet.topic
        sender = (self._cached_sender if len(topic) <= _CACHED_TOPIC else self._topics.sender)(topic)
        if sender is None:
            self._take_other(packet)
            return
        if packet.retain:  # handled when it was new; MQTT 3.1.1 cannot ask the broker to leave it out
            self._acknowledge(packet)
            return
        self._status.received += 1
        try:
            self._users.take(*sender, packet)
        except Refused as refused:
            self.refuse(packet, refused)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - reported; if it came again, it would end the connection again
            consequence = f"A message to {packet.topic} was refused."
            report(events.InternalError(part="mirror", consequence=consequence), error)
            self.refuse(packet, Refused("internal", "Internal error; see the server's log."))

    def finish_logins(self) -> None:
        """Answer registrations whose password was checked meanwhile, and handle what their users have sent since."""
        for packet, refused, held in self._users.finish_logins():
            if refused is not None:
                self._tell(packet, refused, self._sender_of(packet))
            for each in held:
                self.take(each)

    def refuse(self, packet: Publish | Oversized | Unusable, refused: Refused) -> None:
        """Count the message, tell its sender, and acknowledge it, so that it does not return."""
        self._tell(packet, refused, self._sender_of(packet))
        self._acknowledge(packet)

    def _sender_of(self, packet: Publish | Oversized | Unusable) -> str:
        return (self._topics.sender(packet.topic) or ("", None))[0]

    def _tell(self, packet: Publish | Oversized | Unusable, refused: Refused, me: str) -> None:
        """Count a message that was refused, and tell its sender if that is a valid name."""
        self._status.refused += 1
        if NAME.fullmatch(me):
            error = Error(code=refused.code, error=refused.sentence)
            topic, payload = self._topics.error(error, me, packet.topic)
            self._sender.send(publish(topic.encode(), payload, version=self._sender.version))

    def _take_other(self, packet: Publish) -> None:
        """Handle a live message, or retained presence."""
        self._acknowledge(packet)
        state = self._topics.read(packet.topic, packet.payload, "")
        if isinstance(state, UserPresence):
            if packet.retain:
                self._presence.correct(state)
            return
        pair = self._topics.live_pair(packet.topic)
        if pair is not None:
            try:
                self._live.take(*pair, packet)
            except Refused as refused:
                self._tell(packet, refused, pair[1])

    def _acknowledge(self, packet: Publish | Oversized | Unusable) -> None:
        self._sender.send(encode_acknowledgement(packet.qos, packet.packet_id))
