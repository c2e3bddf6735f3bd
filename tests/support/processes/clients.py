"""The client as a process that reads its standard input; the fixtures kill it when a test is over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support.repository import ROOT
from tests.support.waiting import DEADLINE


def command(*arguments: str) -> list[str]:
    """Return the command line of a client."""
    return [sys.executable, str(ROOT / "client.py"), *arguments]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a client: that of the tests without Partyline's own variables, and `more`."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PARTYLINE_")}
    return {**plain, **more}


class _Watch:
    """Kills a process that has shown no sign of life for DEADLINE seconds, and so ends the wait for it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._timer = threading.Timer(DEADLINE, process.kill)
        self._timer.start()

    def seen(self) -> None:
        """Count from now: it has said something."""
        self._timer.cancel()
        self._timer = threading.Timer(DEADLINE, self._process.kill)
        self._timer.start()

    def cancel(self) -> None:
        """Let it live."""
        self._timer.cancel()


def run(*arguments: str, typed: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run the client to its end with `typed` as its stdin."""
    process = subprocess.Popen(
        command(*arguments), env=environment(**more), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    watch = _Watch(process)
    said: tuple[list[str], list[str]] = ([], [])
    readers = [
        threading.Thread(target=_collect, args=(stream, lines, watch))
        for stream, lines in zip((process.stdout, process.stderr), said, strict=True)
    ]
    with process:
        for reader in readers:
            reader.start()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            process.stdin.write(typed)
            process.stdin.close()
        for reader in readers:
            reader.join()
    watch.cancel()
    return subprocess.CompletedProcess(process.args, process.returncode, "".join(said[0]), "".join(said[1]))


def _collect(stream: IO[str], lines: list[str], watch: _Watch) -> None:
    for line in stream:
        watch.seen()
        lines.append(line)


class Running:
    """A client that goes on: `say` types, `expect` waits for a line of its output."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            command(*arguments), env=environment(), text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.lines: list[str] = []
        self._watch = _Watch(self.process)

    def say(self, *lines: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.writelines(f"{line}\n" for line in lines)

    def expect(self, part: str, *, stderr: bool = False) -> None:
        """Read up to a line with `part`; what is read is in `lines`."""
        stream: IO[str] | None = self.process.stderr if stderr else self.process.stdout
        assert stream is not None
        self._watch.seen()
        while part not in (line := stream.readline()):
            self._watch.seen()
            assert line, f"the client ended before {part!r}: {self.lines}"
            self.lines.append(line)
        self.lines.append(line)

    def end(self, number: int | None = None) -> tuple[int, str, str]:
        """End its stdin, or end it by a signal; exit code and what was not read yet."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, out, err

    def close(self) -> None:
        self._watch.cancel()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@contextmanager
def runners() -> Iterator[Callable[..., Running]]:
    """Start clients that go on; killed afterwards."""
    made: list[Running] = []

    def start(*arguments: str) -> Running:
        made.append(Running(*arguments))
        return made[-1]

    yield start
    for client in made:
        client.close()


class Client:
    """A client that is given all its lines at once, and waits for what they begin."""

    def __init__(self, address: str, name: str, *lines: str, folder: Path | None = None) -> None:
        downloads = [] if folder is None else ["--downloads", str(folder)]
        self.process = subprocess.Popen(
            command(address, "--name", name, "--wait", "120", *downloads), env=environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.close()
        self.process.stdin = None

    def end(self) -> tuple[int, str, str]:
        """Its exit status, and what it said."""
        out, err = self.process.communicate(timeout=180)
        return self.process.returncode, out, err

    def kill(self) -> None:
        """`kill -9`."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def url(address: str, name: str = "") -> str:
    return f"mqtt://{name}@{address}" if name else f"mqtt://{address}"
