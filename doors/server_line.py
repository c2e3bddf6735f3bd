"""Floor 3: a line to another server on the same store, which answers there about files for one user of this server.

It is a connection in the JSON dialect, in TLS if the other server has a certificate, which is the one in the store.
"""

from __future__ import annotations

import errno
import itertools
import select
import socket
import threading
import time
from collections.abc import Callable

import msgspec

from channels import LineLostError
from net import (
    KeepAlive,
    NetError,
    PlainStream,
    Stream,
    TlsStream,
    disable_nagle,
    parse_address,
    pinned_context,
    reason,
)
from store import ServerRow
from wire.errors import CODES
from wire.frames import Answer, Closing, Error, Fetched, Frame, More, Ok, Relay, Request, Visitor, Wanted
from wire.jsonlines import JsonLines
from wire.limits import Limits

_CONNECTING = 5.0  # seconds until the other server has said that it takes the line
_SILENCE = 60.0  # seconds until an answer has come, or a chunk was taken
_IDLE = 300.0  # seconds without a request and without an event, after which the line ends
_MOST = 262_144  # bytes of one recv
_LIMITS = msgspec.structs.replace(Limits(), line=16 << 20, payload=1 << 30)  # of what another server sends
_KEEP_ALIVE = KeepAlive(idle=5, interval=5, probes=3, limit_sends=True)


class ServerLine:
    """See `Line`. Its own thread receives."""

    def __init__(
        self, server: ServerRow, relay: Relay, heard: Callable[[Frame], None], over: Callable[[], None]
    ) -> None:
        """Connect; see `OpenLine`. Raises LineLostError."""
        self._heard = heard
        self._over = over
        self._refs = itertools.count(1)
        self._answer: Answer | None = None
        self._due: int | None = None  # the ref of the request that waits
        self._there = threading.Event()  # set when the answer is there, or the line has ended
        self._ended = ""  # why
        self._asked = time.monotonic()
        self._dialect = JsonLines(_LIMITS, client=True)
        self._thread = threading.Thread(target=self._run, name=f"server-line-{server.address}", daemon=True)
        try:
            self._stream = _connect(server)
        except (OSError, NetError, UnicodeError) as error:
            raise LineLostError(reason(error) if isinstance(error, OSError) else str(error)) from error
        try:
            self._thread.start()
        except RuntimeError as error:
            self._stream.close()
            raise LineLostError(str(error)) from error
        try:
            answer = self._ask(relay, _CONNECTING)
            if not isinstance(answer, Ok):
                raise LineLostError(answer.error if isinstance(answer, Error) else "an unexpected answer")
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """False once the line has ended."""
        return not self._ended

    def ask(self, request: Request) -> Answer:
        """Return the answer, which may be an Error. Raises LineLostError."""
        return self._ask(request, _SILENCE)

    def _ask(self, request: Request, patience: float) -> Answer:
        ref = next(self._refs)
        self._there.clear()
        self._due, self._answer, self._asked = ref, None, time.monotonic()
        if not self.alive:
            raise LineLostError(self._ended)
        try:
            self._send(msgspec.structs.replace(request, ref=ref), patience)
            if not self._there.wait(patience):
                raise TimeoutError(errno.ETIME, f"no answer within {patience:g} s")
        except OSError as error:
            self._end(reason(error))
        self._due = None
        return self._taken()

    def _taken(self) -> Answer:
        """Return the answer. Raises LineLostError if the line has ended before."""
        if self._answer is None:
            raise LineLostError(self._ended)
        return self._answer

    def _send(self, request: Request, patience: float) -> None:
        for data in JsonLines.encode_apart(request):
            rest = memoryview(data)
            while rest:
                taken = self._stream.send(rest)
                rest = rest[taken:]
                if rest and not taken:
                    _wait_writable(self._stream.socket, patience)

    def _run(self) -> None:
        """Receive until the line ends."""
        try:
            while (data := self._stream.receive(_MOST, _IDLE)) != b"":
                if data is None:
                    if time.monotonic() - self._asked >= _IDLE and self._due is None:
                        self._end("it was idle")
                        break
                    continue
                for frame in self._dialect.receive(data):
                    self._take(frame)
            self._end("the connection has ended")
        except OSError as error:
            self._end(reason(error))
        finally:
            self._end("the line has failed")
            self._stream.close()
            self._over()

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Error) and frame.code not in CODES:
            frame.code = "internal"  # of a newer server
        if isinstance(frame, Closing):
            self._end(frame.reason)
        elif isinstance(frame, Answer):
            if frame.ref is not None and frame.ref == self._due:
                self._answer = frame
                self._there.set()
        elif isinstance(frame, More | Wanted | Visitor | Fetched):  # and not a greeting, for example
            self._asked = time.monotonic()
            self._heard(frame)

    def _end(self, why: str) -> None:
        """Note the end, and wake both threads. The first reason stays."""
        self._ended = self._ended or why
        self._there.set()
        try:
            self._stream.shut(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno not in (errno.ENOTCONN, errno.EBADF):
                raise

    def close(self) -> None:
        """End the line. Any thread may call it."""
        self._end("it was closed")
        if threading.current_thread() is not self._thread:
            self._thread.join()


def _connect(server: ServerRow) -> Stream:
    """Return a stream to a server. Raises OSError, NetError, UnicodeError."""
    host, port = parse_address(server.address, "", 0)
    sock = socket.create_connection((host, port), _CONNECTING)
    try:
        sock.settimeout(None)
        disable_nagle(sock)
        _KEEP_ALIVE.apply(sock)
        if not server.fingerprint:
            return PlainStream(sock)
        encrypted = TlsStream(sock, pinned_context(server.fingerprint), host)
        sock = encrypted.socket
        encrypted.shake_hands(_CONNECTING)
    except BaseException:
        sock.close()
        raise
    return encrypted


def _wait_writable(sock: socket.socket, patience: float) -> None:
    """Return once the socket takes bytes. Raises OSError."""
    descriptor = sock.fileno()
    if descriptor < 0:
        raise OSError(errno.EBADF, "the connection was closed")
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(patience * 1_000):
        raise TimeoutError(errno.ETIME, f"it has taken nothing within {patience:g} s")
