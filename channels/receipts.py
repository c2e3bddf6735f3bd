"""Floor 2: receipts: what is told to senders of what they posted, once it is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from wire.frames import Frame, Msg, Stored

from .journal import Posting

Ref: TypeAlias = int | str | None
Shortcut: TypeAlias = Callable[[Sequence[Ref]], bytes | None]
"""Turns the refs of posts into all that a peer is told of them; None if it is to be told more, with numbers."""


def receipts(
    posting: Posting,
    numbers: Sequence[int],
    encode: Callable[[Frame], bytes],
    is_there: Callable[[str], bool],
    shortcut: Shortcut | None,
) -> bytes:
    """Receipts for private messages, and for posts with a `ref`; `is_there` knows by name who is connected."""
    asked = [at for at, post in enumerate(posting.posts) if post.ref is not None or type(post) is Msg]
    if not asked:
        return b""
    if shortcut is not None and (short := shortcut([posting.posts[at].ref for at in asked])) is not None:
        return short
    log = posting.log
    peer = log.peer(posting.sender_key)
    away = peer is not None and not is_there(peer)
    return b"".join(
        [
            encode(Stored(number=numbers[at], channel=log.channel, user=peer, away=away, id=post.id, ref=post.ref))
            for at in asked
            for post in (posting.posts[at],)
        ]
    )
