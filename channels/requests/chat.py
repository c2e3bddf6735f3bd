"""Floor 2: what a session does and answers, with no more change of its own than which channel is current."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from channels import accounts
from wire.errors import Refused
from wire.frames import (
    ChannelList,
    Channels,
    Error,
    Help,
    HelpText,
    History,
    Join,
    Joined,
    Leave,
    Left,
    Malformed,
    Member,
    Members,
    Ok,
    Page,
    Ping,
    Pong,
    Register,
    Registered,
    Seen,
    ServerStatus,
    Status,
    Topic,
    TopicIs,
    UserInfo,
    Who,
    Whois,
)
from wire.names import printable
from wire.text import commands

if TYPE_CHECKING:
    from channels.session import Session


def join(session: Session, frame: Join) -> Joined:
    """Join a channel, which becomes the current one."""
    assert session.user is not None
    log = session.current = session.chat.join(frame.channel, session.user)
    members = session.chat.store.member_count(log.row)
    return Joined(channel=log.row.name, tail=log.tail, topic=log.topic, members=members)


def leave(session: Session, frame: Leave) -> Left:
    """Leave a channel; of those that are left, the one joined last is the current one then."""
    assert session.user is not None
    log = session.joined(frame.channel)
    session.chat.leave(log, session.user)
    if session.current is log:
        session.current = next(reversed(session.user.joined), None)
    return Left(channel=log.row.name)


def who(session: Session, frame: Who) -> Members:
    """Who is in a channel, or who is online."""
    if not frame.channel:
        return Members(members=[Member(user.name, True) for user in session.chat.directory.users()])
    log = session.chat.known_channel(frame.channel)
    return Members(members=session.chat.members(log), channel=log.channel)


def channels(session: Session, _frame: Channels) -> ChannelList:
    """Every channel, as the user sees it."""
    assert session.user is not None
    return ChannelList(channels=session.chat.channels(session.user))


def whois(session: Session, frame: Whois) -> UserInfo:
    """What is known of a user."""
    return session.chat.whois(frame.user)


def history(session: Session, frame: History) -> Page:
    """A page of a channel, which need not be joined, or of the user's own conversation with another."""
    assert session.user is not None
    chat = session.chat
    if not frame.user:
        log = chat.known_channel(frame.channel) if frame.channel else session.joined("")
        entries = chat.history(log, frame.after, frame.before, frame.limit)
        return Page(entries=entries, tail=log.tail, channel=log.channel)
    peer = chat.account(frame.user)
    row = chat.store.find_direct(session.user.key, peer.key)
    if row is None:
        return Page(entries=[], tail=0, user=peer.name)
    log = chat.log(row)
    return Page(entries=chat.history(log, frame.after, frame.before, frame.limit), tail=log.tail, user=peer.name)


def topic(session: Session, frame: Topic) -> TopicIs:
    """A channel's topic, after it was set if there is a text; only members set it."""
    assert session.user is not None
    if session.reader.dialect.interactive:
        frame = commands.topic_for(frame, *_channels_of(session))
    if frame.text is None:
        log = session.chat.known_channel(frame.channel) if frame.channel else session.joined("")
    else:
        log = session.joined(frame.channel)
        session.chat.set_topic(log, " ".join(printable(frame.text).split()), session.user)
    return TopicIs(channel=log.row.name, topic=log.topic)


def _channels_of(session: Session) -> tuple[Callable[[str], bool], Callable[[str], bool]]:
    """Whether a word names a channel, and one in which the user sets the topic: who is in none is told to join it."""
    find = session.chat.channel
    joined = session.user.joined if session.user is not None else {}
    return (
        lambda word: find(word) is not None,
        lambda word: find(word) is not None if session.current is None else find(word) in joined,
    )


def register(session: Session, frame: Register) -> Registered:
    """Bind the user's name to a password, or change it."""
    assert session.user is not None
    session.chat.store.set_password(session.user.key, accounts.make_hash(frame.password))
    session.chat.directory.registered(session.user)
    return Registered(name=session.user.name)


def seen(session: Session, frame: Seen) -> Ok | None:
    """Move the stored cursor of a channel or a conversation."""
    assert session.user is not None
    chat = session.chat
    if frame.user:
        row = chat.store.find_direct(session.user.key, frame.user)
        log = chat.log(row) if row is not None else None
    else:
        log = session.joined(frame.channel)
    if log is None:
        raise Refused("no-such-user", f"You have no conversation with {frame.user}.")
    number = session.reader.acknowledge(log, frame.number)
    if number is not None:
        chat.journal.move(log, session.user.key, number)
        chat.journal.carry(wait=frame.ref is not None)  # `ok` says that it is stored
    return None if frame.ref is None else Ok()


def status(session: Session, _frame: Status) -> ServerStatus:
    """How the server is."""
    return session.chat.status()


def ping(_session: Session, frame: Ping) -> Pong:
    """The same payload back."""
    return Pong(payload=frame.payload)


def help(_session: Session, frame: Help) -> HelpText:
    """The text dialect's commands."""
    return HelpText(lines=commands.help_lines(frame.command))


def malformed(_session: Session, frame: Malformed) -> Error:
    """What was wrong with something that was no frame."""
    return Error(code=frame.code, error=frame.error)
