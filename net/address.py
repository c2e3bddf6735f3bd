"""Floor 0: addresses as people write them: `host:port`, an IPv6 host in brackets."""

from __future__ import annotations

import ipaddress
import socket

from .errors import NetError


def format_address(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable_address(wanted: str, listening: str) -> str:
    """Return the address at which other machines reach a port that listens at the address `listening`.

    It is `wanted`, with that port if it names none, if it is not empty; else the address itself, with the name of this
    machine instead of one that stands for all of the machine's addresses. Raises NetError.
    """
    host, port = host_of(listening), int(listening.rpartition(":")[2])
    if wanted:
        host, port = parse_address(wanted, host, port)
    if host in ("0.0.0.0", "::", ""):
        host = socket.gethostname()
    return format_address(host, port)


def host_of(address: str) -> str:
    """Return the host of a formatted address, an IPv6 host without its brackets."""
    return address.rpartition(":")[0].strip("[]")


def network_of(host: str) -> str:
    """Return what one subscriber has: an IPv4 address itself, of an IPv6 address its /64 (RFC 6177).

    An IPv6 address that maps an IPv4 address stands for that one. A host that is no IP address is returned as it is.
    """
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"


def parse_address(text: str, default_host: str, default_port: int) -> tuple[str, int]:
    """Return host and port of `HOST`, `HOST:PORT`, `:PORT`, `[IPv6]`, `[IPv6]:PORT` or `IPv6`. Raises NetError."""
    host, port = text, ""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise NetError(f"{text!r} is not an address: write an IPv6 address with a port as [::1]:{default_port}.")
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise NetError(f"{port!r} is not a port: a port is a number from 1 to 65535.")
    return host or default_host, int(port or default_port)


def is_loopback(host: str) -> bool:
    """Return True for `localhost` and for a loopback address: what is sent there leaves this machine by no network."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
    return bool((getattr(address, "ipv4_mapped", None) or address).is_loopback)
