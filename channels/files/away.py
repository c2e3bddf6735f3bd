"""Floor 2: the files of one connection whose bytes are at other servers: its requests go there over lines.

A line is a connection to another server for one user. Requests go over it one at a time, so a receiver that is slow
costs one chunk of memory here, and one there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from store import ServerRow
from wire.errors import Refused
from wire.frames import Answer, Frame, Get, Have, Listen, More, Relay, Request, Taken, Wanted

from ..locks import leaf
from ..session_reader import SessionReader

_LINES = 1_000  # of all connections of this server
_FILES = 16  # of one connection, whose places are remembered


class LineLostError(Exception):
    """The other server has not answered; the message says why."""


class Line(Protocol):
    """A line to another server."""

    @property
    def alive(self) -> bool:
        """False once the line has ended."""

    def ask(self, request: Request) -> Answer:
        """Return the answer, which may be an Error. One thread at a time calls it. Raises LineLostError."""

    def close(self) -> None:
        """End the line. Any thread may call it."""


OpenLine: TypeAlias = Callable[[ServerRow, Relay, Callable[[Frame], None], Callable[[], None]], Line]
"""Opens a line to a server, for a user. Raises LineLostError.

The first function is called with each event, the second one when the line has ended; both by the line's own thread.
"""


class Lines:
    """Opens lines, and counts those of all connections. Any thread may call it."""

    def __init__(self, most: int = _LINES) -> None:
        self.opener: OpenLine | None = None  # set before anybody connects
        self._most = most
        self._lock = leaf()
        self._open: dict[Line, int] = {}  # with the numbers of the servers
        self._count = 0  # those that are open, and those about to be

    def __len__(self) -> int:
        return self._count

    def open(self, server: ServerRow, relay: Relay, heard: Callable[[Frame], None], over: Callable[[], None]) -> Line:
        """Open a line. Raises Refused if there are too many, LineLostError."""
        assert self.opener is not None
        with self._lock:
            if self._count >= self._most:
                sentence = f"{self._most} connections to other servers are open, which is the limit. Try again."
                raise Refused("busy", sentence)
            self._count += 1
        try:
            line = self.opener(server, relay, heard, over)
        except BaseException:
            with self._lock:
                self._count -= 1
            raise
        with self._lock:
            self._open[line] = server.number
        return line

    def forget(self, line: Line) -> None:
        """Close a line, and count it no longer."""
        with self._lock:
            if line not in self._open:
                return
            del self._open[line]
            self._count -= 1
        line.close()

    def end(self, number: int) -> None:
        """End the lines to a server that is gone: its machine may not have told so."""
        with self._lock:
            left = [line for line, server in self._open.items() if server == number]
        for line in left:
            line.close()

    def close(self) -> None:
        """Close all lines."""
        with self._lock:
            left = list(self._open)
        for line in left:
            self.forget(line)


class _Place:
    """A server, the line to it, and the files that were asked about there: those that the peer waits for."""

    def __init__(self, server: ServerRow) -> None:
        self.server = server
        self.line: Line | None = None
        self.watched: dict[str, None] = {}
        self.listening: dict[str, None] = {}


class AwayFiles:
    """Owned by one connection, whose own thread calls all methods but those that name another one."""

    def __init__(self, lines: Lines, reader: SessionReader, name: str, address: str) -> None:
        """`name` and `address` are those of the user."""
        self._lines = lines
        self._reader = reader
        self._relay = Relay(name=name, address=address, secret="")
        self._lock = leaf()
        self._places: dict[int, _Place] = {}  # by the server's number
        # By the peer's id of a file: its server, its own id, and how many memberships had ended when the user's right
        # to fetch it was checked. The one used last is at the end.
        self._servers: dict[str, tuple[ServerRow, str, int]] = {}
        self._closed = False

    def known(self, file: str, departures: int) -> tuple[ServerRow, str] | None:
        """Return the server of a file that was asked about before, and the file's own id.

        None if further memberships have ended since then.
        """
        found = self._servers.pop(file, None)
        if found is None or found[2] != departures:
            return None
        self._servers[file] = found
        return found[:2]

    def forget(self, file: str) -> None:
        """Look for the file's server again with the next request."""
        self._servers.pop(file, None)

    def ask(self, server: ServerRow, id: str, request: Request, departures: int = 0) -> Answer:
        """Have another server answer. Raises Refused if it does not."""
        file: str = request.file  # type: ignore[attr-defined]
        try:
            place = self._place(server)
            self._note(place, id, request)
            assert place.line is not None
            answer = place.line.ask(request)
        except LineLostError as lost:
            self._servers.pop(file, None)
            sentence = f"The bytes of the file are at the server {server.name}, which does not answer ({lost})."
            raise Refused("file-away", sentence) from None
        self._servers[file] = server, id, departures
        if len(self._servers) > _FILES:
            del self._servers[next(iter(self._servers))]
        return answer

    def _place(self, server: ServerRow) -> _Place:
        """Return the place with a line that lives. Raises Refused, LineLostError."""
        found = self._places.get(server.number)
        if found is not None:
            if found.line is not None and found.line.alive:
                return found
            self._over(found)
        place = _Place(server)
        relay = Relay(name=self._relay.name, address=self._relay.address, secret=server.secret)
        place.line = self._lines.open(server, relay, self._reader.reply, lambda: self._over(place))
        self._places[server.number] = place
        return place

    def _note(self, place: _Place, id: str, request: Request) -> None:
        """Remember for which files the peer waits, or listens."""
        with self._lock:
            if isinstance(request, Listen):
                place.listening.pop(id, None)
                if request.port:
                    place.listening[id] = None
            elif isinstance(request, Have | Get | Taken):
                place.watched.pop(id, None)
                place.watched[id] = None
            for files in (place.watched, place.listening):
                if len(files) > _FILES:
                    del files[next(iter(files))]

    def _over(self, place: _Place) -> None:
        """A line has ended: the peer is to ask again, and to upload what it listens for. The line calls it, too."""
        with self._lock:
            watched, place.watched = place.watched, {}
            listening, place.listening = place.listening, {}
        if place.line is not None:
            self._lines.forget(place.line)
        if self._closed:
            return
        for id in watched:
            self._reader.reply(More(id))
        for id in listening:
            self._reader.reply(Wanted(id))

    def close(self) -> None:
        """End the lines. The connection has ended."""
        self._closed = True
        while self._places:
            self._over(self._places.popitem()[1])
