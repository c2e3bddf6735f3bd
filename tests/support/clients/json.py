"""A client of the JSON dialect."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

from tests.support.clients.connection import Connection
from wire.frames import Frame, Hello, Request, Welcome
from wire.jsonlines import JsonLines
from wire.limits import Limits

F = TypeVar("F", bound=Frame)


class Json(Connection):
    """A program's connection. `received` is all that came, in order; `inbox` what no `expect` or `request` took yet."""

    def __init__(self, address: str, name: str = "", *, limits: Limits | None = None, **hello: Any) -> None:
        """Connect; with a `name`, say hello with it and the other fields (`welcome` holds the answer)."""
        super().__init__(address)
        self.received: list[Frame] = []
        self.inbox: list[Frame] = []
        self.refs = itertools.count(1)
        self._lines = JsonLines(limits, client=True)
        if name:
            answer = self.request(Hello(name=name, **hello))
            assert isinstance(answer, Welcome), answer
            self.welcome = answer

    def send(self, *frames: Frame) -> None:
        """Send frames, and wait for nothing."""
        self.send_bytes(b"".join(map(JsonLines.encode, frames)))

    def request(self, frame: Request) -> Any:
        """Send a request, with a `ref` if it has none; its answer (whatever comes meanwhile stays in `inbox`)."""
        if frame.ref is None:
            frame.ref = next(self.refs)
        self.send(frame)
        return self.expect(Frame, lambda answer: getattr(answer, "ref", None) == frame.ref)

    def expect(self, kind: type[F], predicate: Callable[[Any], bool] = lambda _: True) -> F:
        """The first frame of that type that fits, out of `inbox` or as it comes; the others stay in `inbox`."""
        looked = 0
        while True:
            for at in range(looked, len(self.inbox)):
                frame = self.inbox[at]
                if isinstance(frame, kind) and predicate(frame):
                    del self.inbox[at]
                    return frame
            looked = len(self.inbox)
            self._more(kind.__name__)

    def next(self) -> Frame:
        """The next frame that nobody took, whatever it is."""
        return self.expect(Frame)

    def _more(self, wanted: str) -> None:
        if self.ended:
            raise AssertionError(f"no {wanted} before the connection ended; unread: {self.inbox!r}")
        try:
            frames = self._lines.receive(self._receive())
        except TimeoutError:
            raise AssertionError(f"no {wanted} came in time; unread: {self.inbox!r}") from None
        self.received += frames
        self.inbox += frames

    def until_closed(self) -> list[Frame]:
        """All that nobody took and all that still comes, up to the end of the connection."""
        while not self.ended:
            self._more("end of the connection")
        rest, self.inbox = self.inbox, []
        return rest

    def of(self, kind: type[F]) -> list[F]:
        """Every frame of that type that came so far, in order."""
        return [frame for frame in self.received if isinstance(frame, kind)]
