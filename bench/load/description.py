"""The description of a load for the C program: words on its standard input, in the order of `program/description.c`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

from bench.socket.dialects import ID_PLACE, Dialect
from bench.socket.pool import Channel, Client, Publisher

SHORTEST_TEXT = 26  # bytes: a mark, the sequence, the publisher, the time, a mark
_TEXT = re.compile(rb"x{%d,}" % SHORTEST_TEXT)


@dataclass(frozen=True)
class Load:
    """The load, as `struct load` has it."""

    name: str  # saturated, one-at-a-time, paced or logins
    seconds: float = 0.0
    posts: int = 0  # of each publisher, instead of `seconds`
    rate: int = 0  # posts a second, if paced
    window: int = 0  # undelivered posts of a channel
    in_flight: int = 0  # posts of a publisher without a PUBACK; 0 at QoS 0
    text_size: int = 0
    port: int = 0  # for logins
    at_once: int = 0  # clients that log in at the same time
    missed: int = 0  # deliveries after which a client is done; 0: after the bytes `welcomed`
    welcomed: bytes = b""


def describe(load: Load, channels: Sequence[Channel], clients: Sequence[tuple[Dialect, bytes]]) -> bytes:
    """Return the description: of channels, or of clients by their dialects and their requests for a login."""
    words = [*map(_word, astuple(load)), str(len(channels))]
    for channel in channels:
        words += _channel(channel)
    words.append(str(len(clients)))
    for dialect, login in clients:
        words += dialect.framing, _word(login)
    return " ".join(words).encode()


def text_size(channel: Channel) -> int:
    """Return the bytes of a text in the posts of a channel. Raises ValueError if the text is too short."""
    return len(_text(channel.publishers[0].feed.post)[0])


def _text(post: bytes) -> re.Match[bytes]:
    found = _TEXT.search(post)
    if not found:
        raise ValueError(f"the load generator needs messages of at least {SHORTEST_TEXT} bytes")
    return found


def _word(value: float | str | bytes) -> str:
    return f"{len(value)} {value.hex()}" if isinstance(value, bytes) else str(value)


def _channel(channel: Channel) -> Iterator[str]:
    yield from map(str, (len(channel.subscribers), len(channel.publishers)))
    for subscriber in channel.subscribers:
        yield from _member(subscriber)
    for publisher in channel.publishers:
        yield from _member(publisher.client)
        yield from _publisher(publisher)


def _member(client: Client) -> tuple[str, str]:
    return client.dialect.framing, str(client.fd)


def _publisher(publisher: Publisher) -> Iterator[str]:
    post, dialect = publisher.feed.post, publisher.client.dialect
    text_at = _text(post).start()
    at_qos_1 = dialect.framing == "mqtt" and post[0] & 6 == 2
    yield from map(str, (
        int(publisher.receives), int(dialect.echoes), text_at, post.find(ID_PLACE.encode()),
        text_at - 2 if at_qos_1 else -1,
    ))  # fmt: skip
    yield _word(post)
