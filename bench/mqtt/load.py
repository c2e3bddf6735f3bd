"""The load over MQTT: as in `load`, but publishers hear only acknowledgements, and subscribers may send some."""

from __future__ import annotations

import select

from bench.socket.load import Load, Outcome, Saturation, SinglePublisher
from bench.socket.pool import CHUNK, SETUP_SECONDS, Channel, Publisher, RunFailed

from .pool import PUBACK, MqttPool

IN_FLIGHT = 20  # messages of a publisher at QoS 1 that have no PUBACK yet


class _MqttLoad(Load):
    """What the runs share."""

    def _attach(self, pool: MqttPool) -> None:
        """Let the subscribers acknowledge."""
        for fd, acknowledger in pool.acknowledgers.items():
            self._receive[fd] = acknowledger.receive

    def expected(self, channel: Channel) -> dict[int, int]:
        return dict.fromkeys(channel.subscriber_fds(), channel.size_model.total(channel.posts()))

    def deliveries(self) -> int:
        return sum(channel.posts() * len(channel.subscribers) for channel in self.pool.channels)


class MqttSaturation(_MqttLoad, Saturation):
    """As fast as the server takes it, within the window; at QoS 1 also with at most IN_FLIGHT of each publisher."""

    def __init__(self, pool: MqttPool, window: int) -> None:
        super().__init__(pool, window)
        self._attach(pool)
        self._qos = pool.qos
        self._open = bool(pool.qos)  # PUBACKs let the publishers go on
        self._ahead = 0  # posts that each publisher may have made, as far as the window goes

    def expected(self, channel: Channel) -> dict[int, int]:
        """Publishers are to have their PUBACKs, and nothing else."""
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
        """At QoS 1: post as many as were acknowledged."""
        acknowledged = 1 + self.got[publisher.client.fd] // PUBACK
        publisher.allowed = max(publisher.sent, min(acknowledged + IN_FLIGHT, self._ahead) * publisher.feed.size)
        if publisher.allowed > publisher.sent and not publisher.blocked:
            self._push(publisher)

    def _complete_posts(self) -> None:
        self._open = False
        super()._complete_posts()


class MirrorSaturation(_MqttLoad, Saturation):
    """As fast as the server takes it from people on the socket door, counted where subscribers hear it."""

    def __init__(self, pool: MqttPool, window: int) -> None:
        super().__init__(pool, window)
        self._attach(pool)


class MqttPaced(_MqttLoad, SinglePublisher):
    """A steady rate from one publisher. Its PUBACKs are read at the end, as they are no deliveries."""

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
