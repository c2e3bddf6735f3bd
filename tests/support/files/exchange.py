"""For the tests of files: what a program and a device do with one, and what is in a folder."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from tests.support.clients import Json
from tests.support.mqtt import MqttLine, body
from wire.frames import Chunk, Entry, Error, FilePart, Finish, Finished, Get, Have, Kept, Offer, Offered, Put, Ranges

DATA = bytes(range(256)) * 1200  # more than one chunk
SHA = hashlib.sha256(DATA).hexdigest()
PHOTO = os.urandom(3_000_000)
INIT = {"name": "x.bin", "size": len(DATA), "to": "bob", "checksum": SHA, "segments_ttl": 7}  # DATA, from a device
FINE = (0, "success")  # the `reason` of what went well


def offer(client: Json, size: int = len(DATA), **fields: Any) -> str:
    """Offer a file; its id."""
    answer = client.request(Offer(**{"name": "x.bin", "size": size, "user": "bob", **fields}))
    assert isinstance(answer, Offered), answer
    return answer.file


def put(client: Json, file: str, first: int, end: int, data: bytes = DATA) -> None:
    """Fill a range."""
    answer = client.request(Put(file=file, offset=first, payload=data[first:end]))
    assert answer == Kept(ref=answer.ref, file=file, offset=first, length=end - first)


def fill(client: Json, file: str, data: bytes = DATA) -> None:
    """Fill all of it, and finish."""
    for first in range(0, len(data), 1 << 20):
        put(client, file, first, min(first + (1 << 20), len(data)), data)
    assert isinstance(client.request(Finish(file=file, sha256=hashlib.sha256(data).hexdigest())), Finished)


def fetch(client: Json, file: str) -> bytes:
    """All of a finished file."""
    state = client.request(Have(file=file))
    assert isinstance(state, Ranges), state
    assert state.done
    data = b""
    while len(data) < state.size:
        chunk = client.request(Get(file=file, offset=len(data), length=state.size - len(data)))
        assert isinstance(chunk, Chunk), chunk
        data += chunk.payload
    return data


def refused(client: Json, request: Any) -> str:
    """The code with which a request is refused."""
    answer = client.request(request)
    assert isinstance(answer, Error), answer
    return answer.code


def kept(folder: Path) -> list[Path]:
    """All files below the data folder's files."""
    return [file for file in (folder / "files").rglob("*") if file.is_file()]


def info(name: str, size: int, parts: list[FilePart] | None = None) -> Ranges:
    """Return the server's description of a file."""
    return Ranges(file="abcd2345", name=name, size=size, sender="bob", parts=parts or [])


def everything(folder: Path) -> dict[str, bytes]:
    """Return the contents of a folder, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def entry_file(client: Json) -> str:
    """The file of the next offer."""
    file = client.expect(Entry).file
    assert file is not None
    return file


def listening(line: MqttLine) -> MqttLine:
    """A client that hears everything for it."""
    line.subscribe(f"chat/to/{line.name}/#", "chat/channels/#")
    return line


def file(line: MqttLine, id: str, what: str, payload: bytes | str | dict[str, Any] = b"") -> dict[str, Any]:
    """Do something with a file; the answer."""
    line.do(f"file/{id}/{what}", json.dumps(payload) if isinstance(payload, dict) else payload)
    answer: dict[str, Any] = body(
        line.message(f"chat/to/{line.name}/file/{id}", lambda packet: f"file/{id}/{what}" in packet.payload.decode())
    )
    assert answer.pop("topic") == f"file/{id}/{what}"
    return answer


def reason(answer: dict[str, Any]) -> tuple[int, str]:
    """Return the result of a command."""
    return answer["reason_code"], answer["reason_description"]
