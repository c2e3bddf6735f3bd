"""Floor 0: the frames of files: to offer a file, upload it and fetch it.

A range `[first, end]` holds the bytes from `first` up to `end`, without `end`. Both count from 0.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from wire.errors import Refused

from .base import Answer, Frame, Id, Name, Number, Payload, Request


class FilePart(msgspec.Struct):
    """One file of an offered folder: its path below the folder, with slashes, and its size in bytes."""

    name: str
    size: Number


class Offer(Request, tag="offer", kw_only=True):
    """Offer a file of `size` bytes to a `channel` or a `user`, before you upload it; answered with `offered`.

    The offer becomes an entry of that log, with its `file`. With an `id` you may repeat the offer after a lost
    connection: the server makes it once. A folder is one file, which has its `parts` one after the other. Parts that do
    not fit into a line follow it as a payload of that many `bytes`, in the same JSON. You may give the `sha256` here or
    in `finish`.
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
    """Return the offer with its parts as a payload."""
    if not offer.parts:
        return offer
    return msgspec.structs.replace(offer, parts=[], payload=msgspec.json.encode(offer.parts))


def parts_of(offer: Offer, most: int) -> list[FilePart]:
    """Return the parts of an offer, from its field or its payload of at most `most` bytes. Raises Refused."""
    if not offer.payload:
        return offer.parts
    if len(offer.payload) > most:
        sentence = f"The list of files has {len(offer.payload)} bytes. The limit is {most}; send an archive instead."
        raise Refused("too-large", sentence)
    try:
        return _parts.decode(offer.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("bad-frame", f"The parts do not fit: {error}.") from None


class Put(Request, tag="put", kw_only=True):
    """Upload bytes of a file that you offer, from `offset` on, in any order; answered with `kept`.

    The server does not overwrite bytes that it has, so you may repeat a `put`. With `sha256`, the SHA-256 of these
    bytes, the server checks them before it keeps them.
    """

    file: str
    offset: Number
    bytes: Annotated[int, Meta(ge=0)] = 0
    payload: Payload = b""
    sha256: str = ""


class Have(Request, tag="have", kw_only=True):
    """List the ranges of a file that the server has; answered with `ranges`. With `watch`, `more` announces others."""

    file: str
    watch: bool = False


class Finish(Request, tag="finish", kw_only=True):
    """Finish the upload of a file that you offer; answered with `finished` if the file is complete and correct.

    The server checks the SHA-256 of the file against `sha256`, else against that of the offer; without either it checks
    none. It also checks `size`, if you give it. After `checksum-mismatch`, `sum` shows which bytes differ, and `put`
    overwrites them.
    """

    file: str
    sha256: str = ""
    size: Number | None = None


class Get(Request, tag="get", kw_only=True):
    """Fetch up to `length` bytes of a file from `offset` on; answered with `chunk`.

    The answer may have fewer bytes: at most the limit `chunk`, and of an unfinished file only bytes that the server
    has. After an answer without bytes, `more` announces further ones: then ask again.
    """

    file: str
    offset: Number
    length: Annotated[int, Meta(ge=1, le=2**53 - 1)]


class Sum(Request, tag="sum", kw_only=True):
    """Compute the SHA-256 of a range that the server has, to find bytes that differ; answered with `sum-is`."""

    file: str
    offset: Number
    length: Annotated[int, Meta(ge=1, le=2**53 - 1)]


class Taken(Request, tag="taken", kw_only=True):
    """Report that you have the whole file and that its SHA-256 is right; answered with `ok`.

    The server tells the sender `fetched`. Give the `sha256` if you fetched the file directly from its sender, as the
    server may have no byte of it. If the sender does not `listen` at the moment, for example after a restart of the
    server, the answer is `incomplete`, and `more` follows later: then send `taken` again.
    """

    file: str
    sha256: str = ""


class Listen(Request, tag="listen", kw_only=True):
    """Announce that you listen on `port` for users who fetch a file of yours directly; answered with `ok`.

    The address is that of this connection; `sha256` is that of the file. The announcement ends with the connection,
    with `wanted`, or with port 0. If you listen in TLS, `fingerprint` is the SHA-256 of your certificate, as AB:CD:….
    """

    file: str
    port: Annotated[int, Meta(ge=0, le=65_535)]
    sha256: str = ""
    fingerprint: str = ""


class Reach(Request, tag="reach", kw_only=True):
    """Ask how to fetch a file directly from its sender; answered with `way`, or refused with `not-direct`."""

    file: str


class Files(Request, tag="files", kw_only=True):
    """List the files that are offered to you and by you, the oldest first; answered with `file-list`.

    The list begins after the file with the id `after`, and has at most `limit` files; the limits `page` and
    `page_bytes` may make it shorter.
    """

    after: str = ""
    limit: Annotated[int, Meta(ge=1)] = 1_000


class Cancel(Request, tag="cancel", kw_only=True):
    """Take an offer back, so that nobody can fetch the file; answered with `cancelled`."""

    file: str


class Attach(Request, tag="attach", kw_only=True):
    """Instead of `hello`: open a further connection of a connected user, for files only; answered with `attached`.

    `token` is that of the user's `welcome`. The connection accepts `offer`, `put`, `have`, `finish`, `get`, `sum`,
    `taken`, `cancel`, `listen`, `reach`, `ping` and `bye`. A long transfer on it does not delay messages.
    """

    name: Name
    token: str


class Relay(Request, tag="relay", kw_only=True):
    """Instead of `hello`: a server asks another one on the same database about files for its user; answered with `ok`.

    Nobody else knows the `secret`. `address` is the user's IP address. The connection accepts `put`, `have`, `finish`,
    `get`, `sum`, `taken`, `cancel`, `listen`, `reach`, `ping` and `bye`.
    """

    name: Name
    secret: str
    address: str = ""


class Offered(Answer, tag="offered", kw_only=True):
    """The file is offered as entry `number` of that log. `have` lists the ranges that the server has of it.

    `direct` is set if the recipient is a `user` whose connected client can fetch directly.
    """

    file: str
    number: int
    channel: Name | None = None
    user: Name | None = None
    have: list[list[int]] = msgspec.field(default_factory=list)
    away: bool = False
    direct: bool = False


class Kept(Answer, tag="kept", kw_only=True):
    """The server has `length` bytes from `offset` on."""

    file: str
    offset: int
    length: int


class Ranges(Answer, tag="ranges", kw_only=True):
    """The ranges of a file that the server has. A file that is `done` is complete, and has its `sha256`."""

    file: str
    name: str
    size: int
    sender: Name
    have: list[list[int]] = msgspec.field(default_factory=list)
    done: bool = False
    sha256: str = ""
    parts: list[FilePart] = msgspec.field(default_factory=list)


class Finished(Answer, tag="finished", kw_only=True):
    """The file is complete, and its SHA-256 is right."""

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

    The token is valid once, for a short time, for you and this file. `sha256` is that of the file; its sender gave it.
    With a `fingerprint`, connect in TLS, and accept only the certificate with that SHA-256.
    """

    file: str
    host: str
    port: int
    token: str
    sha256: str
    fingerprint: str = ""


class FileInfo(msgspec.Struct, omit_defaults=True):
    """A file in a list: the server has `have` of its `size` bytes, and keeps it until `until`.

    The time of a file that is not `done` begins anew with each of its bytes that comes.

    Times are in milliseconds since 1970, UTC. The file is offered in `channel` or in the conversation with `user`. A
    folder has `count` files. `fetched` lists users who have a file that you offer, at most 100 of them.
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
    """Files that are offered to you and by you, the oldest first.

    If `more` is there, further files follow: ask again with this id as `after`.
    """

    files: list[FileInfo]
    more: str | None = None


class Cancelled(Answer, tag="cancelled", kw_only=True):
    """The offer is withdrawn."""

    file: str
    name: str


class Attached(Answer, tag="attached", kw_only=True):
    """The connection belongs to `name`, for files only. A payload, as of `put`, may have up to `most` bytes."""

    name: Name
    most: int | None = None


class More(Frame, tag="more"):
    """A `file` that you wait for has more bytes, is complete, or is gone: ask again."""

    file: str


class Visitor(Frame, tag="visitor"):
    """`user` may fetch the `file` for which you `listen`, once, with this `token`, for a short time."""

    file: str
    user: Name
    token: str


class Wanted(Frame, tag="wanted"):
    """A user needs a `file` for which you `listen` from the server: upload it with `put`.

    The server sends no further users to you. You also receive this when the offer has ended.
    """

    file: str


class Fetched(Frame, tag="fetched"):
    """`user` has fetched a file that you offer."""

    file: str
    name: str
    user: Name


REQUESTS: tuple[type[Frame], ...] = (
    Offer,
    Put,
    Have,
    Finish,
    Get,
    Sum,
    Taken,
    Listen,
    Reach,
    Files,
    Cancel,
    Attach,
    Relay,
)
ANSWERS: tuple[type[Frame], ...] = (Offered, Kept, Ranges, Finished, Chunk, SumIs, Way, FileList, Cancelled, Attached)
EVENTS: tuple[type[Frame], ...] = (More, Visitor, Wanted, Fetched)
