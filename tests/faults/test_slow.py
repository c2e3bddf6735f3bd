"""Clients that stop reading: the others do not notice, the server's memory stays small, and who reads again goes on.

What is compared is the same run without the stopped client, by a generous factor: this machine may be busy.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clients import Bulk, Gone
from tests.support.fixtures import StartProcess
from tests.support.processes import Process, memory, peak_memory
from tests.support.waiting import DEADLINE
from wire.frames import Closing, Entry, Error, Frame, Gap, History, Join, Msg, Page, Ping, Pong, Request, Say, Stored

_MESSAGES = 50_000
_BATCH = 250
_TEXT = "x" * 90
_MIB = 1 << 20


class Listener(threading.Thread):
    """Reads all along: its entries' numbers, and how long each batch's last one took from its sending."""

    def __init__(self, process: Process, name: str, sent: dict[int, float]) -> None:
        super().__init__(name=name)
        self.line = _member(process, name)
        self.numbers: list[int] = []
        self.latencies: list[float] = []
        self.odd: list[Frame] = []
        self._sent = sent

    def run(self) -> None:
        while len(self.numbers) < _MESSAGES and (frames := self.line.take()):
            for frame in frames:
                if not isinstance(frame, Entry):
                    self.odd.append(frame)
                    continue
                self.numbers.append(frame.number)
                if (sent := self._sent.get(frame.number)) is not None:
                    self.latencies.append(time.monotonic() - sent)
        self.line.close()


def _member(process: Process, name: str) -> Bulk:
    line = Bulk(process.address, name)
    _ask(line, Join("lab"))
    return line


def _ask(line: Bulk, request: Request) -> Frame:
    """The answer to a request, whatever comes before it."""
    request.ref = "asked"
    line.send(request)
    while frames := line.take():
        for frame in frames:
            if getattr(frame, "ref", None) == "asked":
                return frame
    raise AssertionError(f"no answer to {request}")


def _flood(process: Process, stopped: bool) -> tuple[Bulk, float]:
    """50,000 messages to three who read and perhaps one who does not; that one, and the readers' median latency."""
    still = _member(process, "still")
    sent: dict[int, float] = {}
    listeners = [Listener(process, f"listener{n}", sent) for n in range(3)]
    if not stopped:
        still.close()
    with _member(process, "sender") as sender:
        for listener in listeners:
            listener.start()
        for last in range(_BATCH, _MESSAGES + 1, _BATCH):
            sent[last] = time.monotonic()
            posts = [Say(f"{n} {_TEXT}", "lab") for n in range(last - _BATCH + 1, last)]
            sender.send(*posts)
            stored = _ask(sender, Say(f"{last} {_TEXT}", "lab"))
            assert isinstance(stored, Stored)
            assert stored.number == last
        for listener in listeners:
            listener.join(DEADLINE)
            assert listener.numbers == list(range(1, _MESSAGES + 1)), f"{listener.name}: {listener.odd[:3]}"
    latencies = [latency for listener in listeners for latency in listener.latencies]
    assert len(latencies) == 3 * _MESSAGES // _BATCH
    return still, statistics.median(latencies)


def _read_on(line: Bulk, last: int) -> tuple[list[int], list[Gap]]:
    """All that still comes, up to that number."""
    numbers: list[int] = []
    gaps: list[Gap] = []
    while not numbers or numbers[-1] < last:
        frames = line.take()
        assert frames, f"read up to {numbers[-1:]} of {last}"
        for frame in frames:
            if isinstance(frame, Gap):
                assert frame.first == (numbers[-1] if numbers else 0) + 1
                gaps.append(frame)
                numbers += range(frame.first, frame.last + 1)
            elif isinstance(frame, Entry):
                numbers.append(frame.number)
    line.close()
    return numbers, gaps


@pytest.mark.parametrize("lag", [None, 1_000], ids=["default-limits", "small-lag"])
def test_one_who_stops_reading_is_none_of_the_others_business(
    start_process: StartProcess, tmp_path: Path, lag: int | None
) -> None:
    config = tmp_path / "partyline.yaml"
    config.write_text(f"limits:\n  lag: {lag}\n  missed: 200\n" if lag else "{}\n")
    without = start_process("--config", str(config), folder=tmp_path / "without")
    _, median_without = _flood(without, stopped=False)
    peak_without = peak_memory(without.pid)
    without.kill()
    process = start_process("--config", str(config))
    still, median = _flood(process, stopped=True)
    peak = peak_memory(process.pid)
    print(f"{median * 1e3:.1f} ms, without {median_without * 1e3:.1f} ms; peak {peak >> 20}, {peak_without >> 20} MiB")
    assert median < 5 * median_without + 1.0, "the others waited for the one who does not read"
    assert peak < peak_without + 32 * _MIB
    numbers, gaps = _read_on(still, _MESSAGES)
    assert numbers == list(range(1, _MESSAGES + 1)), "in order, and each number once, as itself or in a gap"
    assert bool(gaps) == (lag is not None)
    assert "Traceback" not in process.log


def _never_reads(process: Process, name: str, make: Callable[[int], Request], count: int) -> int:
    """Send requests and read nothing; return by how much the server has grown when it stops reading."""
    before = memory(process.pid)
    with _member(process, name) as line:
        line.socket.settimeout(1.0)  # no more is taken
        sent = 0
        try:
            while sent < count:
                requests = [make(n) for n in range(sent, sent + 100)]
                line.send(*requests)
                sent += 100
        except Gone:
            pass
        with _member(process, f"{name}-other") as other:
            assert isinstance(_ask(other, Ping()), Pong), "the others are served"
        return peak_memory(process.pid) - before


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda n: History(channel="lab", limit=100), 20_000),
        (lambda n: Say("x", "lab", ref=f"{n:060}"), 400_000),
        (lambda n: Say("x", "nowhere", ref=n), 400_000),
        (lambda n: Msg("nobody", "x", ref=n), 100_000),
        (lambda n: Ping(bytes=50_000, payload=b"x" * 50_000), 2_000),
    ],
    ids=["history", "receipts", "refusals", "private", "pings"],
)
def test_one_who_asks_and_never_reads_costs_little(
    start_process: StartProcess, tmp_path: Path, make: Callable[[int], Request], count: int
) -> None:
    """Bytes that wait for one peer are bounded; at the bound the server stops reading its requests."""
    config = tmp_path / "partyline.yaml"
    config.write_text("limits: {cache: 1000000}\n")  # so that what is kept of the posts does not hide the rest
    process = start_process("--config", str(config))
    with _member(process, "filler") as filler:
        filler.send(*[Say(_TEXT, "lab") for _ in range(1_000)])
        assert isinstance(_ask(filler, History(channel="lab")), Page)
    grown = _never_reads(process, "greedy", make, count)
    print(f"grew by {grown / _MIB:.1f} MiB")
    assert grown < 48 * _MIB
    assert "Traceback" not in process.log


def test_one_who_read_nothing_for_a_while_gets_all_answers(start_process: StartProcess) -> None:
    process = start_process()
    with _member(process, "slow") as line:
        line.send(*[Say(_TEXT, "lab") for _ in range(1_000)])
        requests = threading.Thread(
            target=lambda: line.send(*[History(channel="lab", after=0, limit=200, ref=n) for n in range(300)])
        )
        requests.start()
        with _member(process, "other") as other:
            assert isinstance(_ask(other, Ping()), Pong)
        refs: list[object] = []
        while len(refs) < 300:
            for frame in line.take():
                assert not isinstance(frame, Error | Closing), frame
                if isinstance(frame, Page):
                    assert len(frame.entries) == 200
                    refs.append(frame.ref)
        requests.join()
        assert refs == list(range(300))


def test_what_is_kept_in_memory_is_as_much_as_the_limit_says(start_process: StartProcess, tmp_path: Path) -> None:
    """An entry takes more than its text: many short ones, too, stay about within `cache`."""
    config = tmp_path / "partyline.yaml"
    config.write_text("limits: {cache: 8000000}\n")
    process = start_process("--config", str(config))
    with _member(process, "sender") as sender:
        _ask(sender, Say("x", "lab"))
        before = memory(process.pid)
        for _ in range(60):
            sender.send(*[Say("x", "lab") for _ in range(4_999)])
            assert isinstance(_ask(sender, Say("x", "lab")), Stored)
        grown = memory(process.pid) - before
    print(f"grew by {grown / _MIB:.1f} MiB")
    assert grown < 4 * 8 * _MIB
