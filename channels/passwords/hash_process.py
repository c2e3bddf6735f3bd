"""Floor 2: the hash process: a child that hashes for one thread, at a lower priority than the chat.

A thread of a low priority would hold up the chat: while it has the interpreter lock, and other programs have the
processor, the chat waits for both. It would also take and free 19 MiB of the memory that all threads share.
"""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
from pathlib import Path

import msgspec

from reporting import events, report

from .hashing import MOST, fits, make_hash

_PATIENCE = 30.0  # seconds for a hash, which takes 40 ms of a core, and for the end of the process
_PROGRAM = str(Path(__file__).with_name("hasher.py"))


class HashProcess:
    """Makes and verifies hashes for one thread. The process starts with the first hash, and ends with `rest`.

    Where there can be no process, the thread itself does it.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def holds(self) -> bool:
        """True if the process runs, which `rest` ends."""
        return self._child is not None

    def make_hash(self, password: str) -> str:
        """Return the hash of a new password. It takes some 40 ms of a core and 19 MiB."""
        made = self._ask(password, None)
        return made if isinstance(made, str) else make_hash(password)

    def fits(self, password: str, kept: str) -> bool:
        """Return True if `kept` is the hash of the password."""
        if len(password) > MOST:
            return False
        right = self._ask(password, kept)
        return right if isinstance(right, bool) else fits(password, kept)

    def rest(self) -> None:
        """End the process."""
        child = self._child
        if child is not None:
            try:
                child.communicate(timeout=_PATIENCE)  # it ends when its input does
            except subprocess.TimeoutExpired:
                self._drop()
        self._child = None

    def _ask(self, password: str, kept: str | None) -> str | bool | None:
        """Return the answer of the process, which is started anew once; None if it cannot answer."""
        request = msgspec.json.encode((password, kept)) + b"\n"
        error = ""
        for _ in range(2):
            try:
                answer = self._answer(request)
            except OSError as failed:
                error = failed.strerror or str(failed)
                self._drop()
            else:
                return msgspec.json.decode(answer, type=str | bool | None)
        report(events.HashProcessFailed(error))
        return None

    def _answer(self, request: bytes) -> bytes:
        """Return the line that the process answers.

        Raises OSError if the process cannot be started, has ended, or does not answer.
        """
        if self._child is None:
            self._child = subprocess.Popen(
                # -P: the folder of the program has no modules for it. A group: Ctrl-C on the terminal is not for it.
                [sys.executable, "-P", _PROGRAM],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0,
            )  # fmt: skip
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(request)
        self._child.stdin.flush()
        look = select.poll()
        look.register(self._child.stdout, select.POLLIN)
        if not look.poll(_PATIENCE * 1_000):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        answer = self._child.stdout.readline()
        if not answer.endswith(b"\n"):
            raise ChildProcessError(errno.ECHILD, "The process has ended.")
        return answer

    def _drop(self) -> None:
        """End a process that is of no use, and forget it."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # it had not read the request
                pass
