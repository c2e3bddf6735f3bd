"""A look at a process from outside: its memory, threads and descriptors."""

from __future__ import annotations

from pathlib import Path

from tests.support.clients import Json
from tests.support.processes.server import Process
from tests.support.waiting import eventually
from wire.frames import Entry, Join, Say


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    return _status(pid, "VmRSS") * 1024


def peak_memory(pid: int) -> int:
    """The most resident bytes that a process ever had."""
    return _status(pid, "VmHWM") * 1024


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def descriptors(pid: int) -> int:
    """Return how many files and sockets a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def returns_to(pid: int, before: tuple[int, int]) -> None:
    """Wait until a process has at most that many threads and descriptors."""
    eventually(
        lambda: threads(pid) <= before[0] and descriptors(pid) <= before[1],
        lambda: f"threads and descriptors: {before} before, {(threads(pid), descriptors(pid))} now",
    )


def written(pid: int) -> int:
    """Return how many bytes a process has written to files and sockets so far."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


def _status(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def counts(process: Process) -> tuple[int, int]:
    """Threads and descriptors of a server to which nobody is connected."""
    return threads(process.pid), descriptors(process.pid)


def serves(process: Process, name: str = "honest") -> None:
    """Somebody honest is served, and no mistake of the server's own is in its log."""
    with Json(process.address, name) as line:
        line.request(Join("lab"))
        number = line.request(Say("still here", "lab")).number
        assert line.expect(Entry, lambda entry: entry.number == number).text == "still here"
    assert "Traceback" not in process.log, process.log
