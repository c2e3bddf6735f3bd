"""Floor 2: channels: joining, leaving, listing, topics."""

from __future__ import annotations

from wire.errors import Refused
from wire.frames import ChannelList, Channels, Join, Joined, Leave, Left, Recipient, Topic, TopicIs
from wire.names import printable
from wire.text import topic_refusal

from ..session import Session
from .posts import end_query


def join(session: Session, frame: Join) -> Joined:
    """Join a channel, which becomes the current one."""
    log, tail = session.join(frame.channel)
    session.current, session.partner = log, ""
    return Joined(channel=log.row.name, tail=tail, topic=log.topic, members=log.members)


def leave(session: Session, frame: Leave) -> Left | Recipient:
    """Leave a channel. If it is the current one, the channel that was joined last becomes the current one.

    Who talks with a user and names no channel leaves that conversation.
    """
    if session.partner and not frame.channel:
        return end_query(session)
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
    try:
        if frame.text is None and frame.channel:
            log = session.chat.known_channel(frame.channel)
        else:
            log = session.joined(frame.channel)
    except Refused as refused:
        if refused.code == "no-such-channel" and session.reader.dialect.free_text:
            current = session.current.row.name if session.current is not None else ""
            raise Refused(refused.code, topic_refusal(frame, current)) from None
        raise
    if frame.text is not None:
        text, most = " ".join(printable(frame.text).split()), session.chat.limits.topic
        if len(text) > most:
            raise Refused("too-long", f"A topic has at most {most} characters, and this one has {len(text)}.")
        session.chat.set_topic(log, text, session.holder)
    return TopicIs(channel=log.row.name, topic=log.topic)


def sets_topic(_session: Session, frame: Topic) -> bool:
    """Return True if the request sets a topic, and does not only ask for it."""
    return frame.text is not None
