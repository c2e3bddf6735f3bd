"""Floor 0: listening sockets."""

from __future__ import annotations

import errno
import socket

from .address import format_address
from .errors import NetError, reason


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """Return a TCP socket that listens on this address; port 0 picks a free one. Raises NetError.

    The host `::` stands for all IPv6 and all IPv4 addresses of the machine, where the system can serve both.
    """
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(where[:2], family=family, backlog=backlog, dualstack_ipv6=both)
    except OSError as error:
        place = format_address(host, port)
        if error.errno == errno.EADDRINUSE:
            raise NetError(f"Cannot listen on {place}: another program uses this port. Choose another port.") from error
        raise NetError(f"Cannot listen on {place}: {reason(error)}.") from error
    except UnicodeError as error:  # of a name that no DNS can have, such as a..b
        raise NetError(f"Cannot listen on {format_address(host, port)}: that is not a host name.") from error
