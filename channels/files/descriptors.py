"""Floor 2: the descriptors of files that connections read and write: at most so many for all connections together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from wire.errors import Refused

from ..locks import leaf


@dataclass(slots=True)
class _Open:
    """One descriptor. `users` counts the threads that use it now; once it is `dropped`, the last of them closes it."""

    descriptor: int
    users: int = 1
    dropped: bool = False


class Descriptors:
    """Open files by keys, each shared by all connections. Any thread may call it.

    A descriptor stays open for the next use. If all are taken, the one that was used least recently is closed, and its
    file is opened again when it is needed. So a connection that holds many files open hinders nobody.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = leaf()
        self._open: dict[str, _Open] = {}  # the one used last at the end
        self._count = 0  # open descriptors, and those about to be opened
        self._drops = 0  # so far

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def use(self, key: str, open_file: Callable[[], int]) -> Iterator[int]:
        """Return a block with the descriptor of a file, which `open_file` opens if it is not open.

        Raises Refused if all descriptors are in use, and what `open_file` raises.
        """
        found = self._take(key) or self._add(key, open_file)
        try:
            yield found.descriptor
        finally:
            self._give_back(found)

    def _take(self, key: str) -> _Open | None:
        with self._lock:
            found = self._open.pop(key, None)
            if found is not None:
                self._open[key] = found
                found.users += 1
            return found

    def _add(self, key: str, open_file: Callable[[], int]) -> _Open:
        drops = self._drops
        self._make_room()
        try:
            made = _Open(open_file())
        except BaseException:
            with self._lock:
                self._count -= 1
            raise
        with self._lock:
            # Another thread was faster, or a file was dropped meanwhile, perhaps this one: it is closed after its use.
            made.dropped = key in self._open or self._drops != drops
            if not made.dropped:
                self._open[key] = made
        return made

    def _make_room(self) -> None:
        """Count one more descriptor; close the one that was used least recently if there are too many."""
        with self._lock:
            if self._count < self._most:
                self._count += 1
                return
            idle = next((key for key, each in self._open.items() if not each.users), None)
            if idle is None:
                sentence = f"The server reads or writes {self._most} files now, which is the limit. Try again."
                raise Refused("busy", sentence)
            closed = self._open.pop(idle)
        os.close(closed.descriptor)

    def _give_back(self, found: _Open) -> None:
        with self._lock:
            found.users -= 1
            unused = found.dropped and not found.users
            self._count -= unused
        if unused:
            os.close(found.descriptor)

    def drop(self, key: str) -> None:
        """Close a file, after the uses of now. No-op if it is not open."""
        with self._lock:
            self._drops += 1
            found = self._open.pop(key, None)
            if found is None:
                return
            found.dropped = True
            unused = not found.users
            self._count -= unused
        if unused:
            os.close(found.descriptor)
