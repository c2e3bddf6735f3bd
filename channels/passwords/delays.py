"""Floor 2: delays after wrong passwords, by name and by address, which grow with each wrong one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from wire.errors import Refused

from ..locks import leaf
from ..rates import in_words

_FORGET = 3_600.0  # seconds after the last wrong password, and the delay after it, in which none may follow
_TRUST = 30 * 86_400.0  # seconds for which an address counts as one of a user who has logged in from there
_DAY = 86_400.0  # seconds for which the other servers need not hear again that an address is proven
_MOST_DOUBLINGS = 32


class PasswordDelayed(Refused):
    """An attempt has to wait for so many `seconds`, and costs nothing."""

    def __init__(self, sentence: str, seconds: float) -> None:
        super().__init__("password-delayed", f"{sentence} Try again in {in_words(seconds)}.")
        self.seconds = seconds


@dataclass(slots=True)
class _Wrong:
    """Wrong passwords of one name or address: how many, and when the next attempt may come."""

    count: int = 0
    until: float = 0.0


class _Counts:
    """Wrong passwords by key. The first `free` ones bring no delay, then it doubles from 1 second to `longest`."""

    def __init__(self, free: int, longest: int, most: int) -> None:
        self._free = free
        self._longest = longest
        self._most = most
        self._wrong: dict[str, _Wrong] = {}  # the one that was wrong last is the last

    def __len__(self) -> int:
        return len(self._wrong)

    def wait(self, key: str, now: float) -> float:
        """Return the seconds that the next attempt has to wait."""
        found = self._wrong.get(key)
        return max(0.0, found.until - now) if found is not None else 0.0

    def add(self, key: str, now: float) -> None:
        """Count a wrong password."""
        found = self._wrong.pop(key, None)
        if found is None or now - found.until > _FORGET:
            found = _Wrong()
        found.count += 1
        doublings = found.count - self._free
        found.until = now
        if doublings >= 0:
            found.until += min(self._longest, 2 ** min(doublings, _MOST_DOUBLINGS))
        self._wrong[key] = found
        if len(self._wrong) > self._most:
            del self._wrong[next(iter(self._wrong))]

    def drop(self, key: str) -> bool:
        """Forget the wrong passwords of a key. Return True if there were any."""
        return self._wrong.pop(key, None) is not None


class PasswordDelays:
    """Wrong passwords of all doors. Any thread may call it.

    An address is proven for a name after a login with the right password from there. From then on, what strangers do
    does not delay that name at that address: only wrong passwords for that name from there do.
    """

    def __init__(self, free: int, factor: int, longest: int, most: int) -> None:
        """`free` wrong passwords for a name bring no delay, and `factor` times as many from an address.

        `longest` is the longest delay in seconds; 0: there are no delays. At most `most` names and addresses are kept.
        """
        self._lock = leaf()
        self._names = _Counts(free, longest, most)
        self._addresses = _Counts(free * factor, longest, most)
        self._pairs = _Counts(free, longest, most)  # of names at addresses that are proven
        self._proven: dict[str, float] = {}  # by name and address: when that was
        self._most = most
        self._off = not longest

    def __len__(self) -> int:
        """Return how many entries are kept."""
        return len(self._names) + len(self._addresses) + len(self._pairs) + len(self._proven)

    def check(self, name: str, network: str | None) -> None:
        """Raise PasswordDelayed if an attempt for the name, from the network of an address, has to wait.

        `network` is None if it is unknown; then the attempt waits for the name alone.
        """
        if self._off:
            return
        now = time.monotonic()
        with self._lock:
            pair = self._proven_pair_locked(name, network, now)
            if pair is not None:
                by_name, by_address = self._pairs.wait(pair, now), 0.0
            else:
                by_name = self._names.wait(name, now)
                by_address = self._addresses.wait(network, now) if network is not None else 0.0
        if by_name >= by_address > 0 or (by_name and not by_address):
            raise PasswordDelayed(f"Too many passwords for {name} were wrong.", by_name)
        if by_address:
            raise PasswordDelayed("Too many passwords from your address were wrong.", by_address)

    def _proven_pair_locked(self, name: str, network: str | None, now: float) -> str | None:
        """Return the key of a name at an address that is proven for it, else None."""
        if network is None:
            return None
        pair = f"{name} {network}"
        at = self._proven.get(pair)
        return pair if at is not None and now - at < _TRUST else None

    def wrong(self, name: str, network: str | None) -> None:
        """Count a wrong password."""
        now = time.monotonic()
        with self._lock:
            self._names.add(name, now)
            if network is not None:
                self._addresses.add(network, now)
            pair = self._proven_pair_locked(name, network, now)
            if pair is not None:
                self._pairs.add(pair, now)

    def right(self, name: str, network: str | None) -> bool:
        """Note the right password: the address is proven for the name. Return True if that was not known today."""
        if network is None:
            return False
        pair, now = f"{name} {network}", time.monotonic()
        with self._lock:
            at = self._proven.pop(pair, None)
            news = self._pairs.drop(pair) or at is None or now - at > _DAY
            self._proven[pair] = now if news or at is None else at
            if len(self._proven) > self._most:
                del self._proven[next(iter(self._proven))]
        return news
