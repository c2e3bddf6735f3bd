"""Floor 4: a direct offer: another client fetches the file from here; the server only announces who will come."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from net import NetError
from wire.frames import Fetched, Ranges, Visitor

from .connection import ConnectionLostError
from .direct_listener import DirectListener
from .json_connection import JsonFileConnection
from .sources import Source

DIRECTLY, THROUGH_SERVER = "directly", "through the server"
_PIECE = 4 << 20  # bytes that are read at once for the checksum


@dataclass(frozen=True, slots=True)
class DirectOptions:
    """The options of direct transfers: the port to listen on (0: any free one), and the patience.

    `patience` is the number of seconds that a file waits for a receiver who is online before it is uploaded; with 0 it
    is uploaded at once, unless the command says `--direct`.
    """

    port: int = 0
    patience: float = 0.0


class DirectOffer:
    """One file that others fetch from here. `served` is as in DirectListener; one thread calls all but `stop`."""

    def __init__(self, source: Source, served: Callable[[int], None]) -> None:
        self._source = source
        self._served = served
        self._sha256 = ""
        self._listener: DirectListener | None = None  # stays while the server is lost
        self._stopped = threading.Event()

    def run(
        self, connection: JsonFileConnection, file: str, port: int, patience: float | None,
        while_waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> bool:  # fmt: skip
        """Listen until the file was fetched; False if it must be uploaded, because a user needs it from the server.

        With `patience`, return False also after so many seconds without a user who fetches. The block of
        `while_waiting` is open while it waits. Raises Refused or ConnectionLostError.
        """
        try:
            listener = self._listen(connection, file, port)
        except (NetError, OSError):  # the port is in use, or the file cannot be read
            return False
        self._source.check()
        connection.listen(file, listener.port, self._sha256, listener.fingerprint)
        with while_waiting():
            return self._wait(connection, file, listener, patience)

    @staticmethod
    def _wait(connection: JsonFileConnection, file: str, listener: DirectListener, patience: float | None) -> bool:
        while True:
            event = connection.event(patience)
            if isinstance(event, Fetched):
                return True
            if isinstance(event, Visitor):
                listener.expect(event.user, event.token)
            elif event is not None or (patience is not None and not listener.busy):
                connection.listen(file, 0)
                return False

    def _listen(self, connection: JsonFileConnection, file: str, port: int) -> DirectListener:
        if self._listener is None:
            source = self._source
            self._sha256 = self._digest()
            info = Ranges(file=file, name=source.name, size=source.size, sender=connection.name, sha256=self._sha256)
            info.parts = source.parts
            self._listener = DirectListener(
                connection.here, port, source, info, self._served, encrypted=connection.encrypted
            )
        return self._listener

    def _digest(self) -> str:
        made, at, size = hashlib.sha256(), 0, self._source.size
        while at < size:
            if self._stopped.is_set():
                raise ConnectionLostError("stopped")
            data = self._source.read(at, min(_PIECE, size - at))
            made.update(data)
            at += len(data)
        return made.hexdigest()

    def stop(self) -> None:
        """Stop reading the file. Any thread may call it."""
        self._stopped.set()

    def close(self) -> None:
        """Close the listener."""
        if self._listener is not None:
            self._listener.close()
