"""Floor 2: users: who is in a channel or online, and what is known of one."""

from __future__ import annotations

from wire.frames import Member, Members, Names, UserInfo, Who, Whois

from ..pages import count_within
from ..session import Session


def who(session: Session, frame: Who) -> Members:
    """List a channel's members, or, for no channel, the users who are online."""
    chat = session.chat
    limit = min(frame.limit, chat.limits.page)
    if not frame.channel:
        following = [Member(user.name, True) for user in chat.directory.page(frame.after, limit + 1)]
        return _page(following, limit, session.answer_size)
    log = chat.known_channel(frame.channel)
    page = _page(chat.members(log, frame.after, limit + 1), limit, session.answer_size)
    page.channel = log.channel
    return page


def names(session: Session, frame: Names) -> Members:
    """List the members of a channel, or, if none is named, of the current one."""
    return who(session, Who(frame.channel or session.joined("").row.name, limit=frame.limit))


def _page(following: list[Member], limit: int, size: int) -> Members:
    """Return at most `limit` members that take at most `size` bytes as JSON, but at least one."""
    members = following[:limit]
    members = members[: count_within(members, size)]
    return Members(members=members, more=members[-1].name if len(members) < len(following) else None)


def whois(session: Session, frame: Whois) -> UserInfo:
    """Return what is known of a user."""
    return session.chat.whois(frame.user)
