"""Floor 2: the passwords of a server: checking them and hashing new ones, on every door, by the workers."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from concurrent.futures import Future

from store import Account
from wire.errors import WRONG_PASSWORD, Refused
from wire.limits import Limits

from ..locks import leaf
from .delays import PasswordDelays
from .hash_process import HashProcess
from .hashing import check_new
from .workers import PasswordWorkers

BROKER = "another broker"  # the source of all whose address is unknown


class Passwords:
    """Any thread may call every method. A network is that of an address (`net.network_of`), or None if unknown.

    A password that was right is remembered as a keyed digest of itself and its hash, with a key that only this process
    has: after an outage, all clients give theirs again, and a hash takes much longer.
    """

    def __init__(self, limits: Limits, tried: Callable[[str, str | None, bool], None] | None = None) -> None:
        """`tried` is called with a user key, a network and True for a right password, if other servers have to know.

        It is called for each wrong password, and for a right one whose network was not known to be proven.
        """
        self._tried = tried
        self._delays = PasswordDelays(
            limits.password_tries, limits.users_per_address, limits.password_delay, limits.rates_kept
        )
        self._workers = PasswordWorkers(limits.passwords_waiting)
        self._secret = secrets.token_bytes(32)
        self._lock = leaf()
        self._known: dict[str, bytes] = {}  # digests by user key
        self._most = limits.rates_kept

    def check(self, account: Account, password: str, network: str | None) -> None:
        """Wait until the password is checked. Raises Refused if it is wrong, has to wait, or if the server is busy."""
        self.check_later(account, password, network).result()

    def check_later(self, account: Account, password: str, network: str | None) -> Future[None]:
        """Have the password checked. The future raises Refused if it is wrong. Raises Refused as `check` does."""
        key, kept = account.key, account.password or ""
        self._delays.check(key, network)
        digest = self._digest(kept, password)
        if hmac.compare_digest(self._known.get(key, b""), digest):
            self._right(key, network)
            done: Future[None] = Future()
            done.set_result(None)
            return done

        def work(process: HashProcess) -> None:
            self._delays.check(key, network)  # again, since others for the name were checked meanwhile
            if not process.fits(password, kept):
                self._wrong(key, network)
                raise Refused("wrong-password", WRONG_PASSWORD)
            self._remember(key, digest)
            self._right(key, network)

        return self._workers.submit(network or BROKER, work)

    def _wrong(self, key: str, network: str | None) -> None:
        self._delays.wrong(key, network)
        if self._tried is not None:
            self._tried(key, network, False)

    def _right(self, key: str, network: str | None) -> None:
        if self._delays.right(key, network) and self._tried is not None:
            self._tried(key, network, True)

    def tried_elsewhere(self, key: str, network: str | None, *, right: bool) -> None:
        """Count a password that another server has checked."""
        if right:
            self._delays.right(key, network)
        else:
            self._delays.wrong(key, network)

    def _digest(self, kept: str, password: str) -> bytes:
        return hmac.digest(self._secret, f"{kept}\n{password}".encode(), "sha256")

    def _remember(self, key: str, digest: bytes) -> None:
        with self._lock:
            self._known.pop(key, None)
            self._known[key] = digest
            if len(self._known) > self._most:
                del self._known[next(iter(self._known))]

    def make_hash(self, account_key: str, password: str, network: str | None) -> str:
        """Wait for the hash of a new password. Raises Refused if it breaks the rules, or if the server is busy."""
        return self.make_hash_later(account_key, password, network).result()

    def make_hash_later(self, account_key: str, password: str, network: str | None) -> Future[str]:
        """Have a new password hashed; the user's address is proven then. Raises Refused as `make_hash` does."""
        check_new(password)

        def work(process: HashProcess) -> str:
            made = process.make_hash(password)
            self._remember(account_key, self._digest(made, password))
            self._right(account_key, network)
            return made

        return self._workers.submit(network or BROKER, work)

    def close(self) -> None:
        """End the workers."""
        self._workers.close()
