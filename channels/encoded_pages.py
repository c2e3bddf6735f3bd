"""Floor 2: pages that were encoded for a reader that lags, kept for those that lag behind the same place.

When a thousand readers come back and have missed the same entries, each page is encoded once for each dialect.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeAlias

from .locks import leaf

PageKey: TypeAlias = tuple[object, int, str]  # the log, the number before the first entry, the name of the encoding

_COST = 400  # bytes in memory that a page takes beside its bytes
_PARTS = 4  # a page that takes more than this part of the memory is not kept


class EncodedPages:
    """The pages used last, of all channels. Entries never change, so a page stays right. Any thread may call it."""

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes of memory."""
        self._limit = limit
        self._lock = leaf()
        self._pages: OrderedDict[PageKey, tuple[bytes, int]] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """The bytes of memory that the pages take."""
        return self._size

    def find(self, key: PageKey) -> tuple[bytes, int] | None:
        """Return the bytes of a page and the number of its last entry; None if it is not kept."""
        with self._lock:
            page = self._pages.get(key)
            if page is not None:
                self._pages.move_to_end(key)
            return page

    def keep(self, key: PageKey, data: bytes, last: int) -> None:
        """Keep a page, in place of those that were not used for longest."""
        size = len(data) + _COST
        if size > self._limit // _PARTS:
            return
        with self._lock:
            if key in self._pages:
                return
            self._pages[key] = data, last
            self._size += size
            while self._size > self._limit:
                _, (old, _) = self._pages.popitem(last=False)
                self._size -= len(old) + _COST
