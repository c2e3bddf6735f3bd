"""A blocking socket with a deadline, the base of all test clients."""

from __future__ import annotations

import socket
import ssl
import struct
from types import TracebackType
from typing import Self

from tests.support.waiting import DEADLINE

_TLS = "tls://"


def endpoint(address: str) -> tuple[str, int]:
    """`host:port`, as a server shows it, as a pair; `tls://` before it is left out."""
    host, _, port = address.removeprefix(_TLS).rpartition(":")
    return host.strip("[]"), int(port)


def in_tls(address: str) -> str:
    """The address as one of a client that speaks TLS there."""
    return f"{_TLS}{address}"


def encrypted(sock: socket.socket, address: str) -> socket.socket:
    """The connected socket, in TLS if its address begins with `tls://`. It does not verify the certificate."""
    if not address.startswith(_TLS):
        return sock
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(sock)


class Connection:
    """A blocking socket with deadlines: what both test clients have in common."""

    def __init__(self, address: str) -> None:
        self.socket = encrypted(socket.create_connection(endpoint(address), DEADLINE), address)
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
        except (ConnectionError, ssl.SSLError):
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
