"""The load generator in Python: saturated, one message at a time, or at a steady rate, in one epoll loop.

It calls `recv_into` once for each wake-up and does not parse what it receives: a run ends when every member has
received the exact number of bytes of its deliveries.
"""

from __future__ import annotations

import gc
import math
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .pool import CHUNK, Channel, ClientPool, Publisher, RunFailed

STALL_SECONDS = 8.0  # without a byte, after which the missing deliveries count as lost
TICK_SECONDS = 0.001  # between two looks at the windows


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    posts: int
    deliveries: int
    seconds: float  # until the last delivery
    p50: float = 0.0  # seconds of latency, if measured
    p99: float = 0.0


def _never(_buffer: bytearray) -> int:
    raise AssertionError("this connection is not of the pool")


class Load:
    """The receiving side, common to all runs."""

    def __init__(self, pool: ClientPool) -> None:
        self.pool = pool
        pool.prepare(sample=True)
        self._buffer = bytearray(CHUNK)
        highest = max(client.fd for client in pool.clients)
        self.got = [0] * (highest + 1)  # bytes, by file descriptor
        self.total = 0  # bytes from all connections
        self._receive: list[Callable[[bytearray], int]] = [_never] * (highest + 1)
        for client in pool.clients:
            self._receive[client.fd] = client.sock.recv_into
        self._heard_at = time.perf_counter()

    def poll(self, seconds: float) -> list[int]:
        """Receive once from every readable connection; return the file descriptors of the writable ones."""
        got, receive, buffer = self.got, self._receive, self._buffer
        writable, total = [], 0
        events = self.pool.epoll.poll(seconds, 4096)
        for fd, event in events:
            if event != select.EPOLLOUT:
                size = receive[fd](buffer)
                if not size:
                    raise RunFailed("the server closed a connection")
                got[fd] += size
                total += size
            if event & select.EPOLLOUT:
                writable.append(fd)
        self.total += total
        now = time.perf_counter()
        if events:
            self._heard_at = now
        elif now - self._heard_at > STALL_SECONDS:
            raise RunFailed(f"received nothing for {STALL_SECONDS:.0f} s")
        return writable

    @contextmanager
    def measured(self) -> Iterator[Callable[[], float]]:
        """Turn garbage collection off; yield a function that returns the seconds until the last byte received."""
        gc.collect()
        gc.disable()
        try:
            start = time.perf_counter()
            yield lambda: self._heard_at - start
        finally:
            gc.enable()

    def expected(self, channel: Channel) -> dict[int, int]:
        """Return the bytes that each member has to receive in the run, by file descriptor."""
        size_model, posts = channel.size_model, channel.posts()
        every = dict.fromkeys(channel.subscriber_fds(), size_model.total(posts))
        for publisher in channel.publishers:
            own = 0 if self.pool.dialect.echoes else publisher.posts() - 1
            every[publisher.client.fd] = size_model.total(posts - own)
        return every

    def posts(self) -> int:
        return sum(channel.posts() for channel in self.pool.channels)

    def deliveries(self) -> int:
        """Return the number of deliveries of all posts."""
        total = 0
        for channel in self.pool.channels:
            members = len(channel.subscribers) + len(channel.publishers)
            total += channel.posts() * (members if self.pool.dialect.echoes else members - 1)
        return total

    def finish(self) -> None:
        """Receive until every member has everything, and no byte more than it should."""
        missing: dict[int, int] = {}
        for channel in self.pool.channels:
            missing.update(self.expected(channel))
        every = dict(missing)
        while missing:
            self.poll(TICK_SECONDS)
            missing = {fd: size for fd, size in missing.items() if self.got[fd] < size}
        for fd, size in every.items():
            if self.got[fd] - size not in (0, self.pool.dialect.unasked_bytes):
                raise RunFailed(f"a member received {self.got[fd]} bytes, expected {size}")


class Saturation(Load):
    """Every publisher posts as fast as the server reads, up to a window ahead of the slowest subscriber."""

    def __init__(self, pool: ClientPool, window: int) -> None:
        super().__init__(pool)
        self._window = window
        self._by_fd = {publisher.client.fd: publisher for channel in pool.channels for publisher in channel.publishers}

    def run(self, seconds: float, posts: int = 0) -> Outcome:
        """Post for `seconds` and at least `posts` times, then wait for all deliveries."""
        with self.measured() as clock:
            stop = time.perf_counter() + seconds
            while (now := time.perf_counter()) < stop or self.posts() < posts:
                for channel in self.pool.channels:
                    self._widen(channel)
                tick = now + TICK_SECONDS
                while time.perf_counter() < tick:
                    for fd in self.poll(TICK_SECONDS):
                        self._push(self._by_fd[fd])
            self._complete_posts()
            self.finish()
            taken = clock()
        return Outcome(self.posts(), self.deliveries(), taken)

    def _widen(self, channel: Channel) -> None:
        """Move the window up to the slowest subscriber, if that frees a quarter of it."""
        slowest = min([self.got[fd] for fd in channel.subscriber_fds()])
        ahead = channel.posts() - channel.size_model.count(slowest)
        share = (self._window - ahead) // len(channel.publishers)
        if share * 4 * len(channel.publishers) < self._window:
            return
        for publisher in channel.publishers:
            publisher.allowed = (publisher.posts() + share) * publisher.feed.size
            if not publisher.blocked:
                self._push(publisher)

    def _push(self, publisher: Publisher) -> None:
        """Send as much as the window and the socket take."""
        sock, feed = publisher.client.sock, publisher.feed
        full = False
        while (rest := publisher.allowed - publisher.sent) > 0 and not full:
            try:
                publisher.sent += sock.send(feed.take(publisher.sent, rest))
            except BlockingIOError:
                full = True
        if full != publisher.blocked:
            publisher.blocked = full
            self.pool.epoll.modify(sock.fileno(), select.EPOLLIN | (select.EPOLLOUT if full else 0))

    def _complete_posts(self) -> None:
        """Send the rest of each post that was sent in part."""
        publishers = list(self._by_fd.values())
        for publisher in publishers:
            publisher.allowed = -(-publisher.sent // publisher.feed.size) * publisher.feed.size
            self._push(publisher)
        while any(publisher.blocked for publisher in publishers):
            for fd in self.poll(TICK_SECONDS):
                self._push(self._by_fd[fd])


class SinglePublisher(Load):
    """Runs with one publisher."""

    def __init__(self, pool: ClientPool) -> None:
        super().__init__(pool)
        (self._channel,) = pool.channels
        (self._publisher,) = self._channel.publishers
        self._receiver_fds = self._channel.subscriber_fds()
        if pool.dialect.echoes:
            self._receiver_fds.append(self._publisher.client.fd)

    def _post(self) -> None:
        publisher = self._publisher
        if publisher.client.sock.send(publisher.feed.take(publisher.sent, publisher.feed.size)) < publisher.feed.size:
            raise RunFailed("the server stopped reading")
        publisher.sent += publisher.feed.size

    def one_at_a_time(self, seconds: float) -> Outcome:
        """Send each message when every member has the last one."""
        before = self.posts(), self.deliveries()
        size_model, got, receivers, posts = (
            self._channel.size_model,
            self.got,
            len(self._receiver_fds),
            self._channel.posts(),
        )
        with self.measured() as clock:
            stop = time.perf_counter() + seconds
            while time.perf_counter() < stop:
                posts += 1
                target = size_model.total(posts)
                self._post()
                while self.total < target * receivers or any(got[fd] < target for fd in self._receiver_fds):
                    self.poll(1.0)
            taken = clock()
        self.finish()
        return Outcome(self.posts() - before[0], self.deliveries() - before[1], taken)

    def paced(self, seconds: float, rate: int) -> Outcome:
        """Send `rate` messages a second without waiting for deliveries; measure the latency of each delivery."""
        count = int(seconds * rate)
        sent_at: list[float] = []
        received: list[tuple[int, int, float]] = []
        enough = self._channel.size_model.total(count) * len(self._receiver_fds)
        with self.measured() as clock:
            start = time.perf_counter() + TICK_SECONDS
            while len(sent_at) < count or self.total < enough:
                due = start + len(sent_at) / rate if len(sent_at) < count else math.inf
                if (now := time.perf_counter()) >= due:
                    sent_at.append(now)
                    self._post()
                else:
                    self._poll_timed(min(due - now, 0.1), received)
            taken = clock()
        self.finish()
        latencies = sorted(self._latencies(sent_at, received))
        middle, late = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
        return Outcome(self.posts(), self.deliveries(), taken, middle, late)

    def _poll_timed(self, seconds: float, received: list[tuple[int, int, float]]) -> None:
        """Poll, and append (file descriptor, bytes so far, time) for each reception."""
        now = time.perf_counter()
        for fd, _ in self.pool.epoll.poll(seconds, 4096):
            size = self._receive[fd](self._buffer)
            now = time.perf_counter()
            if not size:
                raise RunFailed("the server closed a connection")
            self.got[fd] += size
            self.total += size
            received.append((fd, self.got[fd], now))
            self._heard_at = now
        if now - self._heard_at > STALL_SECONDS:
            raise RunFailed(f"received nothing for {STALL_SECONDS:.0f} s")

    def _latencies(self, sent_at: list[float], received: list[tuple[int, int, float]]) -> list[float]:
        """Return the seconds from each post to each of its deliveries."""
        bounds = [self._channel.size_model.total(post + 1) for post in range(len(sent_at))]
        had = dict.fromkeys(self._receiver_fds, 0)
        latencies = []
        for fd, size, at in received:
            if fd not in had:
                continue
            post = had[fd]
            while post < len(bounds) and size >= bounds[post]:
                latencies.append(at - sent_at[post])
                post += 1
            had[fd] = post
        return latencies
