"""Floor 0: connect to a host by any of its addresses, in a time that bounds all of them together."""

from __future__ import annotations

import socket
import time

_LEAST = 0.001  # seconds; 0 would make the socket non-blocking


def connect(host: str, port: int, seconds: float) -> socket.socket:
    """Return a socket that is connected within `seconds`; what is left of them is its timeout.

    The addresses of the host are tried in order, each of them as long as those after it have the same time. Finding the
    addresses counts, but cannot be interrupted. Raises OSError, UnicodeError.
    """
    until = time.monotonic() + seconds
    places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    error = OSError(f"{host} has no address")
    for at, (family, kind, protocol, _, place) in enumerate(places):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(until) / (len(places) - at))
            sock.connect(place)
        except OSError as failed:
            sock.close()
            error = failed
        else:
            sock.settimeout(_left(until))
            return sock
    raise error


def _left(until: float) -> float:
    return max(_LEAST, until - time.monotonic())
