"""Floor 2: channels: joining, leaving, listing, topics."""

from __future__ import annotations

from collections.abc import Callable

from wire.frames import ChannelList, Channels, Join, Joined, Leave, Left, Topic, TopicIs
from wire.names import printable
from wire.text import commands

from ..session import Session


def join(session: Session, frame: Join) -> Joined:
    """Join a channel, which becomes the current one."""
    log = session.current = session.chat.join(frame.channel, session.holder)
    members = session.chat.store.member_count(log.row)
    return Joined(channel=log.row.name, tail=log.tail, topic=log.topic, members=members)


def leave(session: Session, frame: Leave) -> Left:
    """Leave a channel. If it is the current one, the channel that was joined last becomes the current one."""
    user = session.holder
    log = session.joined(frame.channel)
    session.chat.leave(log, user)
    if session.current is log:
        session.current = next(reversed(user.joined), None)
    return Left(channel=log.row.name)


def channels(session: Session, _frame: Channels) -> ChannelList:
    """List every channel, as the user sees it."""
    return ChannelList(channels=session.chat.channels(session.holder))


def topic(session: Session, frame: Topic) -> TopicIs:
    """Return a channel's topic, and set it first if the frame has a text, which only members may do."""
    if session.reader.dialect.interactive:
        frame = commands.topic_for(frame, *_channels_of(session))
    if frame.text is None:
        log = session.chat.known_channel(frame.channel) if frame.channel else session.joined("")
    else:
        log = session.joined(frame.channel)
        session.chat.set_topic(log, " ".join(printable(frame.text).split()), session.holder)
    return TopicIs(channel=log.row.name, topic=log.topic)


def _channels_of(session: Session) -> tuple[Callable[[str], bool], Callable[[str], bool]]:
    """Whether a word names a channel, and one in which the user sets the topic: who is in none is told to join it."""
    find = session.chat.channel
    joined = session.holder.joined
    return (
        lambda word: find(word) is not None,
        lambda word: find(word) is not None if session.current is None else find(word) in joined,
    )
