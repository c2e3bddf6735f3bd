"""Floor 0: the PROXY protocol, versions 1 and 2: the header by which a proxy tells for whom it opens a connection.

The rule is proxy-protocol.txt of the HAProxy project ("The PROXY protocol, Versions 1 & 2"); its sections are named
below. Additional fields of version 2 (TLVs) are passed over.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

LONGEST = 4_096  # bytes of a header with its additional fields; the rule asks for no particular number
SIGNATURE_1 = b"PROXY "
SIGNATURE_2 = b"\r\n\r\n\x00\r\nQUIT\n"

_LONGEST_1 = 107  # bytes of a header of version 1, with its line end (§2.1)
_FIXED_2 = 16  # bytes of a header of version 2 before the addresses (§2.2)
_LOCAL, _PROXY = 0x20, 0x21  # version 2, and the command
_WIDTHS = {0x11: 4, 0x21: 16}  # bytes of an address of TCP over IPv4, over IPv6
_LENGTHS = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}  # of the addresses, at least
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_MOST_PORT = 65_535


class ProxyHeaderError(Exception):
    """The bytes are no header; the message says why."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A header: its `size` in bytes, and the host and the port of the peer.

    `source` is None for a connection of the proxy itself, such as a health check, and for a peer without an IP address.
    """

    size: int
    source: tuple[str, int] | None


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """Return the header at the beginning of `data`, or None if more bytes must come. Raises ProxyHeaderError.

    If it returns None, all bytes belong to the header.
    """
    if data[: len(SIGNATURE_2)] == SIGNATURE_2[: len(data)]:
        return _version_2(data)
    if data[: len(SIGNATURE_1)] == SIGNATURE_1[: len(data)]:
        return _version_1(data)
    raise ProxyHeaderError("it does not begin with a header of the PROXY protocol")


def _version_1(data: bytes) -> ProxyHeader | None:
    """Parse `PROXY TCP4 source destination port port`, with one space between words (§2.1)."""
    head = data[:_LONGEST_1]
    end = head.find(b"\r\n")
    if end < 0:
        if len(head) == _LONGEST_1:
            raise ProxyHeaderError(f"the line is longer than {_LONGEST_1} bytes")
        return None
    words = head[len(SIGNATURE_1) : end].split(b" ")
    size = end + 2
    if words[0] == b"UNKNOWN":  # what follows has no meaning
        return ProxyHeader(size, None)
    if words[0] not in (b"TCP4", b"TCP6") or len(words) != 5:
        raise ProxyHeaderError("the line is not of the form PROXY TCP4 SOURCE DESTINATION PORT PORT")
    kind = ipaddress.IPv4Address if words[0] == b"TCP4" else ipaddress.IPv6Address
    source, _ = _address(kind, words[1]), _address(kind, words[2])
    port, _ = _port(words[3]), _port(words[4])
    return ProxyHeader(size, (source, port))


def _address(kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address], word: bytes) -> str:
    try:
        address = kind(word.decode("ascii"))
    except ValueError as error:  # also of what is not ASCII
        raise ProxyHeaderError("an address is wrong") from error
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise ProxyHeaderError("an address is wrong")
    return _host(address)


def _host(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return the address as text; for an IPv6 address that maps an IPv4 address, the latter."""
    return str(getattr(address, "ipv4_mapped", None) or address)


def _port(word: bytes) -> int:
    if _PORT.fullmatch(word) is None or int(word) > _MOST_PORT:
        raise ProxyHeaderError("a port is wrong")
    return int(word)


def _version_2(data: bytes) -> ProxyHeader | None:
    """Parse the binary header: signature, version and command, family, length, addresses, additional fields (§2.2)."""
    if len(data) > len(SIGNATURE_2) and data[12] not in (_LOCAL, _PROXY):
        raise ProxyHeaderError("the version or the command is unknown")
    if len(data) < _FIXED_2:
        return None
    family, length = data[13], int.from_bytes(data[14:_FIXED_2])
    size = _FIXED_2 + length
    if size > LONGEST:
        raise ProxyHeaderError(f"it is longer than {LONGEST} bytes")
    is_local = data[12] == _LOCAL  # then the family has no meaning
    if not is_local and family not in _LENGTHS:
        raise ProxyHeaderError("the family of the addresses is unknown")
    if not is_local and length < _LENGTHS[family]:
        raise ProxyHeaderError("the addresses are incomplete")
    if len(data) < size:
        return None
    if is_local or family not in _WIDTHS:
        return ProxyHeader(size, None)
    width = _WIDTHS[family]
    ports = _FIXED_2 + 2 * width
    source = _host(ipaddress.ip_address(data[_FIXED_2 : _FIXED_2 + width]))
    return ProxyHeader(size, (source, int.from_bytes(data[ports : ports + 2])))
