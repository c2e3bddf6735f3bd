"""Floor 0: options and counters of TCP sockets."""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
from dataclasses import dataclass

_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux has it
_ENDED = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)  # Linux has the last one
_UNACKNOWLEDGED = termios.TIOCOUTQ  # SIOCOUTQ of tcp(7) is the same number


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """When the kernel ends the connection to a silent peer: after `idle` + `interval` * `probes` seconds (tcp(7))."""

    idle: int  # seconds of silence until the first probe
    interval: int  # seconds between two probes
    probes: int  # probes without an answer until the connection ends
    limit_sends: bool = False  # give up a peer that has not acknowledged, or not taken, a byte for as long, too

    @property
    def seconds(self) -> int:
        """Seconds of silence after which the kernel ends the connection."""
        return self.idle + self.interval * self.probes

    def apply(self, sock: socket.socket) -> None:
        """Set the options. Raises OSError."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, self.idle)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, self.interval)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, self.probes)
        if self.limit_sends and _USER_TIMEOUT is not None:
            # The kernel sends no probe while data is on its way, and would repeat the data for a quarter of an hour.
            sock.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, self.seconds * 1_000)


def disable_nagle(sock: socket.socket) -> None:
    """Send small packets at once (TCP_NODELAY): by default an answer may take 40 ms. Raises OSError."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def set_receive_timeout(sock: socket.socket, seconds: float | None) -> None:
    """Let `recv` raise BlockingIOError after so many seconds without a byte; None: let it wait for ever.

    The kernel keeps this time (SO_RCVTIMEO); it measures it in steps of some milliseconds. `settimeout` would make the
    socket non-blocking and so change what sends do.
    """
    whole, part = divmod(0 if seconds is None else max(seconds, 0.001), 1)  # 0 means for ever
    value = struct.pack("ll", int(whole), int(part * 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)


def unacknowledged_bytes(sock: socket.socket) -> int:
    """Return how many bytes the peer's machine has not acknowledged. Raises OSError; ValueError if it is closed."""
    return int(struct.unpack("i", fcntl.ioctl(sock, _UNACKNOWLEDGED, b"\0" * 4))[0])


def peer_has_ended(sock: socket.socket) -> bool:
    """Return True if the peer has ended its side or the connection is lost, also if bytes are left to be read."""
    descriptor = sock.fileno()
    if descriptor < 0:
        return True
    poll = select.poll()
    poll.register(descriptor, _ENDED)
    return bool(poll.poll(0))
