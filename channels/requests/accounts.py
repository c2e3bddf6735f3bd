"""Floor 2: names that are bound to a password."""

from __future__ import annotations

from wire.frames import Register, Registered

from ..accounts import make_hash
from ..session import Session


def register(session: Session, frame: Register) -> Registered:
    """Bind the user's name to a password, or change the password."""
    user = session.holder
    session.chat.store.set_password(user.key, make_hash(frame.password))
    session.chat.directory.registered(user)
    session.report.registered()
    return Registered(name=user.name)
