"""Floor 1: the error that a store raises."""

from __future__ import annotations

from wire.errors import LocalError


class StoreError(LocalError):
    """The store failed and changed nothing. The message is one sentence for the operator.

    Only if the answer of a commit to a database on the network was lost, and cannot be found out, the change may be
    stored all the same; the message says so. A post that has an id can be sent again in any case.
    """


class StoreAway(StoreError):
    """The database cannot be reached. The store itself reports that, once."""
