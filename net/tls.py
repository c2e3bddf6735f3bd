"""Floor 0: TLS: contexts for both ends, and TLS in memory for a socket that two threads use."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from pathlib import Path
from typing import TypeAlias

from .errors import NetError, reason

_CHUNK = 65_536  # bytes of one recv, and of what is encrypted at once

File: TypeAlias = str | Path


def client_context(ca: File | None = None, cert: File | None = None, key: File | None = None) -> ssl.SSLContext:
    """Return a context for a client that verifies its server. The files are PEM. Raises NetError.

    `ca`: the certificates of the authorities to trust; by default those of the system. `cert`: a certificate that the
    client shows; `key`: its private key, if that is not in the same file.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise NetError(f"Cannot use the CA file {ca}: {_file_reason(error)}.") from error
    if key and not cert:
        raise NetError(f"The key {key} needs a certificate beside it.")
    if cert:
        _load(context, cert, key)
    return context


def server_context(cert: File, key: File | None = None) -> ssl.SSLContext:
    """Return a context for a server. `cert`: a PEM file of its certificate and the chain above. Raises NetError.

    `key`: the private key, if that is not in the same file.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load(context, cert, key)
    return context


def _load(context: ssl.SSLContext, cert: File, key: File | None) -> None:
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:
        files = f"{cert} with the key {key}" if key else f"{cert}"
        raise NetError(f"Cannot use the certificate {files}: {_file_reason(error)}.") from error


def _file_reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and not error.reason:  # then OpenSSL names a part of itself only
        return "no certificate and key in PEM form found"
    return reason(error)


class TlsStream:
    """TLS in memory over a plain socket, of which one thread receives while any thread sends.

    An SSLSocket must not be read and written by two threads at once. The owner receives from the socket by itself and
    has `decrypt` decrypt the bytes; `send` encrypts, and sends without blocking.
    """

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, server_name: str | None = None, received: bytes = b""
    ) -> None:
        """Shake hands on a socket that blocks; clear its timeout (`settimeout`) before the first send. Raises OSError.

        With a `server_name` this end is the client, which verifies that name; without one it is the server. `received`
        was read from the socket before.
        """
        self._socket = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=server_name is None, server_hostname=server_name)
        self._lock = threading.Lock()  # of the TLS object and `_pending`; taken below a reader's
        self._pending = b""  # encrypted bytes that the socket has not taken
        self._in.write(received)
        self._shake_hands()

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                complete = True
            except ssl.SSLWantReadError:
                complete = False
            finally:  # if the handshake has failed, the peer gets the alert
                if encrypted := self._out.read():
                    self._socket.sendall(encrypted)
            if complete:
                return
            data = self._socket.recv(_CHUNK)
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "the connection was closed")
            self._in.write(data)

    @property
    def paused(self) -> bool:
        """True if encrypted bytes wait until the socket takes them: call `send` again when it does."""
        return bool(self._pending)

    def decrypt(self, data: bytes) -> bytes | None:
        """Return the plain text of what was received: empty while a record is incomplete, None at the end of TLS.

        Raises OSError. For the one thread that receives; it does not block.
        """
        pieces: list[bytes] = []
        with self._lock:
            self._in.write(data)
            try:
                while piece := self._tls.read(_CHUNK):
                    pieces.append(piece)
                ended = True
            except ssl.SSLWantReadError:
                ended = False
            except ssl.SSLZeroReturnError:
                ended = True
            self._flush_locked()  # TLS itself may have something to say
        return None if ended and not pieces else b"".join(pieces)

    def send(self, data: bytes | memoryview) -> int:
        """Encrypt and send without blocking; return how many bytes were accepted. Raises OSError. For any thread.

        Accepted bytes may still be `paused` here; it accepts no others until the socket has taken those.
        """
        with self._lock:
            if not self._flush_locked():
                return 0
            accepted = data[:_CHUNK]
            if accepted:
                self._tls.write(accepted)
                self._flush_locked()
            return len(accepted)

    def _flush_locked(self) -> bool:
        """Send what is encrypted; return True if the socket took all of it."""
        self._pending += self._out.read()
        try:
            while self._pending:
                self._pending = self._pending[self._socket.send(self._pending, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return False
        return True
