"""Headers of the PROXY protocol: what they say, in any pieces, and what is none."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wire.proxy_protocol import LONGEST, SIGNATURE_2, ProxyHeader, ProxyHeaderError, parse_proxy_header

V4 = st.ip_addresses(v=4)
V6 = st.builds(ipaddress.IPv6Address, st.integers(1 << 64, 2**128 - 1))  # none that maps an IPv4 address
PORTS = st.integers(0, 65_535)
REST = st.binary(max_size=40)  # what follows the header: the peer's first bytes


def version_2(command: int, family: int, addresses: bytes, more: bytes = b"") -> bytes:
    """Return a header of version 2; `more` are additional fields."""
    return SIGNATURE_2 + struct.pack("!BBH", command, family, len(addresses) + len(more)) + addresses + more


@st.composite
def headers(draw: st.DrawFn) -> tuple[bytes, tuple[str, int] | None]:
    """Valid headers of either version, and the source that they name."""
    family = draw(st.sampled_from([4, 6]))
    source, destination = draw(st.tuples(V4, V4) if family == 4 else st.tuples(V6, V6))
    port, other = draw(PORTS), draw(PORTS)
    named = (str(source), port)
    match draw(st.sampled_from(["line", "unknown", "binary", "local", "other"])):
        case "line":
            return f"PROXY TCP{family} {source} {destination} {port} {other}\r\n".encode(), named
        case "unknown":
            rest = draw(st.sampled_from(["", " ffff::1 ffff::2 1 2", " what ever"]))
            return f"PROXY UNKNOWN{rest}\r\n".encode(), None
        case "binary":
            more = draw(st.binary(max_size=60))
            block = source.packed + destination.packed + struct.pack("!HH", port, other)
            return version_2(0x21, 0x11 if family == 4 else 0x21, block, more), named
        case "local":
            return version_2(0x20, draw(st.integers(0, 255)), draw(st.binary(max_size=60))), None
    kind, size = draw(st.sampled_from([(0x00, 0), (0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)]))
    return version_2(0x21, kind, draw(st.binary(min_size=size, max_size=size + 20))), None


@given(headers(), REST)
def test_a_header_is_found_at_its_last_byte_and_not_before(
    header: tuple[bytes, tuple[str, int] | None], rest: bytes
) -> None:
    data, source = header
    assert parse_proxy_header(data + rest) == ProxyHeader(len(data), source)
    assert all(parse_proxy_header(data[:size]) is None for size in range(len(data)))


@given(headers(), st.integers(0, 11), st.integers(1, 255))
def test_a_header_whose_start_is_damaged_is_none(
    header: tuple[bytes, tuple[str, int] | None], at: int, flip: int
) -> None:
    damaged = bytearray(header[0])
    at = min(at, 5) if damaged.startswith(b"PROXY ") else at
    damaged[at] ^= flip
    with pytest.raises(ProxyHeaderError):
        parse_proxy_header(bytes(damaged))


@given(st.binary(max_size=300))
@example(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n")
@example(SIGNATURE_2 + b"\x21\x11\x00\x0c")
def test_any_bytes_are_a_header_or_the_start_of_one_or_an_error(data: bytes) -> None:
    """What is found lies within the bytes, and a source is an IP address with a port."""
    header = None
    for size in range(len(data) + 1):
        try:
            header = parse_proxy_header(data[:size])
        except ProxyHeaderError:
            return
        if header is not None:
            break
    if header is None:
        assert len(data) < LONGEST
        return
    assert header.size <= len(data)
    if header.source is not None:
        ipaddress.ip_address(header.source[0])
        assert 0 <= header.source[1] <= 65_535


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"alice\n",
        b'{"op":"hello"}\n',
        b"\x16\x03\x01",
        b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 \xb2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n" + b"x" * 107,
        b"PROXY UNKNOWN" + b" " * 93 + b"\r\n",  # one byte more than fits
        version_2(0x11, 0x11, bytes(12)),  # version 1
        version_2(0x22, 0x11, bytes(12)),  # an unknown command
        version_2(0x21, 0x13, bytes(12)),
        version_2(0x21, 0x41, bytes(216)),
        version_2(0x21, 0x11, bytes(11)),
        version_2(0x21, 0x21, bytes(35)),
        version_2(0x21, 0x31, bytes(215)),
        version_2(0x21, 0x11, bytes(12), bytes(LONGEST)),
        version_2(0x20, 0x00, b"", bytes(LONGEST)),
    ],
)
def test_what_is_no_header_is_an_error(data: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        parse_proxy_header(data)


def test_a_line_may_have_107_bytes() -> None:
    line = b"PROXY UNKNOWN" + b" " * 92 + b"\r\n"
    assert parse_proxy_header(line) == ProxyHeader(107, None)


def test_an_address_that_maps_an_ipv4_address_is_that_one() -> None:
    block = ipaddress.ip_address("::ffff:192.0.2.7").packed * 2 + struct.pack("!HH", 5, 6)
    header = parse_proxy_header(version_2(0x21, 0x21, block))
    assert header is not None
    assert header.source == ("192.0.2.7", 5)
