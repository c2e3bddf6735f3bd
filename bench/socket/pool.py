"""A pool full of connections: the clients of one run, logged in, joined, and level with the server.

Every connection of a channel is a member and hears what is said there; those that post are members like the others. So
each server does the same work, and every delivery that it makes counts, those to the posting connections included.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .dialects import ID_PLACE, Dialect, SizeModel

SETUP_SECONDS = 20.0  # for one answer while the pool is filled
QUIET_SECONDS = 0.05  # without a byte for so long, nothing of the joining is still under way
BLOCK = 65_536  # bytes of posts that are handed to the kernel at once
CHUNK = 1 << 20  # bytes that are received at once


class RunFailed(Exception):
    """Deliveries are missing, or the server has closed a connection."""


class Feed:
    """What one publisher sends: an endless string of posts of one size."""

    def __init__(self, post: bytes, publisher: int) -> None:
        self.size = len(post)
        self._head, place, self._tail = post.partition(ID_PLACE.encode())
        self._with_ids = bool(place)
        self._first = publisher * 10 ** (len(ID_PLACE) - 2)  # ids of two publishers never meet
        self._per_block = max(1, BLOCK // self.size)
        self._block = memoryview(post * (self._per_block + 1))
        self._number = -1

    def take(self, start: int, limit: int) -> memoryview:
        """Up to `limit` bytes, beginning `start` bytes from the first post."""
        if not self._with_ids:
            start %= self.size
        else:
            number, start = divmod(start, self._per_block * self.size)
            if number != self._number:
                self._block, self._number = self._with_fresh_ids(number), number
        return self._block[start : start + limit]

    def _with_fresh_ids(self, block: int) -> memoryview:
        head, tail, width = self._head, self._tail, len(ID_PLACE)
        first = self._first + block * self._per_block
        return memoryview(b"".join([b"%b%0*d%b" % (head, width, first + n, tail) for n in range(self._per_block)]))


class Client:
    """A connection that has logged in. While the pool is filled it blocks."""

    def __init__(self, port: int, name: str, dialect: Dialect) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), SETUP_SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = self.sock.fileno()
        self.dialect = dialect
        self.ask(dialect.login(name), dialect.welcomed)

    def ask(self, request: bytes, marker: bytes) -> bytes:
        """Send a request and read until its answer has come."""
        self.sock.sendall(request)
        return self.expect(marker)

    def expect(self, marker: bytes) -> bytes:
        """Read until `marker` has come."""
        seen = b""
        while marker not in seen:
            try:
                data = self.sock.recv(CHUNK)
            except TimeoutError:
                data = b""
            if not data:
                raise RunFailed(f"no {marker!r}, but {seen[-300:]!r}")
            seen += data
        return seen


@dataclass
class Publisher:
    """A member that posts, and how far it is."""

    client: Client
    feed: Feed
    sent: int = 0  # bytes
    allowed: int = 0  # bytes that the window lets it have sent
    blocked: bool = False  # the kernel takes no more at the moment

    def posts(self) -> int:
        """Posts that have gone out in full."""
        return self.sent // self.feed.size


@dataclass
class Channel:
    """The members of one channel. `size_model` measures what comes after the first post of each publisher."""

    name: str
    subscribers: list[Client]
    publishers: list[Publisher]
    size_model: SizeModel = field(init=False)

    def subscriber_fds(self) -> list[int]:
        """The file descriptors of the subscribers."""
        return [client.fd for client in self.subscribers]

    def posts(self) -> int:
        """Posts since the first of each publisher."""
        return sum(publisher.posts() for publisher in self.publishers) - len(self.publishers)


class ClientPool:
    """All channels of a run. `epoll` has every connection."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.clients: list[Client] = []
        self.channels: list[Channel] = []
        self.epoll = select.epoll()

    def connect(self, port: int, dialect: Dialect | None = None) -> Client:
        """A further client, under a name of the usual length, in the pool's dialect or another."""
        client = Client(port, f"u{len(self.clients):05d}", dialect or self.dialect)
        self.clients.append(client)
        return client

    def settle(self) -> dict[int, int]:
        """Read until nothing comes any more; gives the bytes by file descriptor."""
        socks = {client.fd: client.sock for client in self.clients}
        got = dict.fromkeys(socks, 0)
        while events := self.epoll.poll(QUIET_SECONDS, 4096):
            for fd, _ in events:
                size = len(socks[fd].recv(CHUNK))
                if not size:
                    raise RunFailed("the server closed a connection while the pool was filled")
                got[fd] += size
        return got

    def level(self) -> None:
        """Wait until nothing of the joining is under way; from here on the sockets do not block."""
        for client in self.clients:
            client.sock.sendall(client.dialect.ping)
        for client in self.clients:
            client.expect(client.dialect.pong)
            client.sock.setblocking(False)
            self.epoll.register(client.fd, select.EPOLLIN)
        self.settle()

    def sample(self) -> None:
        """Let every publisher post once, and learn from it how long a delivery is."""
        for channel in self.channels:
            for publisher in channel.publishers:
                publisher.sent = publisher.client.sock.send(publisher.feed.take(0, publisher.feed.size))
        got = dict.fromkeys((client.fd for client in self.clients), 0)
        end = time.monotonic() + SETUP_SECONDS
        while not all(got[fd] for channel in self.channels for fd in channel.subscriber_fds()):
            if time.monotonic() > end:
                raise RunFailed("the first message did not reach everybody")
            for fd, size in self.settle().items():
                got[fd] += size
        for channel in self.channels:
            sizes = {got[fd] for fd in channel.subscriber_fds()}
            if len(sizes) != 1:
                raise RunFailed(f"the members of a channel were sent different amounts: {sizes}")
            channel.size_model = SizeModel(sizes.pop(), len(channel.publishers), numbered=self.dialect.numbered)

    def close(self) -> None:
        """Close all connections."""
        self.epoll.close()
        for client in self.clients:
            client.sock.close()


@contextmanager
def client_pool(
    dialect: Dialect,
    port: int,
    *,
    channels: int,
    subscribers: int,
    publishers: int,
    size: int,
    with_ids: bool = False,
) -> Iterator[ClientPool]:
    """Channels with so many subscribers and publishers each, who post texts of `size` bytes."""
    pool = ClientPool(dialect)
    text = "x" * size
    try:
        for number in range(channels):
            name = f"pool{number:03d}"
            members = [pool.connect(port) for _ in range(subscribers + publishers)]
            for member in members:
                member.ask(dialect.join(name), dialect.joined)
            post = dialect.post(name, text, with_id=with_ids)
            senders = [Publisher(member, Feed(post, nth)) for nth, member in enumerate(members[subscribers:])]
            pool.channels.append(Channel(name, members[:subscribers], senders))
        pool.level()
        pool.sample()
        yield pool
    finally:
        pool.close()
