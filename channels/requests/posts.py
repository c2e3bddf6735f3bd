"""Floor 2: what users say: lines, posts to channels, private messages."""

from __future__ import annotations

from wire.errors import Refused
from wire.frames import Line, Msg
from wire.text import post_for

from ..session import Session

say = Session.gather  # called directly: a wrapper would be one more call for each post to a channel


def line(session: Session, frame: Line) -> None:
    """Post a line of text to the channel that it names, or to the current one."""
    session.gather(post_for(frame, session.chat.has_channel))


def msg(session: Session, frame: Msg) -> None:
    """Post a private message."""
    if not frame.text.strip():
        raise Refused("empty", "The message has no text.")
    session.post(session.chat.private_log(session.holder.name, frame.user, session.origin), frame)
