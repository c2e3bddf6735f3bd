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
# Each hash takes 64 MiB while it is made: so many at a time, however many knock.
_room = threading.BoundedSemaphore(2)


def make_hash(password: str) -> str:
    """The hash to keep. Raises Refused for a password that is too short or too long."""
    if not LEAST <= len(password) <= MOST:
        raise Refused("bad-password", f"A password has {LEAST} to {MOST} characters.")
    if password.startswith("/") or password.lower() == "exit":
        raise Refused("bad-password", "A password must not look like a command.")
    if password != printable(password).strip() or "\n" in password:
        raise Refused("bad-password", "A password has no control characters, and no spaces around it.")
    with _room:
        return _hasher.hash(password)


def fits(password: str, kept: str) -> bool:
    """Whether the password is the one that the hash was made from."""
    if len(password) > MOST:
        return False
    try:
        with _room:
            return _hasher.verify(password, kept)
    except UnknownHashError:
        return False
