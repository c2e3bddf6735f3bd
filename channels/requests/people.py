"""Floor 2: users: who is in a channel or online, and what is known of one."""

from __future__ import annotations

from wire.frames import Member, Members, UserInfo, Who, Whois

from ..session import Session


def who(session: Session, frame: Who) -> Members:
    """List a channel's members, or, for no channel, the users who are online."""
    if not frame.channel:
        return Members(members=[Member(user.name, True) for user in session.chat.directory.users()])
    log = session.chat.known_channel(frame.channel)
    return Members(members=session.chat.members(log), channel=log.channel)


def whois(session: Session, frame: Whois) -> UserInfo:
    """Return what is known of a user."""
    return session.chat.whois(frame.user)
