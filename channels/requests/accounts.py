"""Floor 2: names that are bound to a password."""

from __future__ import annotations

from wire.frames import Register, Registered

from ..session import Session


def register(session: Session, frame: Register) -> Registered:
    """Bind the user's name to a password, or change the password."""
    user, chat = session.holder, session.chat
    chat.store.set_password(user.key, chat.passwords.make_hash(user.key, frame.password, session.network))
    chat.directory.registered(user)
    chat.files.registered(user.key)
    session.report.registered()
    return Registered(name=user.name)
