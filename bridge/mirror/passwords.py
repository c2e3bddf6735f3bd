"""Floor 3: the passwords that users on the broker give with `register`, and the limit of wrong ones."""

from __future__ import annotations

import hmac
import secrets
import time

from channels import accounts
from store import Account
from wire.errors import WRONG_PASSWORD, Refused

_PAUSE = 60.0  # seconds without a try after too many wrong passwords


class PasswordCheck:
    """Remembers digests of passwords that were right: after an outage of the broker, all its users give theirs again.

    A hash takes much longer than a digest. Used by the mirror's thread alone.
    """

    def __init__(self, tries: int) -> None:
        """`tries` is the number of wrong passwords before the pause."""
        self._limit = tries
        self._secret = secrets.token_bytes(32)
        self._known: dict[str, bytes] = {}  # by user key: digest of the hash in the store and the right password
        self._wrong: dict[str, tuple[int, float]] = {}  # by user key: how many, and when the last one came

    def check(self, account: Account, password: str) -> None:
        """Raises Refused if it is not the account's password, or if too many wrong ones came before."""
        count, last = self._wrong.get(account.key, (0, 0.0))
        if count >= self._limit:
            if time.monotonic() - last < _PAUSE:
                raise Refused("wrong-password", "Too many wrong passwords; try again in a minute.")
            count = 0
        digest = hmac.digest(self._secret, f"{account.password}\n{password}".encode(), "sha256")
        if self._known.get(account.key) != digest:
            if account.password is None or not accounts.fits(password, account.password):
                self._wrong[account.key] = count + 1, time.monotonic()
                raise Refused("wrong-password", WRONG_PASSWORD)
            self._known[account.key] = digest
        self._wrong.pop(account.key, None)
