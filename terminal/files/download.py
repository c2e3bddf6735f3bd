"""Floor 4: a download, the transfer of `/get`: from the server, or directly from the client that offers the file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from net import pinned_context
from wire.errors import Refused
from wire.file_names import size_words
from wire.frames import GetFile, Ranges
from wire.ranges import percent, reach, union

from .connection import ConnectionLostError, FileConnection
from .direct_offer import DIRECTLY, THROUGH_SERVER
from .json_connection import JsonFileConnection
from .progress import Progress
from .sources import expanded
from .targets import Target
from .transfer import CHECKED, REPAIRS, TransferControl

_REACH = 3.0  # seconds to be let in by the sender; after that the server is asked
_STALL = 10.0  # seconds without a byte from the sender; after that the server is asked
Ask = Callable[[str], bool]
"""Asks the user a yes-or-no question, and waits for the answer."""


class Download:
    """A Transfer that fetches one file or folder into a local folder."""

    def __init__(
        self,
        command: GetFile,
        folder: Path,
        largest: int,
        ask: Ask,
        changed: Callable[[], None],
        *,
        direct: bool = False,
    ) -> None:
        """With `direct`, the file comes directly from its sender where that is possible."""
        self.file = command.file
        self.control = TransferControl(Progress("get", command.file), changed)
        self._folder = expanded(command.folder) if command.folder else folder
        self._largest = largest
        self._ask = ask
        self._direct = direct
        self._target: Target | None = None
        self._sender: JsonFileConnection | None = None  # the direct connection
        self._tried: set[tuple[str, int]] = set()  # addresses that failed, or did not last to the end
        self._ways: dict[str, None] = {}  # the ways by which the file came, in order
        self._done = ""  # the result, once the file has its name

    def run(self, connection: FileConnection) -> str:
        """Fetch what is missing, verify the whole, give it its name, and notify the sender."""
        try:
            if not self._done:
                self._fetch(connection)
            with contextlib.suppress(Refused):  # the file is here, whatever becomes of the notification
                if isinstance(connection, JsonFileConnection) and self._target is not None and DIRECTLY in self._ways:
                    self.control.wait("received, notifying the sender")
                    connection.taken(self.file, self._target.digest())
                else:
                    connection.taken(self.file)
        finally:
            self._close_direct()
        return self._done

    def _fetch(self, connection: FileConnection) -> None:
        info = connection.have(self.file)
        target = self._target
        if target is None:
            target = self._target = self._open(info)
        try:
            if not self._fetch_directly(connection, target, info):
                self._fetch_from_server(connection, target, info)
        except Refused as refused:
            if refused.code == "gone":  # nobody has the rest
                target.discard()
            raise
        path = target.keep()
        ways = ", then ".join(self._ways) or THROUGH_SERVER
        self._done = f"Received {info.name} ({size_words(info.size)}): {path} ({ways})"

    def _fetch_from_server(self, connection: FileConnection, target: Target, info: Ranges) -> None:
        """Fetch from the server, also during the upload; change to the sender as soon as it can be reached."""
        self.control.begin(target.size, target.have)
        while target.have < target.size:
            # Ask for no byte that the server lacks: its answer would be short, and the requests after that one useless.
            upto = target.size if info.done else reach(union(info.have), target.have)
            if self._append(connection, target, upto):
                self._ways[THROUGH_SERVER] = None
            if target.have < upto or not info.done:
                info = connection.have(self.file, watch=True)
            if not info.done and reach(union(info.have), target.have) == target.have < target.size:
                self.control.wait(f"{percent(target.have, target.size)} %, waiting for the sender")
                with self.control.while_waiting():
                    connection.more()
                if self._fetch_directly(connection, target, info):
                    return
                info = connection.have(self.file, watch=True)
                self.control.begin(target.size, target.have)
        while not info.done:
            info = connection.have(self.file, watch=True)
            if not info.done:
                self.control.wait("waiting for the sender to finish")
                with self.control.while_waiting():
                    connection.more()
                if self._fetch_directly(connection, target, info):
                    return
        self._verify(connection, target, info, info.sha256)

    def _append(self, connection: FileConnection, target: Target, upto: int) -> bool:
        """Append what the connection has up to `upto`; return True if that was at least a byte."""
        before = target.have
        for piece in connection.fetch(self.file, before, upto):
            target.append(piece)
            self.control.advance(target.have)
        return target.have > before

    def _fetch_directly(self, connection: FileConnection, target: Target, info: Ranges) -> bool:
        """Fetch the rest directly from its sender; False if it must come from the server."""
        if not self._direct or info.done or not isinstance(connection, JsonFileConnection):
            return False
        before = target.have
        try:
            way = connection.reach(self.file)
            if (way.host, way.port) in self._tried:
                return False
        except Refused:  # the sender does not listen, or cannot be reached from here
            return False
        if (
            connection.encrypted and not way.fingerprint
        ):  # the server's leg is encrypted, so the direct one must be, too
            return False
        self._tried.add((way.host, way.port))
        self.control.wait(f"connecting to {info.sender}")
        try:
            tls = pinned_context(way.fingerprint) if way.fingerprint else None
            self._sender = JsonFileConnection(
                way.host, way.port, connection.name, way.token, tls=tls, within=_REACH, silence=_STALL
            )
            self.control.progress.way = DIRECTLY
            self.control.begin(target.size, before)
            while target.have < target.size:
                if not self._append(self._sender, target, target.size):
                    raise ConnectionLostError("the sender has no more of the file")
            self._verify(self._sender, target, info, way.sha256)
            self._ways[DIRECTLY] = None
            return True
        except (ConnectionLostError, Refused):
            self._close_direct()
            return False
        finally:
            self.control.progress.way = ""
            if target.have > before:
                self._ways[DIRECTLY] = None

    def _close_direct(self) -> None:
        if self._sender is not None:
            self._sender.close()

    def stop(self) -> None:
        """Stop the download. Any thread may call it."""
        self.control.stop()
        self._close_direct()

    def _open(self, info: Ranges) -> Target:
        self.control.progress.name = info.name
        target = Target(self._folder, info, self._largest)
        try:
            if target.have and not self._resumes(target):
                target.restart()
        except BaseException:
            target.close()
            raise
        return target

    def _resumes(self, target: Target) -> bool:
        self.control.wait("waiting for your answer")
        with self.control.while_waiting():
            return self._ask(f"Resume {target.name} ({percent(target.have, target.size)} %)?")

    def _verify(self, connection: FileConnection, target: Target, info: Ranges, sha256: str) -> None:
        """Compare the SHA-256, and fetch differing parts again. Raises Refused if it still differs."""
        if target.digest() == sha256:
            return
        for _ in range(REPAIRS):
            self.control.wait("SHA-256 mismatch, repairing")
            repaired = self._repair(connection, target)
            if target.digest(anew=True) == sha256:
                return
            if not repaired:  # the other side has the same bytes, as after a change of the original
                break
        raise Refused("checksum-mismatch", f"{info.name} failed its SHA-256 check. The partial file is kept.")

    def _repair(self, connection: FileConnection, target: Target) -> bool:
        """Fetch the differing parts again; return True if any part differed."""
        repaired = False
        for first in range(0, target.size, CHECKED):
            length = min(CHECKED, target.size - first)
            if target.sum(first, length) != connection.sum(self.file, first, length):
                self._ways[DIRECTLY if connection is self._sender else THROUGH_SERVER] = None
                at, repaired = first, True
                for piece in connection.fetch(self.file, first, first + length):
                    target.write(piece, at)
                    at += len(piece)
        return repaired

    def close(self) -> None:
        """Close the partial file, which stays."""
        if self._target is not None:
            self._target.close()
