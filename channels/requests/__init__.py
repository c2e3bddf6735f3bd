"""Floor 2: what a session may ask, one module a subject. A handler takes the session and the frame.

A handler returns the answer, or None if it has answered already or has nothing to say, and raises Refused, or
StoreError if the store could not keep something. dispatch.py says which request goes to which handler, and when.
"""

from __future__ import annotations

from . import accounts, direct_transfers, files, history, login, people, posts, relay, rooms, system, transfers

__all__ = [
    "accounts",
    "direct_transfers",
    "files",
    "history",
    "login",
    "people",
    "posts",
    "relay",
    "rooms",
    "system",
    "transfers",
]
