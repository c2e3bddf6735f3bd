"""Floor 2: what users say: lines, posts to channels, private messages."""

from __future__ import annotations

from wire.errors import Refused
from wire.frames import Line, Msg, Say
from wire.text import commands

from ..session import Session

say = Session.gather  # as it is: every post comes by here


def line(session: Session, frame: Line) -> None:
    """Post a line of text to the channel that it names, or to the current one."""
    addressed = commands.ADDRESSED.fullmatch(frame.text)
    if addressed is not None and session.chat.channel(addressed[1]) is not None:
        session.gather(Say(addressed[2], addressed[1]))
    else:
        session.gather(Say(frame.text))


def msg(session: Session, frame: Msg) -> None:
    """Post a private message."""
    if not frame.text.strip():
        raise Refused("empty", "There is no text to send.")
    session.post(session.chat.direct(session.holder.name, frame.user), frame)
