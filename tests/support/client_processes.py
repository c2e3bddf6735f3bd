"""For the tests of the client: real processes, as filters and in tmux, that are killed when a test is over."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support.helpers import DEADLINE, ROOT


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "client.py"), *arguments]


def environment(**more: str) -> dict[str, str]:
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
    return subprocess.run(
        command(*arguments), input=typed, env=environment(**more), capture_output=True, text=True, timeout=DEADLINE
    )


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


class Screen:
    """A client in a tmux pane; `ended N` stands there once it has ended with code N."""

    def __init__(self, tmux: Tmux, name: str, *arguments: str) -> None:
        self._tmux = tmux
        self._name = name
        client = shlex.join([sys.executable, str(ROOT / "client.py"), *arguments])
        tmux("new-session", "-d", "-s", name, "-x", "100", "-y", "24", f"{client}; echo ended $?; cat")

    def type(self, text: str, *keys: str) -> None:
        """Type text, then keys by their tmux names."""
        if text:
            self._tmux("send-keys", "-t", self._name, "-l", text)
        if keys:
            self._tmux("send-keys", "-t", self._name, *keys)

    def lines(self) -> list[str]:
        """What was shown so far, scrolled by or not, without empty lines."""
        text = self._tmux("capture-pane", "-p", "-J", "-S", "-", "-t", self._name)
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    def until(self, met: Callable[[list[str]], bool]) -> list[str]:
        """Look until the screen is so. (tmux has no event for that: this is the one place that looks again.)"""
        end = time.monotonic() + DEADLINE
        shown: list[str] = []
        while not met(lines := self.lines()):
            if lines != shown:
                shown, end = lines, time.monotonic() + DEADLINE
            assert time.monotonic() < end, "the screen stays like this:\n" + "\n".join(lines)
            threading.Event().wait(0.02)
        return lines

    def expect(self, line: str) -> list[str]:
        """Wait for a whole line."""
        return self.until(lambda lines: line in lines)

    def expect_last(self, line: str) -> list[str]:
        """Wait for the input line, which is the last one, to be that."""
        return self.until(lambda lines: lines[-1:] == [line])


class Tmux:
    """A tmux server of our own."""

    def __init__(self) -> None:
        self._socket = f"partyline-test-{os.getpid()}"
        self._environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("PARTYLINE", "TMUX"))
        }
        self.screens = 0

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, "-f", os.devnull, *arguments],
            env={**self._environment, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
            capture_output=True, text=True, timeout=DEADLINE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def screens() -> Iterator[Callable[..., Screen]]:
    """Start clients on screens of their own."""
    tmux = Tmux()

    def start(*arguments: str) -> Screen:
        tmux.screens += 1
        return Screen(tmux, f"screen{tmux.screens}", *arguments)

    yield start
    if tmux.screens:
        tmux("kill-server")


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
