"""Floor 2: files that go straight from one client to another: who listens, and who is let in. No byte comes by here.

The server connects to nobody: it tells the receiver where the sender listens, and both of them a token that is good
once.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from channels.session_reader import SessionReader
from wire.errors import Refused
from wire.frames import Listen, Ok, Reach, Visitor, Way

if TYPE_CHECKING:
    from channels.session import Session

_VISITORS = 100  # that are announced to one who listens: after that, there is the server
_UNDER_WAY = 16  # requests that may have been sent before it was known that the sender listens
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Listening:
    """A sender who has a file to be fetched directly; `reader` is the line on which they hear of visitors."""

    reader: SessionReader
    host: str
    port: int
    sha256: str
    visitors: Iterator[int] = field(default_factory=itertools.count)


def listen(session: Session, frame: Listen) -> Ok:
    """The sender of a file listens for whoever fetches it directly, or does so no more."""
    found = session.files.own(frame.file)
    sha256 = frame.sha256.lower()
    if not frame.port:
        found.upload.listening = None
        return Ok()
    if _SHA256.fullmatch(sha256) is None:
        raise Refused("bad-frame", "A SHA-256 has 64 hexadecimal digits.")
    log = session.chat.log_of(found.row.log)
    if log is None or log.channel is not None:  # the first of them who has it would end it for all
        raise Refused("not-direct", "A file goes directly to a user, not to a channel.")
    if found.row.state != "done":
        found.upload.listening = Listening(session.reader, _host(session.address), frame.port, sha256)
        found.upload.changed()  # for who waits for a sender who was away
    return Ok()


def reach(session: Session, frame: Reach) -> Way:
    """Where the sender of a file is, for one who may fetch it, with a token that nobody else gets."""
    found = session.files.open(frame.file)
    row, there = found.row, found.upload.listening
    found.unreached = _UNDER_WAY if there is None else 0
    if there is None or row.state == "done" or not _near(there.host, _host(session.address)):
        raise Refused("not-direct", f"{row.name} comes by the server.")
    if next(there.visitors) >= _VISITORS:
        raise Refused("not-direct", f"{row.name} was asked for too often; it comes by the server.")
    token = secrets.token_urlsafe(24)
    there.reader.reply(Visitor(row.id, session.files.name, token))
    return Way(file=frame.file, host=there.host, port=there.port, token=token, sha256=there.sha256)


def _host(address: str) -> str:
    """An address as others write it: that of IPv4, if it is one in the clothes of IPv6."""
    try:
        mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    except ValueError:
        return address
    return str(mapped or address)


def _near(sender: str, receiver: str) -> bool:
    """Whether the address can mean the same to both: one's own machine is another one to somebody else."""
    return not _own(sender) or _own(receiver)


def _own(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
