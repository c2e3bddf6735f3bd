"""Floor 2: passwords: they are hashed by a few processes of their own, and wrong ones bring delays.

`Passwords` is what logins and registrations use. Its workers (`workers.py`) take requests from all addresses in turn,
and have processes of a lower priority hash (`hash_process.py`). After wrong passwords, a name and an address have to
wait, longer and longer (`delays.py`); an attempt that has to wait is not hashed.
"""

from __future__ import annotations

from .delays import PasswordDelayed, PasswordDelays
from .hashing import LEAST, MOST, check_new, fits, make_hash
from .passwords import BROKER, Passwords
from .workers import PasswordWorkers

__all__ = [
    "BROKER",
    "LEAST",
    "MOST",
    "PasswordDelayed",
    "PasswordDelays",
    "PasswordWorkers",
    "Passwords",
    "check_new",
    "fits",
    "make_hash",
]
