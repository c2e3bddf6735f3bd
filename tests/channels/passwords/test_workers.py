"""The workers that have passwords hashed: few at once, in turn, with a bound, and each with its own process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from channels.passwords import PasswordWorkers, hashing
from channels.passwords import workers as module
from channels.passwords.hash_process import HashProcess
from tests.support.waiting import DEADLINE, eventually
from wire.errors import Refused


class Desk:
    """One worker that is held up by its first work until `go` is set; `done` has what it has done since."""

    def __init__(self, most: int = 100) -> None:
        self.workers = PasswordWorkers(most, count=1)
        self.go = threading.Event()
        self.done: list[str] = []
        busy = threading.Event()

        def hold(_: HashProcess) -> None:
            busy.set()
            assert self.go.wait(DEADLINE)

        self.first = self.workers.submit("first", hold)
        assert busy.wait(DEADLINE)

    def submit(self, source: str, what: str) -> Future[None]:
        return self.workers.submit(source, lambda _: self.done.append(what))

    def finish(self) -> None:
        """Let the worker do everything."""
        last = self.workers.submit("last", lambda _: None)
        self.go.set()
        last.result(DEADLINE)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.go.set()
    made.workers.close()


def test_the_sources_take_turns(desk: Desk) -> None:
    """Forty works of one source do not hold up the single one of another."""
    futures = [desk.submit("crowd", f"crowd {n}") for n in range(40)]
    futures += [desk.submit("alice", f"alice {n}") for n in range(2)]
    desk.finish()
    for future in futures:
        future.result(DEADLINE)
    assert desk.done[:4] == ["crowd 0", "alice 0", "crowd 1", "alice 1"]
    assert desk.done[4:] == [f"crowd {n}" for n in range(2, 40)]


def test_what_does_not_fit_is_refused() -> None:
    desk = Desk(most=4)
    futures = [desk.submit("crowd", f"{n}") for n in range(4)]
    with pytest.raises(Refused, match="The server has too many passwords to check") as refused:
        desk.submit("crowd", "4")
    assert refused.value.code == "busy"
    alice = [desk.submit("alice", f"alice {n}") for n in range(2)]
    with pytest.raises(Refused):
        desk.submit("alice", "alice 2")
    desk.go.set()
    for future in (*futures[:2], *alice):
        future.result(DEADLINE)
    for future in futures[2:]:
        with pytest.raises(Refused, match="too many passwords"):
            future.result(DEADLINE)
    desk.workers.close()


def test_never_more_at_once_than_threads() -> None:
    workers = PasswordWorkers(1_000, count=2)
    lock, now, most = threading.Lock(), 0, 0

    def work(_: HashProcess) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        os.sched_yield()
        with lock:
            now -= 1

    for future in [workers.submit(f"{n % 7}", work) for n in range(500)]:
        future.result(DEADLINE)
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("password-")]
    workers.close()
    assert most <= 2
    assert len(names) <= 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("password-")]


def test_an_error_is_that_of_the_work(desk: Desk) -> None:
    def fail(_: HashProcess) -> None:
        raise ZeroDivisionError

    future = desk.workers.submit("alice", fail)
    desk.finish()
    with pytest.raises(ZeroDivisionError):
        future.result(DEADLINE)


def test_what_waits_at_the_end_is_refused() -> None:
    desk = Desk()
    waiting = [desk.submit("alice", f"{n}") for n in range(3)]
    closing = threading.Thread(target=desk.workers.close)
    closing.start()
    for future in waiting:
        with pytest.raises(Refused):
            future.result(DEADLINE)
    desk.go.set()
    closing.join(DEADLINE)
    assert not closing.is_alive()
    assert desk.done == []
    with pytest.raises(Refused):
        desk.submit("alice", "late")


class Counted(HashProcess):
    """Has a process, as it says, from its first hash on."""

    def __init__(self) -> None:
        super().__init__()
        self._held = False
        self.rests: list[bool] = []  # whether it had one

    @property
    def holds(self) -> bool:
        return self._held

    def fits(self, password: str, kept: str) -> bool:
        self._held = True
        return super().fits(password, kept)

    def rest(self) -> None:
        self.rests.append(self._held)
        self._held = False


def test_a_worker_without_work_gives_back_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REST_AFTER", 0.01)
    counted = Counted()
    workers = PasswordWorkers(10, count=1, process=lambda: counted)
    kept = hashing.make_hash("correct-horse")
    for times in range(1, 3):
        assert workers.submit("alice", lambda each: each.fits("correct-horse", kept)).result(DEADLINE)
        eventually(lambda most=times: len(counted.rests) == most, lambda: f"{counted.rests}")  # type: ignore[misc]
    workers.close()
    assert counted.rests == [True, True, False], "it waits without a time limit when it holds nothing"


def test_the_end_gives_back_the_processes() -> None:
    made = [Counted(), Counted()]
    left = list(made)
    workers = PasswordWorkers(100, count=2, process=left.pop)
    kept = hashing.make_hash("correct-horse")
    together = threading.Barrier(2)

    def work(each: HashProcess) -> bool:
        together.wait(DEADLINE)
        return each.fits("correct-horse", kept)

    for future in [workers.submit("alice", work) for _ in made]:
        assert future.result(DEADLINE)
    workers.close()
    assert [each.rests for each in made] == [[True], [True]]
