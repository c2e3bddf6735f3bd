"""Floor 4: one file on its way, over as many connections as it takes; each continues where the last one ended.

A transfer belongs to one thread and gets a FileChannel for each connection. It raises ConnectionLostError when another
attempt makes sense, and Refused when none does.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from wire.errors import Refused
from wire.file_names import size_words
from wire.frames import GetFile, Offer, Offered, Ranges, SendFile
from wire.ranges import missing, reach, union
from wire.text import percent

from .channel import ConnectionLostError, FileChannel, JsonFileChannel
from .direct_offer import BY_SERVER, DIRECTLY, DirectOffer, DirectOptions
from .progress import Progress
from .sources import ChangedError, Source, expanded
from .targets import Target

_PIECE = 4 << 20  # bytes of which a checksum is asked for, to find those that differ
_MENDS = 5  # attempts to mend what is damaged, on a line that goes on damaging it
_AGAIN = 20  # offers of the same content that were taken back
_REACH = 3.0  # seconds until a sender has let us in; else it is fetched from the server
_STALL = 10.0  # seconds in which nothing comes straight from a sender; then likewise
Ask = Callable[[str], bool]
"""Asks the person something that is answered by yes or no; waits for the answer."""


class Stopped(Exception):
    """The person does not want it any more."""


class Transfer(ABC):
    """One file on its way. `changed` is called whenever it got further, by its own thread."""

    def __init__(self, progress: Progress, changed: Callable[[], None]) -> None:
        self.progress = progress
        self.file = ""  # its id, once that is known
        # What holds while it waits for somebody.
        self.aside: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        self._changed = changed
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Called by any thread: go no further."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether it is to go no further."""
        return self._stopped.is_set()

    @abstractmethod
    def run(self, channel: FileChannel) -> str:
        """Go on, to the end; what to tell the person."""

    @abstractmethod
    def close(self) -> None:
        """It is over, one way or the other."""

    def _advance(self, done: int) -> None:
        if self._stopped.is_set():
            raise Stopped
        self.progress.done = done
        self.progress.mark(time.monotonic())
        self._changed()

    def _begin(self, size: int, done: int) -> None:
        self.progress.begin(size, done, time.monotonic())
        self._changed()

    def _wait(self, note: str) -> None:
        """Say what it waits for."""
        self.progress.note = note
        self._changed()


class Sending(Transfer):
    """`/send`."""

    def __init__(self, order: SendFile, changed: Callable[[], None], direct: DirectOptions | None = None) -> None:
        """Without `direct`, everything is uploaded. Raises Refused."""
        if order.direct and direct is None:
            raise Refused("not-direct", "Nothing goes directly from this client.")
        self._to = order.to
        self._source = Source(order.path)
        self._asked = order.direct
        self._direct = direct  # None once it has to be uploaded
        self._direct_offer = DirectOffer(self._source, self._served)
        super().__init__(Progress("send", self._source.name), changed)

    def run(self, channel: FileChannel) -> str:
        """Offer it, then have it fetched from here, or send what is not there."""
        try:
            return self._send(channel)
        except ChangedError:
            if self.file:
                self._take_back(channel)
            raise

    def _take_back(self, channel: FileChannel) -> None:
        """What was offered is nowhere any more: nobody is to wait for it, and it is not to count."""
        with contextlib.suppress(Refused):
            channel.settle()
        with contextlib.suppress(Refused, ConnectionLostError):
            channel.cancel(self.file)

    def _send(self, channel: FileChannel) -> str:
        offered = self.offer(channel)
        self.file = offered.file
        what = f"{self._source.name} ({size_words(self._source.size)})"
        size = self._source.size
        if size > 0 and not missing(union(offered.have), 0, size):
            self._upload(channel, offered)
            return f"{what} was there already: {self.file}"
        directly = False
        if self._goes_directly(offered) and isinstance(channel, JsonFileChannel):
            directly = self._serve(channel, offered)
        if not directly:
            self._direct, self.progress.way = None, ""
            self._upload(channel, offered)
        to = f"{self._to}, who is away" if offered.away and not directly else self._to
        return f"{what} is sent to {to}: {self.file} ({DIRECTLY if directly else BY_SERVER})"

    def _goes_directly(self, offered: Offered) -> bool:
        """To one user: if we were told so, or if we have the patience and it is new to the server, and to them."""
        if self._direct is None or offered.user is None or not self._source.size:
            return False
        return self._asked or (self._direct.patience > 0 and offered.direct and not offered.have)

    def _serve(self, channel: JsonFileChannel, offered: Offered) -> bool:
        """Have it fetched from here; False if it has to be uploaded after all."""
        assert self._direct is not None
        self._wait(f"waiting for {offered.user} to fetch it")
        patience = None if self._asked else self._direct.patience
        return self._direct_offer.run(channel, self.file, self._direct.port, patience, self.aside)

    def _served(self, at: int) -> None:
        """Called by the threads of the listener: somebody has been sent what ends there."""
        if self._direct is None:
            return  # the upload is what is shown
        if not self.progress.way:
            self.progress.way = DIRECTLY
            self._begin(self._source.size, at)
        self.progress.done = at
        self.progress.mark(time.monotonic())
        self._changed()

    def _upload(self, channel: FileChannel, offered: Offered) -> None:
        """Send what is not there, and have it verified."""
        source, size = self._source, self._source.size
        have = union(offered.have)
        self._begin(size, 0)
        made, at = hashlib.sha256(), 0
        while at < size:
            data = source.read(at, min(channel.chunk, size - at))
            made.update(data)
            for first, end in missing(have, at, at + len(data)):
                channel.put(self.file, first, memoryview(data)[first - at : end - at])
            at += len(data)
            self._advance(at)
        channel.settle()
        source.check()
        self._finish(channel, made.hexdigest())

    def offer(self, channel: FileChannel) -> Offered:
        """Offer it, or hear again what was answered to the offer."""
        source = self._source
        room, user = (self._to[1:], "") if self._to.startswith("#") else ("", self._to)
        for attempt in range(_AGAIN):
            id = source.id(self._to, attempt)
            try:
                return channel.offer(
                    Offer(name=source.name, size=source.size, id=id, parts=source.parts, channel=room, user=user)
                )
            except Refused as refused:
                if refused.code != "gone" or attempt == _AGAIN - 1:
                    raise
        raise AssertionError

    def _finish(self, channel: FileChannel, sha256: str) -> None:
        """Have it verified; if something was damaged on the way, send that once more."""
        for attempt in range(_MENDS):
            try:
                channel.finish(self.file, sha256, self._source.size)
                return
            except Refused as refused:
                if refused.code != "checksum-mismatch" or attempt == _MENDS - 1 or not self._mend(channel):
                    raise

    def _mend(self, channel: FileChannel) -> bool:
        """Send what differs once more; whether anything did."""
        source, chunk, mended = self._source, channel.chunk, False
        for at in range(0, source.size, _PIECE):
            data = source.read(at, min(_PIECE, source.size - at))
            if channel.sum(self.file, at, len(data)) != hashlib.sha256(data).hexdigest():
                mended = True
                for first in range(0, len(data), chunk):
                    channel.put(self.file, at + first, memoryview(data)[first : first + chunk])
        channel.settle()
        return mended

    def stop(self) -> None:
        """Called by any thread: go no further."""
        super().stop()
        self._direct_offer.stop()

    def close(self) -> None:
        """Let go of the file."""
        self._direct_offer.close()
        self._source.close()


class Fetching(Transfer):
    """`/get`."""

    def __init__(
        self, order: GetFile, folder: Path, largest: int, ask: Ask, changed: Callable[[], None], *, direct: bool = False
    ) -> None:
        """`direct`: straight from its sender, if that can be."""
        super().__init__(Progress("get", order.file), changed)
        self.file = order.file
        self._folder = expanded(order.folder) if order.folder else folder
        self._largest = largest
        self._ask = ask
        self._direct = direct
        self._target: Target | None = None
        self._sender: JsonFileChannel | None = None  # the line straight to them
        self._tried: set[tuple[str, int]] = set()  # where they were, and could not be had, or not to the end
        self._ways: dict[str, None] = {}  # by which it came, in order
        self._done = ""  # what to tell the person, once the file is here

    def run(self, channel: FileChannel) -> str:
        """Fetch what is not there yet, verify it, give it its name, and tell the sender."""
        try:
            if not self._done:
                self._fetch(channel)
            with contextlib.suppress(Refused):  # it is here, whether or not the sender is to be told
                if isinstance(channel, JsonFileChannel) and self._target is not None and DIRECTLY in self._ways:
                    self._wait("it is here, telling its sender")
                    channel.taken(self.file, self._target.digest())
                else:
                    channel.taken(self.file)
        finally:
            self._hang_up()
        return self._done

    def _fetch(self, channel: FileChannel) -> None:
        info = channel.have(self.file)
        target = self._target
        if target is None:
            target = self._target = self._open(info)
        try:
            if not self._fetch_directly(channel, target, info):
                self._fetch_from_server(channel, target, info)
        except Refused as refused:
            if refused.code == "gone":  # the rest of it is nowhere to be had
                target.discard()
            raise
        path = target.keep()
        ways = ", then ".join(self._ways) or BY_SERVER
        self._done = f"{info.name} ({size_words(info.size)}) is here: {path} ({ways})"

    def _fetch_from_server(self, channel: FileChannel, target: Target, info: Ranges) -> None:
        """What comes while the sender uploads it, too; and if they come back to be reached, directly after all."""
        self._begin(target.size, target.have)
        while target.have < target.size:
            # No further than what is there: a request beyond it would be answered by less, and those after it in vain.
            upto = target.size if info.done else reach(union(info.have), target.have)
            if self._append(channel, target, upto):
                self._ways[BY_SERVER] = None
            if target.have < upto or not info.done:
                info = channel.have(self.file, watch=True)
            if not info.done and reach(union(info.have), target.have) == target.have < target.size:
                self._wait(f"{percent(target.have, target.size)} %, waiting for the sender")
                with self.aside():
                    channel.more()
                if self._fetch_directly(channel, target, info):
                    return
                info = channel.have(self.file, watch=True)
                self._begin(target.size, target.have)
        while not info.done:
            info = channel.have(self.file, watch=True)
            if not info.done:
                self._wait("waiting for the sender to finish")
                with self.aside():
                    channel.more()
                if self._fetch_directly(channel, target, info):
                    return
        self._verify(channel, target, info, info.sha256)

    def _append(self, channel: FileChannel, target: Target, upto: int) -> bool:
        """Fetch as much of the rest as is there, up to that; whether it was anything."""
        before = target.have
        for piece in channel.fetch(self.file, before, upto):
            target.append(piece)
            self._advance(target.have)
        return target.have > before

    def _fetch_directly(self, channel: FileChannel, target: Target, info: Ranges) -> bool:
        """Fetch the rest straight from its sender; False if it has to come, or to go on, by the server."""
        if not self._direct or info.done or not isinstance(channel, JsonFileChannel):
            return False
        before = target.have
        try:
            way = channel.reach(self.file)
            if (way.host, way.port) in self._tried:
                return False
        except Refused:  # they do not listen, or there is no sense in trying
            return False
        self._tried.add((way.host, way.port))
        self._wait(f"reaching {info.sender}")
        try:
            self._sender = JsonFileChannel(way.host, way.port, channel.name, way.token, within=_REACH, silence=_STALL)
            self.progress.way = DIRECTLY
            self._begin(target.size, before)
            while target.have < target.size:
                if not self._append(self._sender, target, target.size):
                    raise ConnectionLostError("they have no more of it")
            self._verify(self._sender, target, info, way.sha256)
            self._ways[DIRECTLY] = None
            return True
        except (ConnectionLostError, Refused):
            self._hang_up()
            return False
        finally:
            self.progress.way = ""
            if target.have > before:
                self._ways[DIRECTLY] = None

    def _hang_up(self) -> None:
        if self._sender is not None:
            self._sender.close()

    def stop(self) -> None:
        """Called by any thread: go no further."""
        super().stop()
        self._hang_up()

    def _open(self, info: Ranges) -> Target:
        self.progress.name = info.name
        target = Target(self._folder, info, self._largest)
        try:
            if target.have and not self._resumes(target):
                target.restart()
        except BaseException:
            target.close()
            raise
        return target

    def _resumes(self, target: Target) -> bool:
        self._wait("waiting for your answer")
        with self.aside():
            return self._ask(f"Resume {target.name} ({percent(target.have, target.size)} %)?")

    def _verify(self, channel: FileChannel, target: Target, info: Ranges, sha256: str) -> None:
        """Check it, and fetch once more what differs. Raises Refused if it is not right then."""
        if target.digest() == sha256:
            return
        for _ in range(_MENDS):
            self._wait("the checksum does not fit, looking for what differs")
            mended = self._mend(channel, target)
            if target.digest(anew=True) == sha256:
                return
            if not mended:  # they have nothing else, as after a change of the file from which it comes
                break
        raise Refused("checksum-mismatch", f"{info.name} does not have the SHA-256 that it should; it stays a part.")

    def _mend(self, channel: FileChannel, target: Target) -> bool:
        """Fetch what differs once more; whether anything did."""
        mended = False
        for first in range(0, target.size, _PIECE):
            length = min(_PIECE, target.size - first)
            if target.sum(first, length) != channel.sum(self.file, first, length):
                self._ways[DIRECTLY if channel is self._sender else BY_SERVER] = None
                at, mended = first, True
                for piece in channel.fetch(self.file, first, first + length):
                    target.write(piece, at)
                    at += len(piece)
        return mended

    def close(self) -> None:
        """Let go of the part, which stays."""
        if self._target is not None:
            self._target.close()
