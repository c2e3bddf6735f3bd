"""The load over MQTT: as in `load`, but publishers hear only acknowledgements, and subscribers may send some."""

from __future__ import annotations

import select

from bench.socket.load import Load, Outcome, Saturation, SingleTalker
from bench.socket.room import CHUNK, SETUP_SECONDS, Channel, Lost, Talker

from .room import PUBACK, MqttRoom

IN_FLIGHT = 20  # messages of a publisher at QoS 1 that have no PUBACK yet


class _MqttLoad(Load):
    """What the runs share."""

    def _attach(self, room: MqttRoom) -> None:
        """Let the subscribers acknowledge."""
        for fd, acknowledger in room.acknowledgers.items():
            self._receive[fd] = acknowledger.receive

    def expected(self, channel: Channel) -> dict[int, int]:
        return dict.fromkeys(channel.listening(), channel.ruler.total(channel.posts()))

    def deliveries(self) -> int:
        return sum(channel.posts() * len(channel.listeners) for channel in self.room.channels)


class MqttSaturation(_MqttLoad, Saturation):
    """As fast as the server takes it, within the window; at QoS 1 also with at most IN_FLIGHT of each publisher."""

    def __init__(self, room: MqttRoom, window: int) -> None:
        super().__init__(room, window)
        self._attach(room)
        self._qos = room.qos
        self._open = bool(room.qos)  # PUBACKs let the publishers go on
        self._ahead = 0  # posts that each publisher may have made, as far as the window goes

    def expected(self, channel: Channel) -> dict[int, int]:
        """Publishers are to have their PUBACKs, and nothing else."""
        puback = PUBACK if self._qos else 0
        acks = {talker.client.fd: (talker.posts() - 1) * puback for talker in channel.talkers}
        return super().expected(channel) | acks

    def poll(self, seconds: float) -> list[int]:
        writable = super().poll(seconds)
        if self._open:
            for talker in self._by_fd.values():
                self._refill(talker)
        return writable

    def _widen(self, channel: Channel) -> None:
        if not self._qos:
            super()._widen(channel)
            return
        slowest = channel.ruler.count(min([self.got[fd] for fd in channel.listening()]))
        self._ahead = 1 + (slowest + self._window) // len(channel.talkers)
        for talker in channel.talkers:
            self._refill(talker)

    def _refill(self, talker: Talker) -> None:
        """At QoS 1: post as many as were acknowledged."""
        acknowledged = 1 + self.got[talker.client.fd] // PUBACK
        talker.allowed = max(talker.sent, min(acknowledged + IN_FLIGHT, self._ahead) * talker.feed.size)
        if talker.allowed > talker.sent and not talker.blocked:
            self._push(talker)

    def _complete_posts(self) -> None:
        self._open = False
        super()._complete_posts()


class Heard(_MqttLoad, Saturation):
    """As fast as the server takes it from people on the socket door, counted where subscribers hear it."""

    def __init__(self, room: MqttRoom, window: int) -> None:
        super().__init__(room, window)
        self._attach(room)


class MqttPaced(_MqttLoad, SingleTalker):
    """A steady rate from one publisher. Its PUBACKs are read at the end, as they are no deliveries."""

    def __init__(self, room: MqttRoom) -> None:
        super().__init__(room)
        self._attach(room)
        self._qos = room.qos
        room.epoll.unregister(self._talker.client.fd)

    def paced(self, seconds: float, rate: int) -> Outcome:
        outcome = super().paced(seconds, rate)
        self._receive_pubacks((self._talker.posts() - 1) * PUBACK if self._qos else 0)
        return outcome

    def _receive_pubacks(self, missing: int) -> None:
        sock = self._talker.client.sock
        while missing > 0:
            if not select.select([sock], [], [], SETUP_SECONDS)[0] or not (data := sock.recv(CHUNK)):
                raise Lost(f"{missing // PUBACK} posts were not acknowledged")
            missing -= len(data)
