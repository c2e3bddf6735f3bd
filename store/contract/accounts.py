"""Floor 1: the contract of accounts: names and password hashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Account:
    """A user whose name was used at least once.

    `key` is the folded name, `name` the first spelling, `password` the hash if the user is registered. `seen` is when
    the user's last connection ended, in milliseconds since 1970; 0 before the first one ended.
    """

    key: str
    name: str
    password: str | None
    seen: int


class Accounts(Protocol):
    """The accounts. A user is given by name in any spelling."""

    def account(self, user: str) -> Account | None:
        """Return a user's account, None if the name was never used."""

    def open_account(self, name: str) -> Account:
        """Return the account of that name; create one without a password if it does not exist."""

    def set_password(self, user: str, password: str) -> None:
        """Store the hash of a user's password."""
