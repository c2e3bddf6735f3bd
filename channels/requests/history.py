"""Floor 2: entries that are stored already: pages of them, and how far the user has seen them."""

from __future__ import annotations

from wire.errors import Refused
from wire.frames import History, Ok, Page, Seen

from ..session import Session


def history(session: Session, frame: History) -> Page:
    """Return a page of a channel, which need not be joined, or of the user's own conversation with another user."""
    chat = session.chat
    if not frame.channel and not frame.user:
        frame.user = session.partner
    if not frame.user:
        log = chat.known_channel(frame.channel) if frame.channel else session.joined("")
        return chat.history(log, frame, session.answer_size)
    partner = chat.account(frame.user)
    row = chat.store.find_private_log(session.holder.key, partner.key)
    if row is None:
        return Page(entries=[], tail=0, user=partner.name)
    page = chat.history(chat.log(row), frame, session.answer_size)
    page.user = partner.name
    return page


def seen(session: Session, frame: Seen) -> Ok | None:
    """Move the user's stored cursor in a channel or a conversation; answer only a frame with a `ref`."""
    chat, user = session.chat, session.holder
    if frame.user:
        row = chat.store.find_private_log(user.key, frame.user)
        log = chat.log(row) if row is not None else None
    else:
        log = session.joined(frame.channel)
    if log is None:
        raise Refused("no-such-user", f"You have no private messages with {frame.user}.")
    number = session.reader.acknowledge(log, frame.number)
    if number is not None:
        chat.journal.move(log, user.key, number)
        chat.journal.carry(wait=frame.ref is not None)  # `ok` says that it is stored
    return None if frame.ref is None else Ok()
