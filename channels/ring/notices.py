"""Floor 2: the notices that servers send each other, as types, and as the texts of messages.

A notice has no stored message, no password and no token: the store has them. Live messages, which nobody stores, are
notices themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec

from store import MESSAGE

_CHANNELS = 200  # ids of channels in one notice, above which whoever hears it asks the store for them


class _Notice(msgspec.Struct, array_like=True, gc=False):
    """One notice; its tag is the first element of an array."""


class Moved(_Notice, tag="m"):
    """Logs have new entries: for each its id, its tail, and the key of a private log, empty for a channel."""

    logs: list[tuple[int, int, str]]


class Made(_Notice, tag="made"):
    """A channel was created."""

    log: int


class Removed(_Notice, tag="removed"):
    """An empty channel has left the store."""

    log: int


class TopicSet(_Notice, tag="topic"):
    """The user with that key and name has set the topic of a channel."""

    log: int
    key: str
    name: str


class Joined(_Notice, tag="j"):
    """A user has joined a channel."""

    log: int
    key: str
    name: str


class Left(_Notice, tag="l"):
    """A user has left a channel."""

    log: int
    key: str
    name: str


class Came(_Notice, tag="c"):
    """A user has connected at the server that tells it.

    `channels` are the ids of the user's channels, None if whoever wants them has to ask the store. `instead` are the
    connections that this one has replaced, each with its server. `client` is the id of an MQTT client.
    """

    connection: int
    key: str
    name: str
    transport: str
    address: str
    since: int
    channels: list[int] | None = None
    instead: list[tuple[int, int]] = []
    client: str = ""


class Went(_Notice, tag="w"):
    """A connection at the server that tells it has ended. `channels` are as in `Came`."""

    connection: int
    key: str
    channels: list[int] | None = None


class CursorMoved(_Notice, tag="d"):
    """The user with that name has read a private log up to a number, which its other user, by key, is told."""

    key: str
    name: str
    number: int


class FileChanged(_Notice, tag="f"):
    """A file is complete, has ended, or is written by another server from now on."""

    file: str


class FileFetched(_Notice, tag="ff"):
    """The user with that name has fetched a file, by its id and its name, of the user with that key."""

    key: str
    file: str
    name: str
    user: str


class Registered(_Notice, tag="r"):
    """A name has a password from now on."""

    key: str


class PasswordTried(_Notice, tag="tried"):
    """A password was given for a name, from the network of an address if that is known, and was right or wrong."""

    key: str
    network: str | None
    right: bool


class Wanted(_Notice, tag="wanted"):
    """Somebody waits for a name, and asks a server whether the connection there that holds it lives."""

    server: int
    key: str


class Answered(_Notice, tag="answered"):
    """The answer to a server's `Wanted`: whether the name is kept, or is free.

    There is no answer while the holder's connection is ending; `Went` follows.
    """

    server: int
    key: str
    kept: bool


class Live(_Notice, tag="live"):
    """A live message of one MQTT client to another user, which nobody stores. Only bridge/ reads the `message`."""

    to: str
    sender: str
    message: bytes
    from_broker: bool = False

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(self.message) + 256


class PartWanted(_Notice, tag="part"):
    """Somebody waits until the session of an MQTT client is stored whose connection at a server was taken over."""

    server: int
    connection: int


class Parted(_Notice, tag="parted"):
    """The answer to `PartWanted`: the connection at the server that tells it has ended, and its session is stored."""

    connection: int


class LookAgain(_Notice, tag="look"):
    """The server that tells this has lost notices, or its holdings were removed and are there again."""


Notice: TypeAlias = (
    Moved | Made | Removed | TopicSet | Joined | Left | Came | Went | CursorMoved | FileChanged | FileFetched
    | Registered | PasswordTried | Wanted | Answered | PartWanted | Parted | Live | LookAgain
)  # fmt: skip

_decoder = msgspec.json.Decoder(list[Notice])
_encoder = msgspec.json.Encoder()


def channel_ids(ids: Iterable[int]) -> list[int] | None:
    """Return the ids for a notice; None for so many that whoever hears it has to ask the store."""
    found = list(ids)
    return found if len(found) <= _CHANNELS else None


def decode(message: str) -> list[Notice]:
    """Return the notices of a message. Raises msgspec.DecodeError for one of a newer server."""
    return _decoder.decode(message)


def encode(notices: Iterable[Notice]) -> Iterator[tuple[str, int]]:
    """Yield messages, in order, and how many of the notices each has. Only one notice may make a message too long."""
    parts: list[bytes] = []
    size = 2
    for notice in notices:
        part = _encoder.encode(notice)
        if parts and size + len(part) + 1 > MESSAGE:
            yield _message(parts), len(parts)
            parts, size = [], 2
        parts.append(part)
        size += len(part) + 1
    if parts:
        yield _message(parts), len(parts)


def _message(parts: list[bytes]) -> str:
    return f"[{b','.join(parts).decode()}]"
