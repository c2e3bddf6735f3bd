"""The load generator in C: it compiles without a warning, and finds every fault of a server that loses or doubles."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.load import CompiledGenerator, CompileFailed, find_compiler
from bench.load.compiler import FLAGS, compile_to
from bench.load.description import text_size
from bench.mqtt.pool import Broker, PostsWithIds
from bench.socket.dialects import Dialect, Irc, Mqtt, Nats, Partyline, packet, string
from bench.socket.pool import Channel, Client, ClientPool, Feed, Publisher, RunFailed

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler is installed")

POSTS = 100  # by one publisher, so that packet identifiers reach the byte that marks a text
SIZE = 40
TEXT = "x" * SIZE


@dataclass(frozen=True)
class Spoken:
    """The protocol of a test's server: the feed of its publisher, and a delivery of a text with a number."""

    dialect: Dialect
    feed: Callable[[], Feed]
    deliver: Callable[[bytes, int], bytes]

    @property
    def at_qos_1(self) -> bool:
        return isinstance(self.dialect, Broker)


def _ids() -> Feed:
    return PostsWithIds([Broker().publish("room", TEXT.encode(), number) for number in range(1, 9)])


def _publish_5(text: bytes, number: int) -> bytes:
    content_type = bytes([3]) + string("text/plain")
    return packet(0x32, string("room") + number.to_bytes(2, "big") + bytes([len(content_type)]) + content_type + text)


SPOKEN = {
    "json": Spoken(
        Partyline(),
        lambda: Feed(Partyline().post("room", TEXT, with_id=True), 0),
        lambda text, number: b'{"op":"entry","number":%d,"text":"%b","channel":"room"}\n' % (number, text),
    ),
    "nats": Spoken(
        Nats(), lambda: Feed(Nats().post("room", TEXT), 0), lambda text, _: b"MSG room 1 %d\r\n%b\r\n" % (SIZE, text)
    ),
    "irc": Spoken(
        Irc(), lambda: Feed(Irc().post("room", TEXT), 0), lambda text, _: b":u!~u@h PRIVMSG #room :%b\r\n" % text
    ),
    "mqtt, QoS 0": Spoken(
        Mqtt(), lambda: Feed(Mqtt().post("room", TEXT), 0), lambda text, _: packet(0x30, string("room") + text)
    ),
    "mqtt, QoS 1": Spoken(Broker(), _ids, lambda text, number: Broker().publish("room", text, number)),
    "mqtt 5, QoS 1": Spoken(Broker(), _ids, _publish_5),
}


class _Pool(ClientPool):
    """Clients on pairs of sockets, with nothing to be answered before a load."""

    def add(self, stack: ExitStack, dialect: Dialect) -> tuple[Client, socket.socket]:
        """Return a client and the server's end of its connection."""
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        stack.enter_context(theirs)
        client = Client.__new__(Client)
        client.sock, client.fd, client.dialect = ours, ours.fileno(), dialect
        ours.setblocking(False)
        self.clients.append(client)
        self.epoll.register(client.fd)
        return client, theirs

    def _make_ready(self, sample: bool) -> None:
        """Nothing is on its way."""


Fault = Callable[[Sequence[bytes]], Sequence[bytes]]


def without(frames: Sequence[bytes]) -> Sequence[bytes]:
    """Return the frames: no fault."""
    return frames


@contextmanager
def server(
    spoken: Spoken, fault: Fault = without, puback_fault: Fault = without, cut: int = 1 << 20
) -> Iterator[tuple[ClientPool, bytearray]]:
    """Yield a publisher and two subscribers of a server, which makes a fault in what it delivers to the second.

    The server writes `cut` bytes at a time. The bytes are what the second subscriber has sent, after the block.
    """
    pool, got = _Pool(spoken.dialect), bytearray()
    with ExitStack() as stack:
        (one, to_one), (two, to_two), (sender, from_sender) = [pool.add(stack, spoken.dialect) for _ in range(3)]
        publisher = Publisher(sender, spoken.feed(), receives=False)
        pool.channels.append(Channel("room", [one, two], [publisher]))

        def serve() -> None:
            posts = _receive(from_sender, publisher.feed.size)
            text_at = publisher.feed.post.index(TEXT.encode())
            texts = [post[text_at : text_at + SIZE] for post in posts]
            deliveries = [spoken.deliver(text, number) for number, text in enumerate(texts, 1)]
            if spoken.at_qos_1:
                pubacks = [b"\x40\x02" + post[text_at - 2 : text_at] for post in posts]
                from_sender.sendall(b"".join(puback_fault(pubacks)))
            to_one.sendall(b"".join(deliveries))
            wrong = b"".join(fault(deliveries))
            for at in range(0, len(wrong), cut):
                to_two.sendall(wrong[at : at + cut])

        thread = threading.Thread(target=serve, name="server-with-faults")
        thread.start()
        try:
            yield pool, got
        finally:
            thread.join()
            pool.close()
            with suppress(ConnectionResetError):  # the program has ended with deliveries unread
                while data := to_two.recv(1 << 16):
                    got += data


def _receive(sock: socket.socket, size: int) -> list[bytes]:
    data = b""
    while len(data) < POSTS * size:
        data += sock.recv(1 << 16)
    return [data[at : at + size] for at in range(0, len(data), size)]


def _run(pool: ClientPool) -> int:
    return CompiledGenerator().saturated(pool, POSTS, 0.0, POSTS).deliveries


@pytest.fixture(params=SPOKEN)
def spoken(request: pytest.FixtureRequest) -> Spoken:
    return SPOKEN[request.param]


@pytest.fixture(autouse=True)
def _many_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.load.compiled.IN_FLIGHT", POSTS)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_program_compiles_without_a_warning(compiler: str, tmp_path: Path) -> None:
    assert "-Werror" in FLAGS
    if find_compiler((compiler,)) is None:
        pytest.skip(f"{compiler} is not installed")
    compile_to(tmp_path / "partyline-load", compiler)


def test_a_compiler_that_fails_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CompileFailed, match="cannot compile"):
        compile_to(tmp_path / "partyline-load", "false")


@pytest.mark.parametrize("cut", [1, 61, 1 << 20])
def test_it_counts_every_delivery_of_a_server_without_fault(spoken: Spoken, cut: int) -> None:
    with server(spoken, cut=cut) as (pool, acknowledgements):
        assert text_size(pool.channels[0]) == SIZE
        assert _run(pool) == 2 * POSTS
    identifiers = [number.to_bytes(2, "big") for number in range(1, POSTS + 1)] if spoken.at_qos_1 else []
    assert acknowledgements == b"".join([b"\x40\x02" + identifier for identifier in identifiers])


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (lambda all_: [*all_[:50], *all_[51:]], "a delivery is lost: message 51 came instead of 50"),
        (lambda all_: [*all_[:50], *all_[49:]], "a delivery is doubled: message 49 came after 49"),
        (lambda all_: [*all_[:50], all_[51], all_[50], *all_[52:]], "a delivery is lost: message 51"),
        (lambda all_: [*all_, all_[-1]], "a delivery is doubled: message 99 came after 99"),
        (lambda all_: [each.replace(b"x$", b"$x") for each in all_], "a delivery is cut"),
    ],
    ids=["lost", "doubled", "swapped", "doubled at the end", "cut"],
)
def test_it_finds_a_fault(spoken: Spoken, fault: Fault, found: str) -> None:
    with server(spoken, fault) as (pool, _), pytest.raises(RunFailed, match=found):
        _run(pool)


def test_it_finds_a_puback_out_of_turn() -> None:
    """The order is that of the PUBLISH packets [MQTT-4.6.0-2]."""
    swapped = server(SPOKEN["mqtt, QoS 1"], puback_fault=lambda all_: [all_[1], all_[0], *all_[2:]])
    with swapped as (pool, _), pytest.raises(RunFailed, match="PUBACK 2 came instead of 1"):
        _run(pool)
