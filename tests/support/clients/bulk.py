"""A lean client of the JSON dialect for floods."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from tests.support.clients.connection import endpoint
from tests.support.waiting import DEADLINE
from wire.frames import Error, Frame, Hello, Welcome
from wire.jsonlines import JsonLines
from wire.limits import Limits

_REPLIES = Limits(line=1 << 28)


class Gone(Exception):
    """The server has ended the connection, or there is none."""


class Bulk:
    """A program's connection that keeps nothing of what it has handed out. Raises Gone where a line may break."""

    def __init__(self, address: str, name: str = "", **hello: object) -> None:
        """Connect; with a name, say hello (`welcome` holds the answer, `early` what came along with it)."""
        try:
            self.socket = socket.create_connection(endpoint(address), DEADLINE)
        except OSError as error:
            raise Gone(error) from error
        self._lines = JsonLines(_REPLIES, client=True)
        self._early: list[Frame] = []
        if name:
            self.send(Hello(name=name, ref="hello", **hello))  # type: ignore[arg-type]
            while not self._early or not any(isinstance(frame, Welcome | Error) for frame in self._early):
                self._early += self._read(DEADLINE)
            answer = next(frame for frame in self._early if isinstance(frame, Welcome | Error))
            if isinstance(answer, Error):
                self.close()
                raise Gone(answer.error)
            self.welcome = answer

    def send(self, *frames: Frame) -> None:
        """Send frames, and wait for nothing but room."""
        self.send_bytes(b"".join(map(JsonLines.encode, frames)))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes, and wait for nothing but room."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Gone(error) from error

    def take(self, seconds: float = DEADLINE) -> list[Frame]:
        """Return what has arrived; wait at most `seconds` for its first byte."""
        frames, self._early = self._early, []
        return frames or self._read(seconds)

    def _read(self, seconds: float) -> list[Frame]:
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1 << 20)
        except TimeoutError:
            return []
        except OSError as error:
            raise Gone(error) from error
        if not data:
            raise Gone("the server has closed it")
        return self._lines.receive(data)

    def close(self) -> None:
        """Close our side."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
