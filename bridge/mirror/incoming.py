"""Floor 3: what comes from the broker that the chat is mirrored to, and what goes straight from client to client."""

from __future__ import annotations

import logging
from collections import Counter

from bridge.clients import SharedState, presence_of
from channels.locks import leaf
from store import StoreError
from wire.clock import now
from wire.errors import Refused
from wire.frames import Error
from wire.mqtt import NONE, V5, V311, Oversized, Publish, Unusable, publish
from wire.names import NAME, fold
from wire.topics import LiveMessage, UserPresence

from .users import Carrier, Residents, acknowledgement

log_ = logging.getLogger("partyline.bridge")

_ECHOES = 10_000  # messages straight to a client that may come back to us


class MirrorInbox:
    """Takes PUBLISHes in the mirror's thread; `received` and `refused` count them."""

    def __init__(self, shared: SharedState, carrier: Carrier, residents: Residents) -> None:
        self._shared = shared
        self._topics = shared.topics
        self._carrier = carrier
        self._residents = residents
        self._lock = leaf()
        self._echoes: Counter[tuple[str, bytes]] = Counter()  # by topic and payload
        self.received = 0
        self.refused = 0

    def take(self, packet: Publish) -> None:
        """A PUBLISH of somebody on the broker, or what is retained there of us."""
        who = self._topics.sender(packet.topic)
        if who is None:
            self._take_else(packet)
            return
        if packet.retain:  # it was taken when it was new; 3.1.1 cannot ask to be spared it at each connection
            self._carrier.send(acknowledgement(packet.qos, packet.packet_id))
            return
        self.received += 1
        try:
            self._residents.take(*who, packet)
        except Refused as refused:
            self.refuse(packet, refused)
        except StoreError:
            raise  # it is to come again
        except Exception:  # it would come again, and end the connection of everyone again
            log_.exception("a message to %s could not be taken", packet.topic)
            self.refuse(packet, Refused("internal", "The server made a mistake; its log says more."))

    def refuse(self, packet: Publish | Oversized | Unusable, refused: Refused) -> None:
        """Count it, tell its sender, if that is somebody, and have it acknowledged: it is not to come again."""
        self.refused += 1
        me, _ = self._topics.sender(packet.topic) or ("", None)
        if NAME.fullmatch(me):
            error = Error(code=refused.code, error=refused.sentence)
            topic, payload = self._topics.error(error, me, packet.topic)
            self._carrier.send(publish(topic.encode(), payload, version=self._carrier.version))
        self._carrier.send(acknowledgement(packet.qos, packet.packet_id))

    def _take_else(self, packet: Publish) -> None:
        """Something straight to a client on our own door, or an old presence."""
        self._carrier.send(acknowledgement(packet.qos, packet.packet_id))
        state = self._topics.read(packet.topic, packet.payload, "")
        if isinstance(state, UserPresence):
            if packet.retain and state.online:
                self._correct(state.user)
            return
        pair = self._topics.live(packet.topic)
        if pair is None or packet.retain or self._is_echo(packet):
            return
        if NAME.fullmatch(pair[0]) and NAME.fullmatch(pair[1]):
            if self._residents.may_be(pair[1]):
                self.received += 1
                message = LiveMessage(pair[0], packet.payload, packet.properties)
                self._shared.live.publish(pair[1], message, from_broker=True)
            else:
                self.refused += 1

    def _correct(self, name: str) -> None:
        """It is retained that somebody is online, which may have been so before: the last word is to be how it is."""
        find = self._shared.chat.directory.find
        if find(fold(name)) is not None:
            return
        self._carrier.publish_retained(*self._topics.state(UserPresence(name, online=False, since=now())))
        while (user := find(fold(name))) is not None:  # has come just now, and may have said so before that
            self._carrier.publish_retained(*self._topics.state(presence_of(user)))
            if find(user.key) is user:
                return

    def _is_echo(self, packet: Publish) -> bool:
        """Whether it is what we have published: MQTT 3.1.1 has no No Local."""
        echo = packet.topic, packet.payload
        with self._lock:
            count = self._echoes.pop(echo, 0)
            if count > 1:
                self._echoes[echo] = count - 1
        return count > 0

    def open(self) -> None:
        """There is a new connection, on which nothing comes back that was sent before."""
        with self._lock:
            self._echoes.clear()

    def straight(self, sender: str, message: LiveMessage) -> None:
        """Called by any thread: from a client on our own door to one on the broker."""
        resident = self._residents.find(fold(message.to))
        if resident is None:
            return
        topic, version = self._topics.direct(resident.me, sender), self._carrier.version
        if version == V311:
            with self._lock:
                if len(self._echoes) >= _ECHOES:
                    self._echoes.clear()
                self._echoes[topic, message.payload] += 1
        properties = message.properties if version == V5 else NONE
        self._carrier.send(publish(topic.encode(), message.payload, version=version, properties=properties))
