"""Floor 2: channels: joining, leaving, listing, topics."""

from __future__ import annotations

from functools import partial

from wire.errors import Refused
from wire.frames import ChannelList, Channels, Join, Joined, Leave, Left, Topic, TopicIs
from wire.names import printable
from wire.text import topic_for

from ..session import Session


def join(session: Session, frame: Join) -> Joined:
    """Join a channel, which becomes the current one."""
    log, tail = session.join(frame.channel)
    session.current = log
    return Joined(channel=log.row.name, tail=tail, topic=log.topic, members=log.members)


def leave(session: Session, frame: Leave) -> Left:
    """Leave a channel. If it is the current one, the channel that was joined last becomes the current one."""
    user = session.holder
    log = session.joined(frame.channel)
    session.chat.leave(log, user)
    if session.current is log:
        session.current = next(reversed(user.joined), None)
    return Left(channel=log.row.name)


def channels(session: Session, frame: Channels) -> ChannelList:
    """List channels, as the user sees them."""
    return session.chat.channels(session.holder, frame.after, frame.limit, session.answer_size)


def topic(session: Session, frame: Topic) -> TopicIs:
    """Return a channel's topic, and set it first if the frame has a text, which only members may do."""
    frame = _with_text_apart(session, frame)
    if frame.text is None:
        log = session.chat.known_channel(frame.channel) if frame.channel else session.joined("")
    else:
        log = session.joined(frame.channel)
        text, most = " ".join(printable(frame.text).split()), session.chat.limits.topic
        if len(text) > most:
            raise Refused("too-long", f"A topic has at most {most} characters, and this one has {len(text)}.")
        session.chat.set_topic(log, text, session.holder)
    return TopicIs(channel=log.row.name, topic=log.topic)


def sets_topic(session: Session, frame: Topic) -> bool:
    """Return True if the request sets a topic, and does not only ask for it."""
    return _with_text_apart(session, frame).text is not None


def _with_text_apart(session: Session, frame: Topic) -> Topic:
    """Return the request with channel and text, which the text dialect cannot tell apart."""
    if not session.reader.dialect.free_text:
        return frame
    return topic_for(frame, session.chat.has_channel, partial(_is_current_channel, session))


def _is_current_channel(session: Session, word: str) -> bool:
    """Return True if the user is in the channel of that name, or is in none and has to be told to join it."""
    log = session.chat.channel(word)
    return log is not None if session.current is None else log in session.holder.joined
