"""A store that watches the locks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from channels.locks import nothing_held
from store import Store


class WatchedStore:
    """A store that fails a call that is made while a lock is held (cast it to Store).

    `before`, if a test sets it, is called with the method's name ahead of each call: it may raise, or wait.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.before: Callable[[str], None] | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def call(*arguments: Any, **named: Any) -> Any:
            nothing_held(f"call the store's {name}")
            if self.before is not None:
                self.before(name)
            return method(*arguments, **named)

        return call
