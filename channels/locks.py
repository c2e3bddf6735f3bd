"""Floor 2: locks that are leaves: a thread that holds one takes no other lock and calls no store.

With PARTYLINE_CHECK_LOCKS=1 in the environment, every such lock asserts this. The tests run with it.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType

CHECKED = os.environ.get("PARTYLINE_CHECK_LOCKS") == "1"
_held = threading.local()


class _CheckedLeaf:
    """A lock that asserts that its thread holds no other leaf."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> bool:
        nothing_held("take a lock")
        self._lock.acquire()
        _held.by = self
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _held.by = None
        self._lock.release()


def leaf() -> threading.Lock | _CheckedLeaf:
    """Return a new leaf lock, for use in a `with`."""
    return _CheckedLeaf() if CHECKED else threading.Lock()


def nothing_held(intent: str) -> None:
    """Assert, when locks are checked, that this thread holds no leaf. `intent` says what the thread is about to do."""
    assert not CHECKED or getattr(_held, "by", None) is None, f"about to {intent} while holding a lock"
