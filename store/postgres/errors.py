"""Floor 1: what PostgreSQL's errors mean for the operator (postgresql.org/docs/current/errcodes-appendix.html)."""

from __future__ import annotations

import psycopg
from sqlalchemy.exc import DBAPIError

from ..contract import StoreAway, StoreError
from ..sql import Conflict
from .address import Address

# The server has ended the connection, or takes none now: an administrator, a crash, a restart.
_AWAY = {"57P01", "57P02", "57P03", "57P05", "25P03", "53300"}
_PREFIXES = (
    "connection failed: ",
    "connection is bad: ",
    "consuming input failed: ",
    "flush request failed: ",
    "sending query failed: ",
)
_AGAIN = {"40001", "40P01"}  # another transaction was in the way, and this one has changed nothing
_REASONS = {
    "57014": "it took too long to answer",
    "55P03": "it took too long to answer",
    "53100": "its disk is full",
    "53200": "it has no memory left",
    "25006": "it only lets us read. Name the primary server, not a standby",
    "42501": "our user may not do that",
    "42P01": "a table is missing. Restore it from a copy",
    "42703": "a column is missing. Restore it from a copy",
}


def unreachable(address: Address, error: Exception) -> StoreAway:
    """Return the error of a connection that cannot be made or was lost."""
    reason = address.without_secrets(_message(_cause(error)))
    for prefix in _PREFIXES:
        reason = reason.removeprefix(prefix)
    return StoreAway(f"The database cannot be reached: {reason}.")


def store_error(address: Address, error: Exception) -> StoreError:
    """Return an error of the driver or of SQLAlchemy as a StoreError, with a sentence for the operator.

    The sentence has nothing of the statement or its values. It is a Conflict if the same call may succeed when it is
    made again.
    """
    cause = _cause(error)
    state = getattr(cause, "sqlstate", None) or ""
    if state in _AGAIN:
        return Conflict("The database failed: other servers were in the way each time.")
    return StoreError(f"The database failed: {_REASONS.get(state) or address.without_secrets(_message(cause))}.")


def is_lost(error: Exception) -> bool:
    """Return True if the error is one of the connection, and not the server's answer to a statement."""
    cause = _cause(error)
    state = getattr(cause, "sqlstate", None)
    return isinstance(cause, psycopg.OperationalError) and (state is None or state in _AWAY or state.startswith("08"))


def _cause(error: Exception) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _message(error: BaseException) -> str:
    """Return what the server says without its details, which have values of rows."""
    said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    lines = (said or str(error)).strip().splitlines()  # libpq explains its errors in further lines
    return (lines[0] if lines else type(error).__name__).rstrip(".")
