"""Two servers get the same guest's name, or the same post, at the same moment: one of them has it, and nobody hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.clients import Json
from tests.support.load import read_all
from tests.support.long_runs import times
from tests.support.postgres import shared_cluster
from tests.support.processes import Process
from tests.support.waiting import DEADLINE, ended
from wire.frames import Answer, Error, Hello, Join, Register, Say, Stored, Welcome

RACES = times("CAMPAIGN_RACES", 20)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[Process]]:
    """Two servers on one database; killed afterwards."""
    cluster = shared_cluster()
    name = cluster.new_database()
    made = [Process(tmp_path / f"server{at}", "--database", cluster.socket_url(name)) for at in range(2)]
    yield made
    for process in made:
        process.kill()
    cluster.drop_database(name)


class Race:
    """Two clients, one at each server, that do something at the same moment, again and again. Each has its answers."""

    def __init__(self, processes: list[Process], run: Callable[[str, int], Answer | Error]) -> None:
        """`run` is called with the address of each server and the number of the turn, for both at once."""
        self.answers: list[list[Answer | Error]] = [[], []]
        self.failures: list[BaseException] = []
        self._addresses = [process.address for process in processes]
        self._run = run
        self._gate = threading.Barrier(2)

    def hold(self) -> None:
        """Return when both have had all turns."""
        threads = [threading.Thread(target=self._work, args=(at,), daemon=True) for at in range(2)]
        for thread in threads:
            thread.start()
        ended(threads, lambda: [len(answers) for answers in self.answers])
        assert not self.failures, self.failures

    def _work(self, at: int) -> None:
        try:
            for turn in range(RACES):
                self._gate.wait(DEADLINE)
                self.answers[at].append(self._run(self._addresses[at], turn))
        except BaseException as error:
            self.failures.append(error)
            self._gate.abort()


def test_a_guests_name_is_one_servers(processes: list[Process]) -> None:
    open_lines: list[Json] = []

    def log_in(address: str, turn: int) -> Answer | Error:
        line = Json(address)
        open_lines.append(line)  # until the end, so that the name stays taken
        answer: Answer | Error = line.request(Hello(name=f"guest{turn}"))
        return answer

    race = Race(processes, log_in)
    race.hold()
    wins = [0, 0]
    for turn, pair in enumerate(zip(*race.answers, strict=True)):
        kinds = sorted(type(each).__name__ for each in pair)
        assert kinds == ["Error", "Welcome"], (turn, pair)
        assert {each.code for each in pair if isinstance(each, Error)} == {"name-taken"}
        wins[isinstance(pair[1], Welcome)] += 1
    print(f"{RACES} names, won {wins[0]} and {wins[1]} times")
    for line in open_lines:
        line.close()
    for process in processes:
        assert "Traceback" not in process.log, process.log


def test_a_post_with_an_id_is_stored_once(processes: list[Process]) -> None:
    with Json(processes[0].address, "alice") as alice:
        alice.request(Register("correct-horse"))
    lines: dict[str, Json] = {}
    for process in processes:
        lines[process.address] = Json(process.address, "alice", password="correct-horse")
        lines[process.address].request(Join("lab"))

    def post(address: str, turn: int) -> Answer | Error:
        answer: Answer | Error = lines[address].request(Say(f"post {turn}", "lab", f"id{turn}"))
        return answer

    race = Race(processes, post)
    race.hold()
    for turn, (one, other) in enumerate(zip(*race.answers, strict=True)):
        assert isinstance(one, Stored)
        assert isinstance(other, Stored)
        assert one.number == other.number, turn
    for process in processes:
        log = read_all(process.address, RACES)
        assert sorted(entry.text for entry in log) == sorted(f"post {turn}" for turn in range(RACES))
    for line in lines.values():
        line.close()
    for process in processes:
        assert "Traceback" not in process.log, process.log
