"""The contract as a state machine: Hypothesis drives a store beside plain lists, and the two must agree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from store import LogRow
from tests.support.examples import examples
from tests.support.stores import PLACES, posting
from wire.frames import Entry
from wire.names import fold

NAMES = st.sampled_from(["ann", "Ann", "ANN", "bob", "BOB", "cy"])
CHANNELS = st.sampled_from(["lab", "Lab", "den", "7"])
POSTS = st.lists(
    st.tuples(st.sampled_from(["", "a", "b\n", "é"]), st.none() | st.sampled_from(["x", "y", "/d/1"])), max_size=6
)
LOG = st.integers(0, 20)  # picks one of the existing logs
Batchful = st.lists(st.tuples(LOG, NAMES, POSTS), max_size=4)


class Model:
    """One log as plain lists."""

    def __init__(self, row: LogRow) -> None:
        self.row = row
        self.entries: list[Entry] = []
        self.topic = ""
        self.cursors: dict[str, int] = {}  # by user key, in the order of joining


class StoreMachine(RuleBasedStateMachine):
    """`kind` is the database."""

    kind = "sqlite"

    @initialize()
    def open(self) -> None:
        """Start with an empty store and an empty model."""
        self.place = PLACES[self.kind]()
        self.store = self.place.open()
        self.logs: dict[int, Model] = {}
        self.ids: dict[tuple[str, str, int], int] = {}
        self.accounts: dict[str, list[Any]] = {}  # name, password, seen
        self.joined: list[tuple[str, int]] = []  # user key and log id, in the order of joining
        self.seq = 0
        self.now = 0

    def teardown(self) -> None:
        """Remove the store."""
        if hasattr(self, "store"):
            self.place.clear()

    @rule()
    def reopen(self) -> None:
        """Close it and open it again."""
        self.store = self.place.open()

    # Names

    def account(self, name: str) -> str:
        """Return the first spelling of a name."""
        return str(self.accounts.setdefault(fold(name), [name, None, 0])[0])

    @rule(name=NAMES)
    def open_account(self, name: str) -> None:
        """An account keeps the first spelling."""
        assert self.store.open_account(name).name == self.account(name)

    @rule(name=NAMES, password=st.sampled_from(["p", "q"]), now=st.integers(1, 99))
    def change_account(self, name: str, password: str, now: int) -> None:
        """A change of an account that does not exist changes nothing."""
        self.store.set_password(name, password)
        self.store.move({}, {fold(name): now})
        if fold(name) in self.accounts:
            self.accounts[fold(name)][1:] = [password, now]

    @rule(name=CHANNELS)
    def open_channel(self, name: str) -> None:
        """A channel is the same in any spelling."""
        row = self.store.open_channel(name)
        known = self.logs.setdefault(row.id, Model(row))
        assert (row.kind, row.key, row.name) == ("channel", fold(name), known.row.name)
        self.check_row(row)

    @rule(one=NAMES, other=NAMES)
    def open_private_log(self, one: str, other: str) -> None:
        """Two users have one private log, with both as members."""
        row = self.store.open_private_log(one, other)
        log = self.logs.setdefault(row.id, Model(row))
        names = sorted((self.account(one), self.account(other)), key=fold)
        assert (row.kind, [row.name, row.other]) == ("direct", names)
        for key in sorted({fold(one), fold(other)}):
            self.note_join(log, key, 0)
        self.check_row(row)

    def check_row(self, row: LogRow) -> None:
        """A row has the log's present tail and topic."""
        log = self.logs[row.id]
        assert (row.tail, row.topic) == (len(log.entries), log.topic)

    # Entries

    def pick(self, at: int) -> Model:
        """Return one of the existing logs."""
        return list(self.logs.values())[at % len(self.logs)]

    @precondition(lambda self: self.logs)
    @rule(batch=Batchful)
    def append(self, batch: list[tuple[int, str, list[tuple[str, str | None]]]]) -> None:
        """Append posts of several senders to several logs, some with ids that are stored already or occur twice."""
        self.now += 1
        postings = [posting(self.pick(at).row, self.sender(self.pick(at), name), *posts) for at, name, posts in batch]
        tails = {log.row.id: len(log.entries) for log in self.logs.values()}
        numbers: list[list[int]] = []
        for one in postings:
            log = self.logs[one.log.id]
            numbers.append([self.note_post(log, one.sender, post.text, post.id) for post in one.posts])
        appended = self.store.append(postings, self.now)
        assert [list(row) for row in appended.numbers] == numbers
        fresh = {id: log.entries[tails[id] :] for id, log in self.logs.items() if len(log.entries) > tails[id]}
        assert {batch.log.id: batch.entries for batch in appended.batches} == fresh
        assert len(appended.batches) == len(fresh)
        for one_batch in appended.batches:
            first = one_batch.seq - len(one_batch.entries)
            assert first == self.seq if self.place.counts else first >= self.seq
            self.seq = one_batch.seq
            assert (one_batch.first, one_batch.last) == (one_batch.entries[0].number, one_batch.entries[-1].number)

    def sender(self, log: Model, name: str) -> str:
        """Return the sender's name: in a private log, that of one of its two users."""
        if log.row.is_channel:
            return name
        return log.row.name if fold(name) < "b" else log.row.other

    def note_post(self, log: Model, sender: str, text: str, id: str | None) -> int:
        """Add a post to the model, unless its id is known; return the number that it has to get."""
        if id is not None and (fold(sender), id, log.row.id) in self.ids:
            return self.ids[fold(sender), id, log.row.id]
        number = len(log.entries) + 1
        channel = log.row.name if log.row.is_channel else None
        other = log.row.other if sender == log.row.name else log.row.name
        shown = None if id == "/d/1" else id
        log.entries.append(Entry(number, self.now, sender, text, channel, None if channel else other, shown))
        if id is not None:
            self.ids[fold(sender), id, log.row.id] = number
        return number

    @precondition(lambda self: self.logs)
    @rule(at=LOG, after=st.integers(0, 40), limit=st.integers(0, 40))
    def read(self, at: int, after: int, limit: int) -> None:
        """A page is a slice of the list."""
        log = self.pick(at)
        assert self.store.read(log.row, after, limit) == log.entries[after : after + limit]
        below = log.entries[: max(0, after - 1)]
        assert self.store.read_back(log.row, after, limit) == below[max(0, len(below) - limit) :]

    # Members

    def note_join(self, log: Model, key: str, cursor: int) -> None:
        """Add a member to the model; a member keeps the cursor."""
        if key not in log.cursors:
            log.cursors[key] = cursor
            self.joined.append((key, log.row.id))

    @precondition(lambda self: self.logs)
    @rule(at=LOG, name=NAMES)
    def join(self, at: int, name: str) -> None:
        """A new member's cursor is at the tail."""
        log = self.pick(at)
        self.store.open_account(name)
        self.account(name)
        if log.row.is_channel:
            new = fold(name) not in log.cursors
            self.note_join(log, fold(name), len(log.entries))
            assert self.store.join(log.row, name) == (log.cursors[fold(name)], new)

    @precondition(lambda self: self.logs)
    @rule(at=LOG, name=NAMES)
    def leave(self, at: int, name: str) -> None:
        """A user who is not a member may leave, too."""
        log = self.pick(at)
        if log.row.is_channel:
            left = log.cursors.pop(fold(name), None) is not None
            assert self.store.leave(log.row, name) is left
            if left:
                self.joined.remove((fold(name), log.row.id))

    @precondition(lambda self: self.logs)
    @rule(moves=st.lists(st.tuples(LOG, NAMES, st.integers(0, 30)), max_size=4))
    def move(self, moves: list[tuple[int, str, int]]) -> None:
        """A cursor moves forwards only."""
        wanted = {(self.pick(at).row.id, fold(name)): number for at, name, number in moves}
        self.store.move(wanted, {})
        for (id, key), number in wanted.items():
            cursors = self.logs[id].cursors
            if key in cursors:
                cursors[key] = max(cursors[key], number)

    @precondition(lambda self: self.logs)
    @rule(at=LOG, topic=st.sampled_from(["", "t"]))
    def set_topic(self, at: int, topic: str) -> None:
        """Set a channel's topic."""
        log = self.pick(at)
        if log.row.is_channel:
            self.store.set_topic(log.row, topic)
            log.topic = topic

    # Compared after each step

    @invariant()
    def accounts_agree(self) -> None:
        """Names, passwords, last seen."""
        for key in ("ann", "bob", "cy"):
            found = self.store.account(key)
            assert (None if found is None else [found.name, found.password, found.seen]) == self.accounts.get(key)

    @invariant()
    def members_agree(self) -> None:
        """Memberships, their order, cursors and counts."""
        for key in ("ann", "bob", "cy"):
            mine = [(self.logs[id], self.logs[id].cursors[key]) for user, id in self.joined if user == key]
            wanted = [
                (log.row.id, cursor) for log, cursor in mine
                if log.row.is_channel or len(log.entries) > cursor
            ]  # fmt: skip
            found = self.store.memberships(key)
            assert [(membership.log.id, membership.cursor) for membership in found] == wanted
            for membership in found:
                self.check_row(membership.log)
        for log in self.logs.values():
            assert [account.key for account in self.store.members(log.row)] == sorted(log.cursors)
            assert {key: self.store.cursor(log.row, key) for key in log.cursors} == log.cursors
        counts = {id: len(log.cursors) for id, log in self.logs.items() if log.row.is_channel and log.cursors}
        assert self.store.member_counts() == counts

    @invariant()
    def logs_agree(self) -> None:
        """Every channel, and every entry of every log."""
        channels = {row.id: row for row in self.store.channels()}
        assert set(channels) == {id for id, log in self.logs.items() if log.row.is_channel}
        for row in channels.values():
            self.check_row(row)
        for log in self.logs.values():
            assert self.store.read(log.row, 0, 10**6) == log.entries


@pytest.mark.parametrize("kind", PLACES)
def test_a_store_is_like_plain_lists(kind: str) -> None:
    """After any calls in any order."""
    machine = type(f"{kind}Machine", (StoreMachine,), {"kind": kind})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples(0.3 if kind == "sqlite" else 0.1), stateful_step_count=30)
    )
