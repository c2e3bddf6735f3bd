"""Floor 3: live messages between clients of this server and clients of the broker, which nobody stores."""

from __future__ import annotations

from collections import Counter

from bridge.clients import SharedState
from channels import LIVE, Origin, leaf
from wire.mqtt import NONE, V5, V311, Publish, publish
from wire.names import NAME, fold
from wire.topics import LiveMessage

from .sender import MirrorSender
from .status import MirrorStatus
from .users import MirrorUsers

_MOST_ECHOES = 10_000  # messages whose echo is awaited


class MirrorLive:
    """Passes live messages on, in both directions. MQTT 3.1.1 has no No Local, so it drops the mirror's own ones."""

    def __init__(self, shared: SharedState, sender: MirrorSender, users: MirrorUsers, status: MirrorStatus) -> None:
        self._topics = shared.topics
        self._rates = shared.chat.rates
        self._router = shared.live
        self._sender = sender
        self._users = users
        self._status = status
        self._lock = leaf()
        self._echoes: Counter[tuple[str, bytes]] = Counter()  # topic and payload of what the broker will send back
        shared.live.to_broker = self.publish

    def publish(self, sender: str, message: LiveMessage) -> None:
        """Publish a message from a client of this server for a user on the broker. Any thread may call it."""
        user = self._users.find(fold(message.to))
        if user is None:
            return
        topic, version = self._topics.live_topic(user.me, sender), self._sender.version
        if version == V311:
            with self._lock:
                if len(self._echoes) >= _MOST_ECHOES:
                    self._echoes.clear()
                self._echoes[topic, message.payload] += 1
        properties = message.properties if version == V5 else NONE
        self._sender.send(publish(topic.encode(), message.payload, version=version, properties=properties))

    def take(self, to: str, sender: str, packet: Publish) -> None:
        """Pass a message of a client of the broker on to the clients of this server, if the sender may use the name.

        Raises Refused if the sender has sent too many.
        """
        if packet.retain or self._is_echo(packet) or not (NAME.fullmatch(to) and NAME.fullmatch(sender)):
            return
        if not self._users.may_use(sender):
            self._status.refused += 1
            return
        self._rates.check(LIVE, Origin(fold(sender), None))
        self._status.received += 1
        self._router.publish(sender, LiveMessage(to, packet.payload, packet.properties), from_broker=True)

    def _is_echo(self, packet: Publish) -> bool:
        echo = packet.topic, packet.payload
        with self._lock:
            count = self._echoes.pop(echo, 0)
            if count > 1:
                self._echoes[echo] = count - 1
        return count > 0

    def reset(self) -> None:
        """Await no echo: a new connection gets none of what was sent before."""
        with self._lock:
            self._echoes.clear()
