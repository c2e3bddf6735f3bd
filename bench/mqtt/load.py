"""The load generator in Python over MQTT: publishers receive PUBACKs only, and subscribers at QoS 1 send them."""

from __future__ import annotations

import select

from bench.socket.load import Load, Outcome, Saturation, SinglePublisher
from bench.socket.pool import CHUNK, SETUP_SECONDS, Channel, Publisher, RunFailed

from .pool import PUBACK, MqttPool

IN_FLIGHT = 20  # messages without a PUBACK that a publisher at QoS 1 may have


class _MqttLoad(Load):
    """Common to the runs over MQTT."""

    def _attach(self, pool: MqttPool) -> None:
        """Receive through the acknowledgers of the subscribers."""
        for fd, acknowledger in pool.acknowledgers.items():
            self._receive[fd] = acknowledger.receive

    def expected(self, channel: Channel) -> dict[int, int]:
        return dict.fromkeys(channel.subscriber_fds(), channel.size_model.total(channel.posts()))

    def deliveries(self) -> int:
        return sum(channel.posts() * len(channel.subscribers) for channel in self.pool.channels)


class MqttSaturation(_MqttLoad, Saturation):
    """Every publisher posts as fast as the window allows; at QoS 1 it has at most IN_FLIGHT posts without a PUBACK."""

    def __init__(self, pool: MqttPool, window: int) -> None:
        super().__init__(pool, window)
        self._attach(pool)
        self._qos = pool.qos
        self._open = bool(pool.qos)  # a PUBACK allows a further post
        self._ahead = 0  # posts that each publisher may send within the window

    def expected(self, channel: Channel) -> dict[int, int]:
        """Return the deliveries of the subscribers and the PUBACKs of the publishers, in bytes."""
        puback = PUBACK if self._qos else 0
        acks = {publisher.client.fd: (publisher.posts() - 1) * puback for publisher in channel.publishers}
        return super().expected(channel) | acks

    def poll(self, seconds: float) -> list[int]:
        writable = super().poll(seconds)
        if self._open:
            for publisher in self._by_fd.values():
                self._refill(publisher)
        return writable

    def _widen(self, channel: Channel) -> None:
        if not self._qos:
            super()._widen(channel)
            return
        slowest = channel.size_model.count(min([self.got[fd] for fd in channel.subscriber_fds()]))
        self._ahead = 1 + (slowest + self._window) // len(channel.publishers)
        for publisher in channel.publishers:
            self._refill(publisher)

    def _refill(self, publisher: Publisher) -> None:
        """At QoS 1: post once more for each PUBACK."""
        acknowledged = 1 + self.got[publisher.client.fd] // PUBACK
        publisher.allowed = max(publisher.sent, min(acknowledged + IN_FLIGHT, self._ahead) * publisher.feed.size)
        if publisher.allowed > publisher.sent and not publisher.blocked:
            self._push(publisher)

    def _complete_posts(self) -> None:
        self._open = False
        super()._complete_posts()


class MirrorSaturation(_MqttLoad, Saturation):
    """Publishers on the socket door post as fast as the window allows; only the subscribers' deliveries count."""

    def __init__(self, pool: MqttPool, window: int) -> None:
        super().__init__(pool, window)
        self._attach(pool)


class MqttPaced(_MqttLoad, SinglePublisher):
    """A steady rate from one publisher, whose PUBACKs are read after the run."""

    def __init__(self, pool: MqttPool) -> None:
        super().__init__(pool)
        self._attach(pool)
        self._qos = pool.qos
        pool.epoll.unregister(self._publisher.client.fd)

    def paced(self, seconds: float, rate: int) -> Outcome:
        outcome = super().paced(seconds, rate)
        self._receive_pubacks((self._publisher.posts() - 1) * PUBACK if self._qos else 0)
        return outcome

    def _receive_pubacks(self, missing: int) -> None:
        sock = self._publisher.client.sock
        while missing > 0:
            if not select.select([sock], [], [], SETUP_SECONDS)[0] or not (data := sock.recv(CHUNK)):
                raise RunFailed(f"{missing // PUBACK} posts were not acknowledged")
            missing -= len(data)
