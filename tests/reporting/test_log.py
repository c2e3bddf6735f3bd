"""The log: it writes what is reported, counts repeats, and its thread ends."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from reporting import LogLevel, LogOptions, OperatorLog, events, open_log, repeats, report
from tests.support.waiting import eventually


@contextmanager
def opened(lines: int = 0, level: LogLevel = "info") -> Iterator[tuple[OperatorLog, io.StringIO]]:
    """A log and its stream."""
    stream = io.StringIO()
    with closing(open_log(LogOptions("text", level, lines), lambda address: address[:4], stream)) as log:
        yield log, stream


def _refusal(address: str) -> events.RefusedConnection:
    return events.RefusedConnection(address, "server-full")


def test_it_writes_from_its_level_on() -> None:
    with opened(level="warning") as (_, stream):
        report(events.Stopped())
        report(_refusal("10.0.0.5"))
    assert stream.getvalue().endswith(
        " WARNING refused-connection: A connection was refused. address=10.0.0.5 reason=server-full\n"
    )
    assert stream.getvalue().count("\n") == 1


def test_a_library_is_heard_from_warnings_on() -> None:
    with opened(level="debug") as (_, stream):
        logging.getLogger("sqlalchemy.engine").info("SELECT 1")
        logging.getLogger("asyncio").warning("slow")
    assert stream.getvalue().endswith(" WARNING message: A library reports something. library=asyncio text=slow\n")
    assert stream.getvalue().count("\n") == 1


def test_a_flood_from_one_source_is_counted() -> None:
    """The addresses of one source count together, and what is left at the end is not lost."""
    with opened(lines=2) as (_, stream):
        for last in range(10):
            report(_refusal(f"10.0.0.{last}"))
        report(_refusal("10.9.0.1"))
        report(_refusal("99.9.0.1"))
        report(events.Stopped())
    lines = [line.split(": ", 1)[1] for line in stream.getvalue().splitlines()]
    assert [line.rpartition("address=")[2] for line in lines] == [
        "10.0.0.0 reason=server-full", "10.0.0.1 reason=server-full", "10.9.0.1 reason=server-full",
        "99.9.0.1 reason=server-full", "The server has stopped.", "10.0 of=refused-connection count=8",
    ]  # fmt: skip


def test_the_count_is_written_when_its_minute_is_over_although_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "PERIOD", 0.05)
    with opened(lines=1) as (_, stream):
        lines = -1
        while lines < stream.getvalue().count("\n"):  # until one was only counted
            lines = stream.getvalue().count("\n")
            report(_refusal("10.0.0.5"))
        eventually(lambda: "repeated" in stream.getvalue(), stream.getvalue)


def test_what_fails_in_the_log_does_not_fail_its_caller(capsys: pytest.CaptureFixture[str]) -> None:
    with opened() as (_, stream):
        stream.close()
        report(events.Stopped())
    assert "ValueError" in capsys.readouterr().err
