"""Floor 2: receipts: what senders are told when their posts are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from wire.frames import Frame, Msg, Stored

from .journal import Posting

Ref: TypeAlias = int | str | None
Shortcut: TypeAlias = Callable[[Sequence[Ref]], bytes | None]
"""Encodes the refs of posts as their whole receipt; returns None if the peer needs the numbers, too."""


def receipts(
    posting: Posting,
    numbers: Sequence[int],
    encode: Callable[[Frame], bytes],
    is_there: Callable[[str], bool],
    shortcut: Shortcut | None,
) -> bytes:
    """Return encoded receipts for private messages and for posts with a `ref`; empty if the posting has neither.

    `is_there` returns True for the name of a connected user.
    """
    asked = [at for at, post in enumerate(posting.posts) if post.ref is not None or type(post) is Msg]
    if not asked:
        return b""
    if shortcut is not None and (short := shortcut([posting.posts[at].ref for at in asked])) is not None:
        return short
    log = posting.log
    partner = log.partner(posting.sender_key)
    away = partner is not None and not is_there(partner)
    return b"".join(
        [
            encode(Stored(number=numbers[at], channel=log.channel, user=partner, away=away, id=post.id, ref=post.ref))
            for at in asked
            for post in (posting.posts[at],)
        ]
    )
