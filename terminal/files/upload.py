"""Floor 4: an upload, the transfer of `/send`: through the server, or directly to the client that downloads it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

from wire.errors import Refused
from wire.file_names import size_words
from wire.frames import Offer, Offered, SendFile
from wire.ranges import missing, union

from .connection import ConnectionLostError, FileConnection
from .direct_offer import DIRECTLY, THROUGH_SERVER, DirectOffer, DirectOptions
from .json_connection import JsonFileConnection
from .progress import Progress
from .sources import ChangedError, Source
from .transfer import CHECKED, REPAIRS, TransferControl

_OFFERS = 20  # cancelled offers of the same content to the same people that are passed over


class Upload:
    """A Transfer that sends a file or a folder to a user or a channel."""

    def __init__(self, command: SendFile, changed: Callable[[], None], direct: DirectOptions | None = None) -> None:
        """Without `direct`, the file goes through the server. Raises Refused if it cannot be read."""
        if command.direct and direct is None:
            raise Refused("not-direct", "This client sends no files directly (--direct never, or an MQTT connection).")
        self.file = ""
        self._to = command.to
        self._source = Source(command.path)
        self._only_directly = command.direct
        self._direct = direct  # None once the server needs the file
        self._direct_offer = DirectOffer(self._source, self._served)
        self.control = TransferControl(Progress("send", self._source.name), changed)

    def run(self, connection: FileConnection) -> str:
        """Offer the file; serve it from here, or upload what the server does not have."""
        try:
            return self._run(connection)
        except ChangedError:
            if self.file:
                self._cancel(connection)
            raise

    def _cancel(self, connection: FileConnection) -> None:
        """Cancel the offer of a file that has changed: nobody can complete it, and it must not count for the quota."""
        with contextlib.suppress(Refused):
            connection.settle()
        with contextlib.suppress(Refused, ConnectionLostError):
            connection.cancel(self.file)

    def _run(self, connection: FileConnection) -> str:
        offered = self.offer(connection)
        self.file = offered.file
        what = f"{self._source.name} ({size_words(self._source.size)})"
        size = self._source.size
        if size > 0 and not missing(union(offered.have), 0, size):
            self._upload(connection, offered)
            return f"{what} was already on the server: {self.file}"
        directly = False
        if self._goes_directly(offered) and isinstance(connection, JsonFileConnection):
            directly = self._serve(connection, offered)
        if not directly:
            self._direct, self.control.progress.way = None, ""
            self._upload(connection, offered)
        to = f"{self._to}, who is away" if offered.away and not directly else self._to
        return f"Sent {what} to {to}: {self.file} ({DIRECTLY if directly else THROUGH_SERVER})"

    def _goes_directly(self, offered: Offered) -> bool:
        """Return True for an offer to one user that says `--direct`, or that this user could fetch within patience.

        Without `--direct`, the file must be new to the server, and so to the user.
        """
        if self._direct is None or offered.user is None or not self._source.size:
            return False
        return self._only_directly or (self._direct.patience > 0 and offered.direct and not offered.have)

    def _serve(self, connection: JsonFileConnection, offered: Offered) -> bool:
        """Let the user fetch the file from here; False if it must be uploaded after all."""
        assert self._direct is not None
        self.control.wait(f"waiting for {offered.user} to fetch it")
        patience = None if self._only_directly else self._direct.patience
        return self._direct_offer.run(connection, self.file, self._direct.port, patience, self.control.while_waiting)

    def _served(self, end: int) -> None:
        """Show that a piece that ends at `end` was sent directly. The listener's threads call it."""
        if self._direct is None:
            return  # the progress is that of the upload
        progress = self.control.progress
        if not progress.way:
            progress.way = DIRECTLY
            self.control.begin(self._source.size, end)
        self.control.show(end)

    def _upload(self, connection: FileConnection, offered: Offered) -> None:
        """Send what the server does not have, and have the whole verified."""
        source, size = self._source, self._source.size
        have = union(offered.have)
        self.control.begin(size, 0)
        digest, at = hashlib.sha256(), 0
        while at < size:
            data = source.read(at, min(connection.chunk, size - at))
            digest.update(data)
            for first, end in missing(have, at, at + len(data)):
                connection.put(self.file, first, memoryview(data)[first - at : end - at])
            at += len(data)
            self.control.advance(at)
        connection.settle()
        source.check()
        self._finish(connection, digest.hexdigest())

    def offer(self, connection: FileConnection) -> Offered:
        """Offer the file; an offer that was made before gets the same answer again."""
        source = self._source
        room, user = (self._to[1:], "") if self._to.startswith("#") else ("", self._to)
        for attempt in range(_OFFERS):
            id = source.id(self._to, attempt)
            try:
                return connection.offer(
                    Offer(name=source.name, size=source.size, id=id, parts=source.parts, channel=room, user=user)
                )
            except Refused as refused:
                if refused.code != "gone" or attempt == _OFFERS - 1:
                    raise
        raise AssertionError

    def _finish(self, connection: FileConnection, sha256: str) -> None:
        """Have the server verify the file; send damaged parts again."""
        for attempt in range(REPAIRS):
            try:
                connection.finish(self.file, sha256, self._source.size)
                return
            except Refused as refused:
                if refused.code != "checksum-mismatch" or attempt == REPAIRS - 1 or not self._repair(connection):
                    raise

    def _repair(self, connection: FileConnection) -> bool:
        """Send the differing parts again; return True if any part differed."""
        source, chunk, repaired = self._source, connection.chunk, False
        for at in range(0, source.size, CHECKED):
            data = source.read(at, min(CHECKED, source.size - at))
            if connection.sum(self.file, at, len(data)) != hashlib.sha256(data).hexdigest():
                repaired = True
                for first in range(0, len(data), chunk):
                    connection.put(self.file, at + first, memoryview(data)[first : first + chunk])
        connection.settle()
        return repaired

    def stop(self) -> None:
        """Stop the upload. Any thread may call it."""
        self.control.stop()
        self._direct_offer.stop()

    def close(self) -> None:
        """Close the listener and the file."""
        self._direct_offer.close()
        self._source.close()
