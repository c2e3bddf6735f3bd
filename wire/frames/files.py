"""Floor 0: the frames of files: offering one, filling it, fetching it. frames.py joins them to all others.

A range is `[first, end]`: bytes from `first` up to, but without, `end`; both count from 0.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from wire.errors import Refused

from .base import Answer, Frame, Id, Name, Number, Payload, Request


class FilePart(msgspec.Struct):
    """One file of a folder that is offered as a whole: its path below the folder, with slashes, and its bytes."""

    name: str
    size: Number


class Offer(Request, tag="offer", kw_only=True):
    """Offer a file of `size` bytes to a `channel` or a `user`, before it is there; answered with `offered`.

    It becomes an entry of that log, with its `file`. With an `id` of your own the offer may be made again, after a lost
    connection: it is made once. A folder is one file, its `parts` one after the other; if they do not fit into a line,
    they follow it as a payload of so many `bytes`, the same JSON. The `sha256` may be said now, or at the end.
    """

    name: str
    size: Number
    channel: Name = ""
    user: Name = ""
    id: Id = None
    parts: list[FilePart] = msgspec.field(default_factory=list)
    sha256: str = ""
    bytes: Annotated[int, Meta(ge=0)] = 0
    payload: Payload = b""


_parts = msgspec.json.Decoder(list[FilePart])


def with_parts_behind(offer: Offer) -> Offer:
    """The same offer, with its parts as a payload."""
    if not offer.parts:
        return offer
    return msgspec.structs.replace(offer, parts=[], payload=msgspec.json.encode(offer.parts))


def parts_of(offer: Offer) -> list[FilePart]:
    """The parts of an offer, wherever they are. Raises Refused."""
    if not offer.payload:
        return offer.parts
    try:
        return _parts.decode(offer.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("bad-frame", f"The parts do not fit: {error}.") from None


class Put(Request, tag="put", kw_only=True):
    """Bytes of a file that you offer, from `offset` on, in any order; answered with `kept`.

    What is there already stays as it is, so a repeat does no harm. With the `sha256` of these bytes they are checked
    before they are kept.
    """

    file: str
    offset: Number
    bytes: Annotated[int, Meta(ge=0)] = 0
    payload: Payload = b""
    sha256: str = ""


class Have(Request, tag="have", kw_only=True):
    """Ask what is there of a file; answered with `ranges`. With `watch`, `more` comes if it is not all there yet."""

    file: str
    watch: bool = False


class Finish(Request, tag="finish", kw_only=True):
    """All of a file that you offer is there, and this is its SHA-256; answered with `finished`, if that is so.

    Without `sha256` it is checked against the one of the offer; a small device that has said none gets what it sent.
    With `size`, that is checked, too. After `checksum-mismatch`, `sum` tells which bytes differ, and `put` writes over
    what is there.
    """

    file: str
    sha256: str = ""
    size: Number | None = None


class Get(Request, tag="get", kw_only=True):
    """Fetch up to `length` bytes of a file from `offset` on; answered with `chunk`.

    The answer may have fewer bytes: not more than the limit `chunk`, and, as long as the file is not finished, not more
    than what is there. With none at all, `more` comes when there is more: then ask again.
    """

    file: str
    offset: Number
    length: Annotated[int, Meta(ge=1, le=2**53 - 1)]


class Sum(Request, tag="sum", kw_only=True):
    """Ask for the SHA-256 of a range that is there, to find out which bytes differ; answered with `sum-is`."""

    file: str
    offset: Number
    length: Annotated[int, Meta(ge=1, le=2**53 - 1)]


class Taken(Request, tag="taken", kw_only=True):
    """You have all of a file, and its SHA-256 is right: who offers it is told `fetched`; answered with `ok`.

    With the `sha256` if you have it straight from its sender: then the server may have nothing of it. If they do not
    `listen` just now, as after a restart of the server, it is `incomplete`, and `more` comes: then say it again.
    """

    file: str
    sha256: str = ""


class Listen(Request, tag="listen", kw_only=True):
    """You listen on `port` for whoever fetches a file of yours directly; answered with `ok`.

    The address is the one from which this line comes; `sha256` is that of the file. It ends with the line, with
    `wanted`, or with port 0.
    """

    file: str
    port: Annotated[int, Meta(ge=0, le=65_535)]
    sha256: str = ""


class Reach(Request, tag="reach", kw_only=True):
    """Ask how a file can be fetched directly from its sender; answered with `way`, or refused with `not-direct`."""

    file: str


class Files(Request, tag="files", kw_only=True):
    """Ask which files are offered to you, and by you; answered with `file-list`."""


class Cancel(Request, tag="cancel", kw_only=True):
    """Take an offer of yours back: nobody can fetch the file any more; answered with `cancelled`."""

    file: str


class Attach(Request, tag="attach", kw_only=True):
    """Instead of `hello`: a further line of somebody who is connected, for files only; answered with `attached`.

    `token` is the one of their `welcome`. On this line there are `offer`, `put`, `have`, `finish`, `get`, `sum`,
    `taken`, `cancel`, `listen`, `reach`, `ping` and `bye`; so a long transfer holds up nothing that is said.
    """

    name: Name
    token: str


class SendFile(Request, tag="send-file", kw_only=True):
    """Not on the wire: `/send`, which the client does with the frames above."""

    to: str
    path: str
    direct: bool = False


class GetFile(Request, tag="get-file", kw_only=True):
    """Not on the wire: `/get`, likewise."""

    file: str
    folder: str = ""


class Offered(Answer, tag="offered", kw_only=True):
    """The file is offered, as entry `number` of that log; `have` is what is there of it, if it was offered before.

    `direct` is set if it went to a `user` who is connected with a client that fetches directly.
    """

    file: str
    number: int
    channel: Name | None = None
    user: Name | None = None
    have: list[list[int]] = msgspec.field(default_factory=list)
    away: bool = False
    direct: bool = False


class Kept(Answer, tag="kept", kw_only=True):
    """`length` bytes from `offset` on are there."""

    file: str
    offset: int
    length: int


class Ranges(Answer, tag="ranges", kw_only=True):
    """What is there of a file: all of it if it is `done`; then its `sha256` is known."""

    file: str
    name: str
    size: int
    sender: Name
    have: list[list[int]] = msgspec.field(default_factory=list)
    done: bool = False
    sha256: str = ""
    parts: list[FilePart] = msgspec.field(default_factory=list)


class Finished(Answer, tag="finished", kw_only=True):
    """The file is all there, and its SHA-256 is right."""

    file: str
    sha256: str


class Chunk(Answer, tag="chunk", kw_only=True):
    """Bytes of a file from `offset` on."""

    file: str
    offset: int
    bytes: Annotated[int, Meta(ge=0)] = 0
    payload: Payload = b""


class SumIs(Answer, tag="sum-is", kw_only=True):
    """The SHA-256 of a range."""

    file: str
    offset: int
    length: int
    sha256: str


class Way(Answer, tag="way", kw_only=True):
    """Connect to `host` and `port`, and begin with `attach`, your name and this `token`; then `have`, `get`, `sum`.

    The token is good once, for a short time, for you and this file; `sha256` is the file's, as its sender has told us.
    """

    file: str
    host: str
    port: int
    token: str
    sha256: str


class FileInfo(msgspec.Struct, omit_defaults=True):
    """A file in a list: `have` of its `size` bytes are there, it ends at `until` (milliseconds since 1970, UTC).

    It is offered in `channel` or in the conversation with `user`; `count` files are in it if it is a folder; `fetched`
    is who has it, of a file that you offer.
    """

    file: str
    name: str
    size: int
    have: int
    sender: Name
    time: int
    until: int
    channel: Name | None = None
    user: Name | None = None
    done: bool = False
    count: int = 1
    fetched: list[Name] = msgspec.field(default_factory=list)


class FileList(Answer, tag="file-list", kw_only=True):
    """The files that are offered to you, and by you, the oldest first."""

    files: list[FileInfo]


class Cancelled(Answer, tag="cancelled", kw_only=True):
    """The offer is taken back."""

    file: str
    name: str


class Attached(Answer, tag="attached", kw_only=True):
    """This line is `name`'s, too, for files. A payload, as of `put`, may have up to `most` bytes."""

    name: Name
    most: int | None = None


class More(Frame, tag="more"):
    """Of a `file` that you have waited for there is more now, or it is done, or it is gone: ask again."""

    file: str


class Visitor(Frame, tag="visitor"):
    """`user` may fetch the `file` for which you `listen`, once, if they show this `token` soon."""

    file: str
    user: Name
    token: str


class Wanted(Frame, tag="wanted"):
    """Somebody needs a `file` for which you `listen` from the server: nobody else is sent to you; `put` it there.

    If it is not offered any more, you get this, too.
    """

    file: str


class Fetched(Frame, tag="fetched"):
    """`user` has all of a file that you offer."""

    file: str
    name: str
    user: Name


REQUESTS: tuple[type[Frame], ...] = (Offer, Put, Have, Finish, Get, Sum, Taken, Listen, Reach, Files, Cancel, Attach)
ANSWERS: tuple[type[Frame], ...] = (Offered, Kept, Ranges, Finished, Chunk, SumIs, Way, FileList, Cancelled, Attached)
EVENTS: tuple[type[Frame], ...] = (More, Visitor, Wanted, Fetched)
FileRequest: TypeAlias = Offer | Put | Have | Finish | Get | Sum | Taken | Listen | Reach | Files | Cancel | Attach
FileReply: TypeAlias = (
    Offered | Kept | Ranges | Finished | Chunk | SumIs | Way | FileList | Cancelled | Attached | More | Visitor | Wanted
    | Fetched
)  # fmt: skip
