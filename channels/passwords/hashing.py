"""Floor 2: the rules for a new password, and its hash, made with argon2id by pwdlib.

A hash takes some 40 ms of a core and 19 MiB. The workers call `make_hash` and `fits`, and nobody else in the server.
"""

from __future__ import annotations

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from wire.errors import Refused
from wire.names import printable

LEAST, MOST = 8, 128  # characters of a new password; an old one may be shorter (NIST SP 800-63B §5.1.1.2)

# The least that OWASP's Password Storage Cheat Sheet recommends. The defaults take 64 MiB, which strangers could have
# the server take for each core.
_hasher = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19 << 10, parallelism=1),))


def check_new(password: str) -> None:
    """Raise Refused for a new password that breaks the rules."""
    if not LEAST <= len(password) <= MOST:
        raise Refused("bad-password", f"A password has {LEAST} to {MOST} characters.")
    if password.startswith("/") or password.lower() == "exit":
        raise Refused("bad-password", "A password must not look like a command.")
    if password != printable(password).strip() or "\n" in password:
        raise Refused("bad-password", "A password must not have control characters, or spaces around it.")


def make_hash(password: str) -> str:
    """Return the hash of a new password."""
    return _hasher.hash(password)


def fits(password: str, kept: str) -> bool:
    """Return True if `kept` is the hash of the password."""
    if len(password) > MOST:
        return False
    try:
        return _hasher.verify(password, kept)
    except UnknownHashError:
        return False
