"""Floor 4: the sender's end of a direct transfer: a port that serves one file to users whom the server has announced.

Without a valid token, a connection gets no byte. The frames are those of the server: `attach`, then `have`, `get` and
`sum`; any other frame ends the connection. If the sender's connection to the server is in TLS, so is this one, with a
certificate of its own that signs itself: the server tells its fingerprint to the receiver, who accepts no other.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Self

from net import disable_nagle, listen
from wire.errors import Refused
from wire.frames import Attach, Attached, Chunk, Frame, Get, Have, Ranges, Request, Sum, SumIs
from wire.jsonlines import JsonLines
from wire.limits import Limits
from wire.names import fold

from .sources import Source

_PATIENCE = 5.0  # seconds until a connection must have shown a token
_SILENCE = 60.0  # seconds without a request, or without a byte taken
_TOKEN = 30.0  # seconds of a token's validity
_CONNECTIONS = 8  # at a time
_TOKENS = 64  # unused ones at a time
_CHUNK = 1 << 18  # bytes of one answer
_SUM = 8 << 20  # bytes of one `sum` request, at most
_LIMITS = Limits(line=4_096, payload=0)
_RECEIVED = 1 << 16


class _EndError(Exception):
    """End this connection without an answer."""


class DirectListener:
    """A port, a thread that accepts, and a thread for each connection. Any thread may call its methods.

    The threads of the connections call `served` with the end of each piece that they send.
    """

    def __init__(
        self,
        host: str,
        port: int,
        source: Source,
        info: Ranges,
        served: Callable[[int], None],
        *,
        encrypted: bool = False,
    ) -> None:
        """Listen on `port`; 0 takes any free one. Raises NetError or OSError."""
        self._tls: ssl.SSLContext | None = None
        self.fingerprint = ""  # of the certificate, with TLS
        if encrypted:
            self._tls, self.fingerprint = _own_certificate()
        self._source = source
        self._info = info
        self._served = served
        self._changed = threading.Condition()
        self._tokens: dict[str, tuple[str, float]] = {}  # under _changed: the user of each, and until when it is valid
        self._connections: dict[socket.socket, bool] = {}  # under _changed: has it shown a token?
        self._closed = False
        self._socket = listen(host, port, _CONNECTIONS)
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, name="partyline-listener", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the port and all connections."""
        with self._changed:
            self._closed = True
            sockets = [self._socket, *self._connections]
            self._changed.notify_all()
        for one in sockets:
            _hang_up(one)
        self._socket.close()

    @property
    def busy(self) -> bool:
        """True if a user is fetching."""
        with self._changed:
            return any(self._connections.values())

    def expect(self, user: str, token: str) -> None:
        """Let a user in with this token, once, for the next 30 seconds."""
        with self._changed:
            self._tokens[token] = fold(user), time.monotonic() + _TOKEN
            while len(self._tokens) > _TOKENS:
                del self._tokens[next(iter(self._tokens))]
            self._changed.notify_all()

    # The thread that accepts

    def _accept(self) -> None:
        while True:
            try:
                line = self._socket.accept()[0]
            except OSError:
                return
            with self._changed:
                full = self._closed or len(self._connections) >= _CONNECTIONS
                if not full:
                    self._connections[line] = False
            if full:
                line.close()
                continue
            threading.Thread(target=self._run, args=(line,), name="partyline-direct", daemon=True).start()

    # A connection's own thread

    def _run(self, line: socket.socket) -> None:
        source = self._source.twin()
        until = time.monotonic() + _PATIENCE
        try:
            disable_nagle(line)
            if self._tls is not None:
                line = self._encrypt(line, self._tls)
            self._serve(line, source, until)
        except (OSError, ValueError, Refused, _EndError):
            pass  # the receiver notices, and continues through the server
        finally:
            source.close()
            _hang_up(line)
            with self._changed:
                self._connections.pop(line, None)
            line.close()

    def _encrypt(self, line: socket.socket, tls: ssl.SSLContext) -> socket.socket:
        """Return the connection in TLS, which takes its place. Raises OSError."""
        line.settimeout(_PATIENCE)  # of the handshake in all
        with self._changed:  # `close` must find the one that is open
            encrypted = tls.wrap_socket(line, server_side=True, do_handshake_on_connect=False)
            self._connections.pop(line, None)
            self._connections[encrypted] = False
            if self._closed:
                raise _EndError
        try:
            encrypted.do_handshake()
        except OSError:
            with self._changed:
                self._connections.pop(encrypted, None)
            encrypted.close()
            raise
        return encrypted

    def _serve(self, line: socket.socket, source: Source, limit: float) -> None:
        until: float | None = limit
        dialect = JsonLines(_LIMITS)
        while True:
            line.settimeout(_SILENCE if until is None else max(0.01, until - time.monotonic()))
            data = line.recv(_RECEIVED)
            if not data:
                return
            for request in dialect.receive(data):
                if until is not None:
                    if not isinstance(request, Attach) or not self._admit(request, until):
                        raise _EndError
                    until = None
                    line.settimeout(_SILENCE)
                    with self._changed:
                        self._connections[line] = True
                    answer: Frame = Attached(name=self._info.sender, ref=request.ref)
                else:
                    answer = self._answer(request, source)
                for piece in JsonLines.encode_apart(answer):
                    line.sendall(piece)

    def _admit(self, shown: Attach, until: float) -> bool:
        """Use up the token; return True if it is valid. Wait for it: the server's message may still be on its way."""
        with self._changed:
            while not self._closed:
                if (token := self._find_locked(shown.token)) is not None:
                    name, good_until = self._tokens.pop(token)
                    return name == fold(shown.name) and time.monotonic() < good_until
                if not self._changed.wait(max(0.0, until - time.monotonic())):
                    return False
        return False

    def _find_locked(self, shown: str) -> str | None:
        """Return the shown token if it is a known one, in a time that does not depend on the known ones."""
        found = [token for token in self._tokens if hmac.compare_digest(token.encode(), shown.encode())]
        return found[0] if found else None

    def _answer(self, request: Request, source: Source) -> Frame:
        info = self._info
        if not isinstance(request, Have | Get | Sum) or request.file != info.file:
            raise _EndError
        if isinstance(request, Have):
            return Ranges(
                file=info.file, name=info.name, size=info.size, sender=info.sender, have=[[0, info.size]], done=True,
                sha256=info.sha256, parts=info.parts, ref=request.ref,
            )  # fmt: skip
        end = request.offset + request.length
        if end > info.size:
            raise _EndError
        if isinstance(request, Sum):
            if request.length > _SUM:
                raise _EndError
            made = hashlib.sha256(source.read(request.offset, request.length)).hexdigest()
            return SumIs(file=info.file, offset=request.offset, length=request.length, sha256=made, ref=request.ref)
        data = source.read(request.offset, min(request.length, _CHUNK))
        self._served(request.offset + len(data))
        return Chunk(file=info.file, offset=request.offset, bytes=len(data), payload=data, ref=request.ref)


def _own_certificate() -> tuple[ssl.SSLContext, str]:
    from net.certificates import self_signed_context  # only here: importing cryptography takes time

    return self_signed_context()


def _hang_up(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(line, socket.SHUT_RDWR)  # of TLS, too: SSLSocket.shutdown would go on without it
