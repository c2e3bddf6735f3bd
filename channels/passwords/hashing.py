"""Floor 2: the rules for a new password, and its hash, made and verified in the thread that asks."""

from __future__ import annotations

from wire.errors import Refused
from wire.names import printable

from .hasher import compute, verify

LEAST, MOST = 8, 128  # characters of a new password; an old one may be shorter (NIST SP 800-63B §5.1.1.2)


def check_new(password: str) -> None:
    """Raise Refused for a new password that breaks the rules."""
    if not LEAST <= len(password) <= MOST:
        raise Refused("bad-password", f"A password has {LEAST} to {MOST} characters.")
    if password.startswith("/") or password.lower() == "exit":
        raise Refused("bad-password", "A password must not look like a command.")
    if password != printable(password).strip() or "\n" in password:
        raise Refused("bad-password", "A password must not have control characters, or spaces around it.")


def make_hash(password: str) -> str:
    """Return the hash of a new password. It takes some 40 ms of a core and 19 MiB."""
    return compute(password)


def fits(password: str, kept: str) -> bool:
    """Return True if `kept` is the hash of the password."""
    return len(password) <= MOST and verify(password, kept)
