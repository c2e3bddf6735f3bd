"""Floor 2: files that go directly from one client to another. No byte passes the server.

The server connects to nobody: it tells the receiver where the sender listens, and both of them a token that is good
once.
"""

from __future__ import annotations

import ipaddress
import re
import secrets

from net import is_loopback
from wire.errors import Refused
from wire.frames import Listen, Ok, Reach, Visitor, Way

from ..files import DirectSender
from ..session import Session

_VISITORS = 100  # receivers that are announced to one sender; all others fetch from the server
_UNDER_WAY = 16  # requests that the peer may have sent before it learned that the sender listens
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FINGERPRINT = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){31}")


def listen(session: Session, frame: Listen) -> Ok:
    """Note where the sender of a file listens for its receiver, or, for port 0, that it listens no longer."""
    found = session.files.own(frame.file)
    sha256 = frame.sha256.lower()
    if not frame.port:
        found.shared.direct_sender = None
        return Ok()
    if _SHA256.fullmatch(sha256) is None:
        raise Refused("bad-frame", "A SHA-256 has 64 hexadecimal digits.")
    if frame.fingerprint and _FINGERPRINT.fullmatch(frame.fingerprint) is None:
        raise Refused("bad-frame", "A fingerprint has 32 bytes as AB:CD:….")
    log = session.chat.log_of(found.row.log)
    if log is None or log.channel is not None:  # the first receiver that has it would end it for all others
        raise Refused("not-direct", "A direct transfer goes to a user, not to a channel.")
    if found.row.state != "done":
        host = _host(session.address)
        found.shared.direct_sender = DirectSender(session.reader, host, frame.port, sha256, frame.fingerprint)
        found.shared.changed()  # for a receiver that waits for a sender who was away
    return Ok()


def reach(session: Session, frame: Reach) -> Way:
    """Return where the sender of a file listens, with a token that nobody else gets. Raises Refused."""
    found = session.files.open(frame.file)
    row, sender = found.row, found.shared.direct_sender
    found.unreached = _UNDER_WAY if sender is None else 0
    if sender is None or row.state == "done" or not _reachable(sender.host, _host(session.address)):
        raise Refused("not-direct", f"{row.name} is fetched from the server, not directly.")
    if next(sender.visitors) >= _VISITORS:
        raise Refused("not-direct", f"{row.name} was requested too often. Fetch it from the server.")
    token = secrets.token_urlsafe(24)
    sender.reader.reply(Visitor(row.id, session.holder.name, token))
    return Way(
        file=frame.file, host=sender.host, port=sender.port, token=token, sha256=sender.sha256,
        fingerprint=sender.fingerprint,
    )  # fmt: skip


def _host(address: str) -> str:
    """Return an IPv4 address for an IPv6 address that maps one, and any other address as it is."""
    try:
        mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    except ValueError:
        return address
    return str(mapped or address)


def _reachable(sender: str, receiver: str) -> bool:
    """Return False if the sender's address is a loopback address, which means another machine to the receiver."""
    return not is_loopback(sender) or is_loopback(receiver)
