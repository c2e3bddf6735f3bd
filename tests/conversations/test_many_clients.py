"""Hundreds of clients that join, talk, leave and lose the line at random, checked against a plain list at the end."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

import pytest

from channels import locks
from server import Server
from tests.support.clients import Bulk, Gone, Json
from tests.support.fixtures import StartProcess
from tests.support.waiting import DEADLINE
from wire.frames import (
    Entry,
    Error,
    Frame,
    Gap,
    History,
    Join,
    Joined,
    Leave,
    Left,
    Page,
    Ping,
    Pong,
    Request,
    Say,
    Stored,
)

CLIENTS = 200
_CHANNELS = ("lab", "hall", "attic")
_STEPS = 15


class Wanderer:
    """One client: what it had as a member, span by span, and what it was told is stored."""

    def __init__(self, address: str, at: int) -> None:
        self.name = f"user{at}"
        self.spans: list[tuple[str, int, list[int], int]] = []  # channel, joined after, numbers had, left not before
        self.stored: dict[str, tuple[str, int]] = {}  # text: channel and number
        self.failure: BaseException | None = None
        self._random = random.Random(at)
        self._address = address
        self._line: Bulk | None = None
        self._token = ""
        self._in: dict[str, tuple[int, list[int]]] = {}  # by channel: joined after, numbers had
        self._joining = ""  # the channel that was joined last
        self._said = 0
        self._refs = 0

    def run(self) -> None:
        """All steps; the thread's target."""
        try:
            self._connect()
            for _ in range(_STEPS):
                self._random.choice([self._join, self._say, self._say, self._say, self._leave, self._drop])()
            for channel in list(self._in):
                self._finish(channel)
        except BaseException as error:
            self.failure = error
        finally:
            if self._line is not None:
                self._line.close()

    def _connect(self) -> None:
        since = {channel: (had[-1] if had else after) for channel, (after, had) in self._in.items()}
        hello = {"since": since, **({"token": self._token} if self._token else {})}
        self._line = Bulk(self._address, self.name, **hello)
        self._token = self._line.welcome.token

    def _ask(self, request: Request) -> Frame:
        """The answer; entries that come before it are had."""
        assert self._line is not None
        self._refs += 1
        request.ref = self._refs
        self._line.send(request)
        answer: Frame | None = None
        while answer is None:
            frames = self._line.take(DEADLINE)
            assert frames, f"no answer to {request}"
            for frame in frames:
                if getattr(frame, "ref", None) == self._refs:
                    answer = frame
                    if isinstance(frame, Joined):
                        self._in.setdefault(frame.channel, (frame.tail, []))
                    if isinstance(frame, Left):
                        after, had = self._in.pop(frame.channel)
                        self.spans.append((frame.channel, after, had, had[-1] if had else after))
                elif isinstance(frame, Entry):
                    self._had(frame)
                assert not isinstance(frame, Error | Gap), frame
        return answer

    def _had(self, entry: Entry) -> None:
        assert entry.channel is not None
        known = self._in.get(entry.channel)
        if known is None or (not known[1] and entry.number <= known[0]):
            # `joined` tells the tail at its moment: what was said since the membership began comes before or after it.
            assert known or entry.channel == self._joining, f"{self.name} is not in {entry.channel} and gets {entry}"
            self._in[entry.channel] = (entry.number - 1, [entry.number])
            return
        after, had = known
        last = had[-1] if had else after
        assert entry.number == last + 1, f"{self.name}: {entry} after {last}"
        had.append(entry.number)

    def _join(self) -> None:
        self._joining = self._random.choice(_CHANNELS)
        self._ask(Join(self._joining))

    def _leave(self) -> None:
        if self._in:
            self._ask(Leave(self._random.choice(list(self._in))))

    def _say(self) -> None:
        if not self._in:
            return
        channel = self._random.choice(list(self._in))
        self._said += 1
        text = f"{self.name} says {self._said}"
        stored = self._ask(Say(text, channel, id=f"{self._said}"))
        assert isinstance(stored, Stored)
        self.stored[text] = (channel, stored.number)

    def _drop(self) -> None:
        assert self._line is not None
        self._line.close()
        self._connect()

    def _finish(self, channel: str) -> None:
        """Be there up to one's own last word, then leave."""
        stored = self._ask(Say(f"{self.name} leaves {channel}", channel))
        assert isinstance(stored, Stored)
        self.stored[f"{self.name} leaves {channel}"] = (channel, stored.number)
        while (self._in[channel][1] or [0])[-1] < stored.number:
            self._ask(Ping())
        self._ask(Leave(channel))


def _log(address: str, channel: str) -> list[Entry]:
    entries: list[Entry] = []
    with Bulk(address, f"auditor-{channel}") as line:
        while True:
            line.send(History(channel=channel, after=len(entries), limit=1_000, ref="page"))
            page = next(frame for frames in iter(line.take, None) for frame in frames if isinstance(frame, Page))
            if not page.entries:
                return entries
            entries += page.entries


def test_hundreds_who_come_and_go(start_process: StartProcess) -> None:
    process = start_process()
    wanderers = [Wanderer(process.address, at) for at in range(CLIENTS)]
    threads = [threading.Thread(target=one.run, name=one.name, daemon=True) for one in wanderers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive(), f"{thread.name} hangs"
    failures = [one.failure for one in wanderers if one.failure is not None]
    assert not failures, (len(failures), failures[:3], process.log[-2_000:])
    for channel in _CHANNELS:
        log = _log(process.address, channel)
        assert [entry.number for entry in log] == list(range(1, len(log) + 1))
        acknowledged = {
            number: text for one in wanderers for text, (where, number) in one.stored.items() if where == channel
        }
        assert {entry.number: entry.text for entry in log} == acknowledged, "the log is all that was acknowledged"
        spans = [span for one in wanderers for span in one.spans if span[0] == channel]
        assert len(spans) > CLIENTS / 4
        for _, after, had, last in spans:
            assert had == list(range(after + 1, last + 1)), "a member has the log's entries, in order, none left out"
    assert process.stop() == 0
    assert "Traceback" not in process.log, process.log


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], object]]:
    """Makes leaves that are checked, as they all are in the tests."""
    monkeypatch.setattr(locks, "CHECKED", True)
    yield locks.leaf
    locks.nothing_held("end the test")


def test_a_leaf_taken_under_another_is_an_error(checked: Callable[[], object]) -> None:
    one, other = locks.leaf(), locks.leaf()
    with one:
        with pytest.raises(AssertionError, match="about to take a lock while holding a lock"), other:
            pass
        with pytest.raises(AssertionError, match="while holding a lock"), one:
            pass
        with pytest.raises(AssertionError, match="about to call the store while holding a lock"):
            locks.nothing_held("call the store")
    with other, pytest.raises(AssertionError):
        locks.nothing_held("send")
    with one:
        pass


def test_a_leaf_keeps_others_out_and_is_free_after_an_error(checked: Callable[[], object]) -> None:
    lock = locks.leaf()
    count = 0

    def add() -> None:
        nonlocal count
        for _ in range(2_000):
            with lock:
                seen = count
                count = seen + 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 8_000
    with pytest.raises(ValueError, match="inside"), lock:
        raise ValueError("inside")
    with lock:
        pass


def test_the_locks_of_the_tests_are_checked(server: Server) -> None:
    assert locks.CHECKED, "tests/conftest.py sets PARTYLINE_CHECK_LOCKS before channels is imported"
    assert not isinstance(locks.leaf(), type(threading.Lock()))
    with Json(server.address, "alice") as alice:
        assert isinstance(alice.request(Ping()), Pong)


def test_a_broken_rule_in_the_server_is_noticed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store call under a lock ends that connection with the assertion in the log, so no test passes by it."""
    chat = server.chat
    original, lock = chat.known_channel, locks.leaf()

    def under_a_lock(name: str) -> object:
        with lock:
            return chat.store.channels() and original(name)

    monkeypatch.setattr(chat, "known_channel", under_a_lock)
    with Json(server.address, "alice") as alice:
        alice.request(Join("lab"))
        alice.send(Say("x", "lab", ref="never"))
        with pytest.raises((AssertionError, Gone)):
            alice.expect(Stored)
