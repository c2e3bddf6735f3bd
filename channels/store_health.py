"""Floor 2: the store's health: a line of the operator's log when it begins to refuse posts, and when it works again."""

from __future__ import annotations

from reporting import events, report


class StoreHealth:
    """Counts the posts that the store has refused in a row. Only the journal's leader uses it."""

    def __init__(self) -> None:
        self._refused = 0
        self._error = ""  # the first one; empty while the store works

    def failed(self, error: str, posts: int) -> None:
        """The store has refused that many posts because of an error."""
        if not self._error:
            self._error = error
            report(events.StoreFailing(error))
        self._refused += posts

    def worked(self) -> None:
        """The store has taken posts."""
        if self._error:
            report(events.StoreRecovered(self._refused, self._error))
            self._refused, self._error = 0, ""
