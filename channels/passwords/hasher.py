"""Floor 2: argon2id by pwdlib, and the program that hashes for the server: a request a line, an answer a line.

`hash_process.py` starts it by its path, so that it imports nothing of the server. It ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import sys
from typing import BinaryIO

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

_NICE = 10  # more than the server has: the chat goes first when both want the processor (nice(2))

# The least that OWASP's Password Storage Cheat Sheet recommends. The defaults take 64 MiB, which strangers could have
# the server take for each core.
_hasher = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19 << 10, parallelism=1),))


def compute(password: str) -> str:
    """Return the hash of a password."""
    return _hasher.hash(password)


def verify(password: str, kept: str) -> bool:
    """Return True if `kept` is the hash of the password."""
    try:
        return _hasher.verify(password, kept)
    except UnknownHashError:
        return False


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer `[password, kept]` with true or false, `[password, null]` with a hash, and what fails with null."""
    for line in requests:
        password, kept = json.loads(line)
        answer: str | bool | None
        try:
            answer = compute(password) if kept is None else verify(password, kept)
        except Exception:  # noqa: BLE001 - the server hears of it, and what is wrong with one password ends nothing
            answer = None
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    os.nice(_NICE)
    serve(sys.stdin.buffer, sys.stdout.buffer)
