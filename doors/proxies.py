"""Floor 3: the proxies before the server, whose connections begin with a header that names the peer.

wire/proxy_protocol.py parses it.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from net import PlainStream
from wire.errors import LocalError
from wire.proxy_protocol import LONGEST, ProxyHeader, ProxyHeaderError, parse_proxy_header

_BRIEF = 1.0  # seconds that a header may take while too many connections wait for theirs


class Proxies:
    """The addresses of the setting `proxies`, and their connections without a header yet. For any thread."""

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        """Each is an IP address or a network, such as 10.0.0.0/8. Raises LocalError."""
        self._networks = [_network(address) for address in addresses]
        self._lock = threading.Lock()
        self._waiting = 0  # connections without their header

    def include(self, host: str) -> bool:
        """Return True if a peer with this IP address is a proxy."""
        if not self._networks:
            return False
        address = ipaddress.ip_address(host.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)

    @contextmanager
    def header_awaited(self) -> Iterator[None]:
        """Count a connection that waits for its header."""
        with self._lock:
            self._waiting += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    def more_wait_than(self, most: int) -> bool:
        """Return True if more than so many connections wait for their headers."""
        return self._waiting > most


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise LocalError(
            f"The setting proxies has {text!r}, which is neither an IP address nor a network such as 10.0.0.0/8."
        ) from error


def read_header(
    stream: PlainStream, seconds: float, too_many: Callable[[], bool] = lambda: False
) -> ProxyHeader | None:
    """Read the header of a proxy's connection, and nothing after it. Return None if the connection ends before it.

    Raises ProxyHeaderError, also if the whole header does not come within `seconds`, or OSError. If `too_many` returns
    True after a second, it does not wait any longer.
    """
    began = time.monotonic()
    allowed, data = min(_BRIEF, seconds), b""
    while True:
        left = began + allowed - time.monotonic()
        piece = stream.peek(LONGEST, left) if left > 0 else None
        if piece is None:
            if allowed == seconds or too_many():
                raise ProxyHeaderError(f"it did not come within {allowed:g} second{'s' if allowed != 1 else ''}")
            allowed = seconds
            continue
        if not piece:
            if data:
                raise ProxyHeaderError("the connection ended within it")
            return None
        header = parse_proxy_header(data + piece)
        stream.receive(len(piece) if header is None else header.size - len(data), left)
        if header is not None:
            return header
        data += piece
