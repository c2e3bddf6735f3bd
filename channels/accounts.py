"""Floor 2: passwords, hashed with argon2id by pwdlib."""

from __future__ import annotations

import threading

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from wire.errors import Refused
from wire.names import printable

LEAST, MOST = 4, 128  # characters of a password

_hasher = PasswordHash((Argon2Hasher(),))
# Making a hash takes 64 MiB, so only two are made at a time, however many connections log in.
_room = threading.BoundedSemaphore(2)


def make_hash(password: str) -> str:
    """Return the hash of a new password. Raises Refused for one that breaks the rules."""
    if not LEAST <= len(password) <= MOST:
        raise Refused("bad-password", f"A password has {LEAST} to {MOST} characters.")
    if password.startswith("/") or password.lower() == "exit":
        raise Refused("bad-password", "A password must not look like a command.")
    if password != printable(password).strip() or "\n" in password:
        raise Refused("bad-password", "A password must not have control characters, or spaces around it.")
    with _room:
        return _hasher.hash(password)


def fits(password: str, kept: str) -> bool:
    """Return True if `kept` is the hash of the password."""
    if len(password) > MOST:
        return False
    try:
        with _room:
            return _hasher.verify(password, kept)
    except UnknownHashError:
        return False
