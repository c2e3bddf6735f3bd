"""The clients of one run: connected, logged in and joined; after `prepare` no answer of the server is outstanding.

Every connection of a channel is a member, the publishers too, and receives each post. So each server does the same
work, and every delivery counts, those to the publishers included.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice

from .dialects import ID_PLACE, Dialect, SizeModel

SETUP_SECONDS = 20.0  # for one answer while the clients connect
QUIET_SECONDS = 0.05  # without a byte, after which no answer to a join is still on its way
BLOCK = 65_536  # bytes of posts in one `send`
CHUNK = 1 << 20  # bytes in one `recv`


class RunFailed(Exception):
    """Deliveries are missing, the server closed a connection, or it gave a wrong answer."""


class Feed:
    """An endless byte string of posts of one size, which one publisher sends."""

    def __init__(self, post: bytes, publisher: int) -> None:
        self.post = post
        self.size = len(post)
        self._head, place, self._tail = post.partition(ID_PLACE.encode())
        self._with_ids = bool(place)
        self._first = publisher * 10 ** (len(ID_PLACE) - 2)  # two publishers never use the same id
        self._per_block = max(1, BLOCK // self.size)
        self._block = memoryview(post * (self._per_block + 1))
        self._number = -1

    def take(self, start: int, limit: int) -> memoryview:
        """Return up to `limit` bytes of the string, from offset `start` on."""
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
    """A connection that has logged in. Its socket blocks until `ClientPool.level`."""

    def __init__(self, port: int, name: str, dialect: Dialect, login: bytes | None = None) -> None:
        """`login` is another request than that of the dialect."""
        self.sock = socket.create_connection(("127.0.0.1", port), SETUP_SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = self.sock.fileno()
        self.dialect = dialect
        self.ask(login or dialect.login(name), dialect.welcomed)

    def ask(self, request: bytes, marker: bytes) -> bytes:
        """Send a request; return all bytes up to the answer, which contains `marker`. Raises RunFailed."""
        self.sock.sendall(request)
        return self.expect(marker)

    def expect(self, marker: bytes) -> bytes:
        """Return all bytes received until `marker` is among them. Raises RunFailed after SETUP_SECONDS."""
        seen = b""
        while marker not in seen:
            try:
                data = self.sock.recv(CHUNK)
            except TimeoutError:
                data = b""
            if not data:
                raise RunFailed(f"expected {marker!r}, received {seen[-300:]!r}")
            seen += data
        return seen


@dataclass
class Publisher:
    """A member that posts, with its progress."""

    client: Client
    feed: Feed
    receives: bool = True  # it is a member, and gets the posts of the others, and its own if its dialect echoes
    sent: int = 0  # bytes
    allowed: int = 0  # bytes that it may have sent within the window
    blocked: bool = False  # its socket is full

    def posts(self) -> int:
        """Return the number of posts sent in full."""
        return self.sent // self.feed.size


@dataclass
class Channel:
    """The members of one channel. `size_model` starts after the first post of each publisher, by `prepare`."""

    name: str
    subscribers: list[Client]
    publishers: list[Publisher]
    size_model: SizeModel = field(init=False)

    def subscriber_fds(self) -> list[int]:
        return [client.fd for client in self.subscribers]

    def posts(self) -> int:
        """Return the number of posts since the first of each publisher."""
        return sum(publisher.posts() for publisher in self.publishers) - len(self.publishers)


class ClientPool:
    """The clients and channels of a run. `epoll` watches every connection."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.clients: list[Client] = []
        self.channels: list[Channel] = []
        self.epoll = select.epoll()
        self._prepared = False

    def prepare(self, *, sample: bool) -> None:
        """Wait until no answer is outstanding, once. `sample`: post from each publisher to learn a delivery's size."""
        if not self._prepared:
            self._prepared = True
            self._make_ready(sample)

    def _make_ready(self, sample: bool) -> None:
        self.level()
        if sample:
            self.sample()

    @contextmanager
    def lent(self) -> Iterator[list[int]]:
        """Yield the file descriptors of all connections, for another process that watches them by itself."""
        fds = [client.fd for client in self.clients]
        for fd in fds:
            self.epoll.unregister(fd)
        yield fds
        for fd in fds:
            self.epoll.register(fd, select.EPOLLIN)

    def connect(self, port: int, dialect: Dialect | None = None) -> Client:
        """Add a client that speaks the pool's dialect or the given one. All names have the same length."""
        client = Client(port, f"u{len(self.clients):05d}", dialect or self.dialect)
        self.clients.append(client)
        return client

    def settle(self) -> dict[int, int]:
        """Read until QUIET_SECONDS pass without a byte; return the number of bytes by file descriptor."""
        socks = {client.fd: client.sock for client in self.clients}
        got = dict.fromkeys(socks, 0)
        while events := self.epoll.poll(QUIET_SECONDS, 4096):
            for fd, _ in events:
                size = len(socks[fd].recv(CHUNK))
                if not size:
                    raise RunFailed("the server closed a connection before the load began")
                got[fd] += size
        return got

    def level(self) -> None:
        """Wait until the server has answered every join; then make the sockets non-blocking."""
        for client in self.clients:
            client.sock.sendall(client.dialect.ping)
        for client in self.clients:
            client.expect(client.dialect.pong)
            client.sock.setblocking(False)
            self.epoll.register(client.fd, select.EPOLLIN)
        self.settle()

    def sample(self) -> None:
        """Post once from every publisher, to learn the size of a delivery."""
        for channel in self.channels:
            for publisher in channel.publishers:
                publisher.sent = publisher.client.sock.send(publisher.feed.take(0, publisher.feed.size))
        got = dict.fromkeys((client.fd for client in self.clients), 0)
        end = time.monotonic() + SETUP_SECONDS
        while not all(got[fd] for channel in self.channels for fd in channel.subscriber_fds()):
            if time.monotonic() > end:
                raise RunFailed("the first message did not reach every subscriber")
            for fd, size in self.settle().items():
                got[fd] += size
        for channel in self.channels:
            sizes = {got[fd] for fd in channel.subscriber_fds()}
            if len(sizes) != 1:
                raise RunFailed(f"the subscribers of a channel received different numbers of bytes: {sizes}")
            channel.size_model = SizeModel(sizes.pop(), len(channel.publishers), numbered=self.dialect.numbered)

    def close(self) -> None:
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
    subscriber_ports: Sequence[int] = (),
    publisher_ports: Sequence[int] = (),
) -> Iterator[ClientPool]:
    """Yield `channels` channels with so many subscribers and publishers each, and posts of `size` bytes of text.

    They connect to `port`, or else to these ports in turn.
    """
    pool = ClientPool(dialect)
    ports = [
        *islice(cycle(subscriber_ports or (port,)), subscribers),
        *islice(cycle(publisher_ports or (port,)), publishers),
    ]
    text = "x" * size
    try:
        for number in range(channels):
            name = f"room{number:03d}"
            members = [pool.connect(each) for each in ports]
            for member in members:
                member.ask(dialect.join(name), dialect.joined)
            post = dialect.post(name, text, with_id=with_ids)
            senders = [Publisher(member, Feed(post, nth)) for nth, member in enumerate(members[subscribers:])]
            pool.channels.append(Channel(name, members[:subscribers], senders))
        yield pool
    finally:
        pool.close()
