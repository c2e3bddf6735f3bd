"""Floor 0: ask a server one question, by a connection of its own, and read what it answers."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator
from contextlib import ExitStack


def ask(
    host: str, port: int, question: bytes, seconds: float, context: ssl.SSLContext | None = None
) -> Generator[bytes, None, None]:
    """Send a question, and yield what comes, piece by piece, until the server ends the connection. Raises OSError.

    With a `context`, the connection is in TLS. Each wait may take `seconds`.
    """
    with ExitStack() as opened:
        stream = opened.enter_context(socket.create_connection((host, port), seconds))
        if context is not None:
            stream = opened.enter_context(context.wrap_socket(stream, server_hostname=host))
        stream.sendall(question)
        while data := stream.recv(65_536):
            yield data
