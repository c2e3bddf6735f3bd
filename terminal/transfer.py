"""Floor 4: one file on its way, over as many lines as it takes: what is to be done on each, from where the last ended.

A transfer belongs to one thread, and gets a Carrier for each line. What it raises: Refused when there is no sense in
trying again, LineLostError when there is.
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
from wire.file_frames import GetFile, Offer, Offered, Ranges, SendFile
from wire.file_names import size_words
from wire.file_render import percent
from wire.ranges import missing, reach, union

from .carrier import Carrier
from .progress import Progress
from .sources import Source
from .targets import Target

_PIECE = 4 << 20  # bytes of which a checksum is asked for, to find those that differ
_MENDS = 5  # attempts to mend what is damaged, on a line that goes on damaging it
_AGAIN = 20  # offers of the same content that were taken back
Ask = Callable[[str], bool]
"""Asks the person something that is answered by yes or no; waits for the answer."""


class Stopped(Exception):
    """The person does not want it any more."""


class Transfer(ABC):
    """One file on its way. `changed` is called whenever it got further, by its own thread."""

    def __init__(self, progress: Progress, changed: Callable[[], None]) -> None:
        self.progress = progress
        self.file = ""  # its id, once that is known
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
    def run(self, carrier: Carrier) -> str:
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
        self.progress.note = note
        self._changed()


class Sending(Transfer):
    """`/send`."""

    def __init__(self, order: SendFile, changed: Callable[[], None]) -> None:
        self._to = order.to
        self._source = Source(order.path)
        super().__init__(Progress("send", self._source.name), changed)

    def run(self, carrier: Carrier) -> str:
        """Offer it, and send what is not there."""
        offered = self.offer(carrier)
        self.file = offered.file
        source, size = self._source, self._source.size
        have = union(offered.have)
        already = size > 0 and not missing(have, 0, size)
        self._begin(size, 0)
        made, at = hashlib.sha256(), 0
        while at < size:
            data = source.read(at, min(carrier.chunk, size - at))
            made.update(data)
            for first, end in missing(have, at, at + len(data)):
                carrier.put(self.file, first, memoryview(data)[first - at : end - at])
            at += len(data)
            self._advance(at)
        carrier.settle()
        source.check()
        self._finish(carrier, made.hexdigest())
        what = f"{source.name} ({size_words(size)})"
        return f"{what} was there already: {self.file}" if already else f"{what} is sent to {self._to}: {self.file}"

    def offer(self, carrier: Carrier) -> Offered:
        """Offer it, or hear again what was answered to the offer."""
        source = self._source
        to = {"channel": self._to[1:]} if self._to.startswith("#") else {"user": self._to}
        for attempt in range(_AGAIN):
            id = source.id(self._to, attempt)
            try:
                return carrier.offer(Offer(name=source.name, size=source.size, id=id, parts=source.parts, **to))
            except Refused as refused:
                if refused.code != "gone" or attempt == _AGAIN - 1:
                    raise
        raise AssertionError

    def _finish(self, carrier: Carrier, sha256: str) -> None:
        """Have it verified; if something was damaged on the way, send that once more."""
        for attempt in range(_MENDS):
            try:
                carrier.finish(self.file, sha256, self._source.size)
                return
            except Refused as refused:
                if refused.code != "checksum-mismatch" or attempt == _MENDS - 1:
                    raise
                self._mend(carrier)

    def _mend(self, carrier: Carrier) -> None:
        source, chunk = self._source, carrier.chunk
        for at in range(0, source.size, _PIECE):
            data = source.read(at, min(_PIECE, source.size - at))
            if carrier.sum(self.file, at, len(data)) != hashlib.sha256(data).hexdigest():
                for first in range(0, len(data), chunk):
                    carrier.put(self.file, at + first, memoryview(data)[first : first + chunk])
        carrier.settle()

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()


class Fetching(Transfer):
    """`/get`."""

    def __init__(self, order: GetFile, folder: Path, largest: int, ask: Ask, changed: Callable[[], None]) -> None:
        super().__init__(Progress("get", order.file), changed)
        self.file = order.file
        self._folder = Path(order.folder).expanduser() if order.folder else folder
        self._largest = largest
        self._ask = ask
        self._target: Target | None = None
        self._done = ""  # what to tell the person, once the file has its name

    def run(self, carrier: Carrier) -> str:
        """Fetch what is not there yet, verify it, give it its name, and say so."""
        self._done = self._done or self._fetch(carrier)
        with contextlib.suppress(Refused):  # it may be taken back by now; we have it all the same
            carrier.taken(self.file)
        return self._done

    def _fetch(self, carrier: Carrier) -> str:
        info = carrier.have(self.file, watch=True)
        target = self._target
        if target is None:
            target = self._target = self._open(info)
        self._begin(target.size, target.have)
        while target.have < target.size:
            # No further than what is there: a request beyond it would be answered by less, and those after it in vain.
            upto = target.size if info.done else reach(union(info.have), target.have)
            for piece in carrier.fetch(self.file, target.have, upto):
                target.append(piece)
                self._advance(target.have)
            if target.have < upto or not info.done:
                info = self._more(carrier, target)
        while not info.done:
            info = carrier.have(self.file, watch=True)
            if not info.done:
                self._wait("waiting for the sender to finish")
                carrier.more()
        self._verify(carrier, target, info)
        path = target.keep()
        return f"{info.name} ({size_words(info.size)}) is here: {path}"

    def _more(self, carrier: Carrier, target: Target) -> Ranges:
        """What is there, once there is more of it than we have."""
        info = carrier.have(self.file, watch=True)
        if not info.done and reach(union(info.have), target.have) == target.have < target.size:
            self._wait(f"{percent(target.have, target.size)} %, waiting for the sender")
            carrier.more()
            info = carrier.have(self.file, watch=True)
            self._begin(target.size, target.have)
        return info

    def _open(self, info: Ranges) -> Target:
        self.progress.name = info.name
        target = Target(self._folder, info, self._largest)
        try:
            if target.have and not self._ask(f"Resume {target.name} ({percent(target.have, target.size)} %)?"):
                target.restart()
        except BaseException:
            target.close()
            raise
        return target

    def _verify(self, carrier: Carrier, target: Target, info: Ranges) -> None:
        if target.digest() == info.sha256:
            return
        for _ in range(_MENDS):
            self._wait("the checksum does not fit, looking for what differs")
            self._mend(carrier, target)
            if target.digest(anew=True) == info.sha256:
                return
        raise Refused("checksum-mismatch", f"{info.name} does not have the SHA-256 that it should; it stays a part.")

    def _mend(self, carrier: Carrier, target: Target) -> None:
        for first in range(0, target.size, _PIECE):
            length = min(_PIECE, target.size - first)
            if target.sum(first, length) != carrier.sum(self.file, first, length):
                at = first
                for piece in carrier.fetch(self.file, first, first + length):
                    target.write(piece, at)
                    at += len(piece)

    def close(self) -> None:
        """Let go of the part, which stays."""
        if self._target is not None:
            self._target.close()
