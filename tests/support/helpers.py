"""What tests share: clients of both dialects, a server as a process, and a store that watches the locks.

Nothing in here sleeps: whatever is waited for is an event with a deadline, and a deadline that passes says what came
instead.
"""

from __future__ import annotations

import itertools
import re
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import yaml

from channels.locks import nothing_held
from store import Store
from tests.support.forks import Forked
from wire.frames import Frame, Hello, Request, Welcome
from wire.jsonlines import JsonLines
from wire.limits import Limits

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 60.0  # seconds without a sign of life, on the slowest machine; no test waits that long for a success

F = TypeVar("F", bound=Frame)


def endpoint(address: str) -> tuple[str, int]:
    """`host:port`, as a server shows it, as a pair."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class _Line:
    """A blocking socket with deadlines: what both test clients have in common."""

    def __init__(self, address: str) -> None:
        self.socket = socket.create_connection(endpoint(address), DEADLINE)
        self.ended = False  # the server has closed its side

    def send_bytes(self, data: bytes) -> None:
        """Send raw bytes."""
        self.socket.settimeout(DEADLINE)
        self.socket.sendall(data)

    def _receive(self) -> bytes:
        """Return the bytes that come next, b"" at the end. Raise TimeoutError if none come within the deadline."""
        self.socket.settimeout(DEADLINE)
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionError:
            data = b""
        self.ended = self.ended or not data
        return data

    def reset(self) -> None:
        """End it as a broken line does: with a reset, and nothing more said."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Close our side."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Json(_Line):
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


class Text(_Line):
    """A person's connection, like nc. `seen` is all that came; `expect` goes on where the last one found its line."""

    def __init__(self, address: str, name: str = "") -> None:
        """Connect; with a `name`, say it at once (without, the server greets after 0.3 s)."""
        super().__init__(address)
        self.seen = ""
        self._raw = b""
        self._at = 0
        if name:
            self.send(name)
            self.expect(f"Welcome, {name}")

    def send(self, *lines: str) -> None:
        """Type lines."""
        self.send_bytes("".join(f"{line}\n" for line in lines).encode())

    def expect(self, part: str) -> str:
        """The next whole line that contains `part`; what came before it is passed over."""
        while True:
            while (end := self.seen.find("\n", self._at)) >= 0:
                line, self._at = self.seen[self._at : end], end + 1
                if part in line:
                    return line
            self._more(repr(part))

    def _more(self, wanted: str) -> None:
        if self.ended:
            raise AssertionError(f"no {wanted} before the connection ended; it said {self.seen!r}")
        try:
            self._raw += self._receive()
        except TimeoutError:
            raise AssertionError(f"no {wanted} came in time; it said {self.seen!r}") from None
        whole = self._raw.rfind(b"\n") + 1
        self.seen += self._raw[:whole].decode()
        self._raw = self._raw[whole:]

    def until_closed(self) -> str:
        """All that came up to the end of the connection, from the start."""
        while not self.ended:
            self._more("end of the connection")
        return self.seen


class Process:
    """A server in a process of its own, which can be killed and started again on the same folder and port.

    `address` is where it listens, `ready` what it said then, `pid` its number; `log` is what it has written to
    standard error so far. MQTT has a free port of its own, unless a config file gives it another.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        """Start it and wait until it is ready. `options` are those of server.py beside --port and --data."""
        self.folder = folder
        self.address = "127.0.0.1:0"
        self._options = [*options, *self._config(options)]
        self._stderr = folder.with_name(f"{folder.name}.stderr")
        self.start()

    def _config(self, options: Sequence[str]) -> list[str]:
        """The config file of the options, with a free port for MQTT: an option that is given twice counts last."""
        own = self.folder.with_name(f"{self.folder.name}.yaml")
        given = Path(options[options.index("--config") + 1]).read_text() if "--config" in options else "{}"
        own.write_text(yaml.safe_dump({"mqtt_port": 0, **yaml.safe_load(given)}))
        return ["--config", str(own)]

    def start(self) -> None:
        """Start it, on the port that it had before; returns when it is ready."""
        where = ["--port", str(endpoint(self.address)[1]), "--data", str(self.folder)]
        self.process = Forked([*where, *self._options], self._stderr)
        self.ready = self.process.stdout.readline().decode()
        assert " is ready on " in self.ready, f"the server did not start: {self.ready}{self.log}"
        self.address = re.split("[,.] ", self.ready.split(" is ready on ")[1])[0]
        self.pid = self.process.pid

    @property
    def log(self) -> str:
        """What it has written to standard error since the first start."""
        return self._stderr.read_text(errors="replace")

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and wait until it has ended by itself; its exit status."""
        return self._end(signal.SIGTERM)

    def restart(self) -> None:
        """`kill -9` it and start it again on the same folder and port."""
        self.kill()
        self.start()

    def _end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        try:
            return self.process.wait(DEADLINE)
        finally:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(DEADLINE)
            self.process.stdout.close()


class WatchedStore:
    """A store that fails a call that is made while a lock is held (cast it to Store).

    `before`, if a test sets it, is called with the method's name ahead of each call: it may raise, or wait.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.before: Callable[[str], None] | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def call(*arguments: Any) -> Any:
            nothing_held(f"call the store's {name}")
            if self.before is not None:
                self.before(name)
            return method(*arguments)

        return call


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """`data` cut at those places (any integers), as a network may cut it."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in itertools.pairwise([0, *places, len(data)])]
