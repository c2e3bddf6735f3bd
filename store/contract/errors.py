"""Floor 1: the error that a store raises."""

from __future__ import annotations

from wire.errors import LocalError


class StoreError(LocalError):
    """The store failed and changed nothing. The message is one sentence for the operator.

    Only if the answer of a commit to a database on the network was lost, and cannot be found out, the change may be
    stored all the same; the message says so. A post that has an id can be sent again in any case.
    """

    @property
    def told(self) -> str:
        """The sentence for users."""
        return str(self)


class StoreAway(StoreError):
    """The database cannot be reached. The store itself reports that, once. Users are not told where the database is."""

    def __init__(self, message: str, *, unsure: bool = False) -> None:
        """`unsure`: the last change may be stored all the same."""
        super().__init__(message)
        self._unsure = unsure

    @property
    def told(self) -> str:
        """The sentence for users."""
        if self._unsure:
            return "The server has lost its database, which may have stored this all the same."
        return "The server cannot reach its database now. Try again later."
