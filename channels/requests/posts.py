"""Floor 2: what users say: lines, posts to channels, private messages."""

from __future__ import annotations

from wire.errors import Refused
from wire.frames import Line, Msg, Prompt, Query, Recipient, Say
from wire.text import LONGEST_WORD, command_word, post_for

from ..session import Session

say = Session.gather  # called directly: a wrapper would be one more call for each post to a channel


def line(session: Session, frame: Line) -> None:
    """Post a line of text to the channel that it names, or to the current one.

    A word that may be meant as a command is posted when it comes a second time.
    """
    if len(frame.text) <= LONGEST_WORD and frame.text != session.unclear and (told := command_word(frame.text)):
        session.flush()
        session.unclear = frame.text
        session.reader.reply(Prompt(f"* {told}, or send {frame.text} again to say it."))
        return
    session.unclear = ""
    session.gather(post_for(frame, session.chat.has_channel))


def msg(session: Session, frame: Msg) -> None:
    """Post a private message."""
    if not frame.text.strip():
        raise Refused("empty", "The message has no text.")
    session.post(session.chat.private_log(session.holder.name, frame.user, session.origin), frame)


def query(session: Session, frame: Query) -> Recipient | None:
    """Have posts that name no channel go to a user from now on, or, without a user, to the current channel again."""
    if not frame.user:
        return end_query(session)
    account = session.chat.store.account(frame.user)
    session.partner = account.name if account is not None else frame.user
    session.reader.reply(Recipient(user=session.partner, known=account is not None))
    if frame.text:
        session.gather(Say(frame.text))
    return None


def end_query(session: Session) -> Recipient:
    """Have posts that name no channel go to the current channel; return which one that is."""
    session.partner = ""
    return Recipient(channel=session.current.row.name if session.current is not None else "")
