"""The client in tmux, on a screen of its own."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.repository import ROOT
from tests.support.waiting import DEADLINE


class Screen:
    """A client in a tmux pane; `ended N` stands there once it has ended with code N.

    tmux copies what the client writes to a pipe, so whoever waits for the screen looks when something was written.
    """

    def __init__(self, tmux: Tmux, name: str, *arguments: str) -> None:
        self._tmux = tmux
        self._name = name
        client = shlex.join([sys.executable, str(ROOT / "client.py"), *arguments])
        tmux("new-session", "-d", "-s", name, "-x", "100", "-y", "24", f"{client}; echo ended $?; cat")
        self._written = tmux.pipe(name)

    def type(self, text: str, *keys: str) -> None:
        """Type text, then keys by their tmux names."""
        if text:
            self._tmux("send-keys", "-t", self._name, "-l", text)
        if keys:
            self._tmux("send-keys", "-t", self._name, *keys)

    def lines(self) -> list[str]:
        """Return what the screen has shown, including what has scrolled away, without empty lines."""
        text = self._tmux("capture-pane", "-p", "-J", "-S", "-", "-t", self._name)
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    def until(self, met: Callable[[list[str]], bool]) -> list[str]:
        """Return the lines as soon as they are like that: look now, and whenever the client has written something."""
        while not met(lines := self.lines()):
            written, _, _ = select.select([self._written], [], [], DEADLINE)
            assert written, "the screen stays like this:\n" + "\n".join(lines)
            assert os.read(self._written, 1 << 20), "tmux has ended"
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
        self._folder = Path(tempfile.mkdtemp(prefix="tmux-"))
        self._socket = self._folder / "socket"
        self._environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("PARTYLINE", "TMUX"))
        }
        self._pipes: list[int] = []
        self.screens = 0

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), "-f", os.devnull, *arguments],
            env={**self._environment, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
            capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pipe(self, name: str) -> int:
        """Return a descriptor to which everything goes that is written in a pane from now on."""
        path = self._folder / name
        os.mkfifo(path)
        self._pipes.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        self("pipe-pane", "-t", name, f"exec cat > {shlex.quote(str(path))}")
        return self._pipes[-1]

    def close(self) -> None:
        """End the server, if it was needed, and all screens with it."""
        if self.screens:
            self("kill-server")
        for pipe in self._pipes:
            os.close(pipe)
        shutil.rmtree(self._folder)


@contextmanager
def screens() -> Iterator[Callable[..., Screen]]:
    """Start clients on screens of their own."""
    tmux = Tmux()

    def start(*arguments: str) -> Screen:
        tmux.screens += 1
        return Screen(tmux, f"screen{tmux.screens}", *arguments)

    try:
        yield start
    finally:
        tmux.close()
