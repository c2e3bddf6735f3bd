"""Floor 2: the quotas of files: how many bytes users, addresses and guests have on the server's disk.

A quota counts the bytes that are there, and a small reserve for each file: not what somebody has announced. Users whose
names are not registered share a part of the whole, so that registered users keep room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from store import FilesElsewhere
from wire.errors import Refused
from wire.file_names import size_words
from wire.limits import Limits
from wire.ranges import RangeSet, total

from ..locks import leaf

NOTHING_ELSEWHERE = FilesElsewhere()
RESERVE = 65_536  # bytes that a file counts at least, for its rows and its entry
_BLOCK = 4_096  # bytes of the disk that each range may take beside its own


class Owner(NamedTuple):
    """The user, by key, who offers a file, and the network of the user's address; an empty one is not counted."""

    user: str
    network: str


class Usage(NamedTuple):
    """An owner's use of the disk: bytes, as `charge` counts them, and files that are not complete."""

    owner: Owner
    registered: bool
    size: int
    incomplete: int


@dataclass(slots=True)
class _Taken:
    """The use of the disk by one user or one network."""

    size: int = 0
    incomplete: int = 0
    guest: bool = False


class _Quota(NamedTuple):
    """A quota of bytes: what it has taken, its limit (0: none), and what to tell who exceeds it."""

    taken: int
    limit: int
    whose: str
    advice: str


def charge(ranges: RangeSet, names: int) -> int:
    """Return the bytes that a file counts of which these ranges are there. `names` is the size of its list of parts.

    A part has holes, and the disk gives whole blocks. So each range counts one more block.
    """
    return max(RESERVE, total(ranges) + _BLOCK * len(ranges)) + names


def charge_complete(size: int, names: int) -> int:
    """Return the bytes that a complete file counts."""
    return max(RESERVE, size) + names


class Quotas:
    """Counts for the files that are written by one server. Any thread may call it.

    `elsewhere` is what the store knows of the files of other servers at the time of a call.
    """

    def __init__(self, limits: Limits, there: Iterable[Usage]) -> None:
        """`there` is what the store and the disk have at the start."""
        self._limits = limits
        self._lock = leaf()
        self._users: dict[str, _Taken] = {}
        self._networks: dict[str, _Taken] = {}
        self._guests = 0  # bytes
        self._all = 0  # bytes
        for each in there:
            self._add_locked(each.owner, each.size, each.incomplete, guest=not each.registered)

    def replace(self, there: Iterable[Usage]) -> None:
        """Count these files instead of all others."""
        found = list(there)
        with self._lock:
            self._users, self._networks, self._guests, self._all = {}, {}, 0, 0
            for each in found:
                self._add_locked(each.owner, each.size, each.incomplete, guest=not each.registered)

    def add(self, there: Iterable[Usage]) -> None:
        """Count files that were written by another server until now."""
        with self._lock:
            for each in there:
                self._add_locked(each.owner, each.size, each.incomplete, guest=not each.registered)

    def offer(
        self, owner: Owner, names: int, size: int, *, registered: bool, elsewhere: FilesElsewhere = NOTHING_ELSEWHERE
    ) -> None:
        """Count a new file without any bytes. `size` is what must fit: 0 if it may go to its receiver directly.

        The reserve of such a file may exceed a quota. Then its first byte is refused. Raises Refused("quota").
        """
        with self._lock:
            self._check_incomplete_locked(owner, elsewhere)
            if names or size:
                self._check_locked(owner, names + size, elsewhere, guest=not registered)
            self._add_locked(owner, charge((), names), 1, guest=not registered)

    def grow(self, owner: Owner, size: int, rest: int, elsewhere: FilesElsewhere = NOTHING_ELSEWHERE) -> None:
        """Count `size` more bytes of a file, which will count `rest` more when it is complete. Raises Refused("quota").

        So a file that does not fit is refused at its first byte.
        """
        with self._lock:
            guest = self._is_guest_locked(owner)
            self._check_locked(owner, max(size, rest), elsewhere, guest=guest)
            self._add_locked(owner, size, 0, guest=guest)

    def shrink(self, owner: Owner, size: int, incomplete: int = 0) -> None:
        """Count `size` bytes less (a negative number: more), and so many incomplete files less."""
        with self._lock:
            self._add_locked(owner, -size, -incomplete, guest=self._is_guest_locked(owner))

    def registered(self, user: str) -> None:
        """The user of that key has registered the name: its files no longer count as those of guests."""
        with self._lock:
            taken = self._users.get(user)
            if taken is not None and taken.guest:
                taken.guest = False
                self._guests -= taken.size

    def totals(self) -> tuple[int, int, dict[str, tuple[int, int]]]:
        """Return the bytes of all files, those of guests, and the bytes and incomplete files by user."""
        with self._lock:
            users = {user: (taken.size, taken.incomplete) for user, taken in self._users.items()}
            return self._all, self._guests, users

    # Under the lock

    def _is_guest_locked(self, owner: Owner) -> bool:
        taken = self._users.get(owner.user)
        return taken is not None and taken.guest

    def _check_incomplete_locked(self, owner: Owner, elsewhere: FilesElsewhere) -> None:
        """Raise Refused for a user, or an address, with too many incomplete files."""
        limits = self._limits
        user = self._users.get(owner.user, _NOTHING).incomplete + elsewhere.user_open
        network = self._networks.get(owner.network, _NOTHING).incomplete + elsewhere.network_open
        if limits.offers_per_user and user >= limits.offers_per_user:
            raise Refused(
                "quota",
                f"You offer {limits.offers_per_user} files that are not complete, which is the limit. "
                "Complete or /cancel one first.",
            )
        if limits.offers_per_address and network >= limits.offers_per_address:
            raise Refused(
                "quota",
                f"{limits.offers_per_address} files from your address are not complete, which is the limit. "
                "Complete or /cancel one first.",
            )

    def _check_locked(self, owner: Owner, size: int, elsewhere: FilesElsewhere, *, guest: bool) -> None:
        """Raise Refused if so many more bytes exceed a quota."""
        for quota in self._quotas_locked(owner, elsewhere, guest=guest):
            if quota.limit and quota.taken + size > quota.limit:
                raise Refused("quota", f"{quota.whose} may have {size_words(quota.limit)} in all. {quota.advice}")

    def _quotas_locked(self, owner: Owner, elsewhere: FilesElsewhere, *, guest: bool) -> Iterator[_Quota]:
        limits = self._limits
        user = self._users.get(owner.user, _NOTHING).size + elsewhere.user
        yield _Quota(user, limits.files_per_user, "Your files", "/cancel one first.")
        if guest:
            advice = "/register your name for more room, or /cancel one first."
            yield _Quota(user, limits.files_per_guest, "The files of a guest", advice)
        network = self._networks.get(owner.network, _NOTHING).size + elsewhere.network
        yield _Quota(network, limits.files_per_address, "The files from your address", "/cancel one first.")
        if guest:
            advice = "/register your name, or try again later."
            yield _Quota(self._guests + elsewhere.guests, limits.files_of_guests, "The files of all guests", advice)
        yield _Quota(self._all + elsewhere.all, limits.files, "All files here", "Try again later.")

    def _add_locked(self, owner: Owner, size: int, incomplete: int, *, guest: bool) -> None:
        user = self._users.setdefault(owner.user, _Taken(guest=guest))
        _change(self._users, owner.user, size, incomplete)
        if owner.network:
            self._networks.setdefault(owner.network, _Taken())
            _change(self._networks, owner.network, size, incomplete)
        self._all += size
        if user.guest:
            self._guests += size


_NOTHING = _Taken()


def _change(taken: dict[str, _Taken], key: str, size: int, incomplete: int) -> None:
    """Change an entry, and drop it if it is empty: who has no files takes no memory."""
    entry = taken[key]
    entry.size += size
    entry.incomplete += incomplete
    if not entry.size and not entry.incomplete:
        del taken[key]
