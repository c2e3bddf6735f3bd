"""Addresses as people write them."""

from __future__ import annotations

import pytest

from net import NetError, format_address, host_of, is_loopback, parse_address, reachable_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", ("localhost", 7000)),
        ("chat.lan", ("chat.lan", 7000)),
        ("chat.lan:8000", ("chat.lan", 8000)),
        (":8000", ("localhost", 8000)),
        ("[::1]:8000", ("::1", 8000)),
        ("[::1]", ("::1", 7000)),
        ("fe80::1", ("fe80::1", 7000)),
        ("h:1", ("h", 1)),
        ("h:65535", ("h", 65_535)),
    ],
)
def test_an_address_is_a_host_a_port_or_both(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, "localhost", 7000) == address


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("h:0", "'0' is not a port: a port is a number from 1 to 65535."),
        ("h:65536", "'65536' is not a port: a port is a number from 1 to 65535."),
        ("h:http", "'http' is not a port: a port is a number from 1 to 65535."),
        ("h:-1", "'-1' is not a port: a port is a number from 1 to 65535."),
        ("h:٣", "'٣' is not a port: a port is a number from 1 to 65535."),
        ("[::1]:x", "'x' is not a port: a port is a number from 1 to 65535."),
        ("[::1", "'[::1' is not an address: write an IPv6 address with a port as [::1]:7000."),
        ("[::1]7000", "'[::1]7000' is not an address: write an IPv6 address with a port as [::1]:7000."),
    ],
)
def test_a_bad_address_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(NetError) as raised:
        parse_address(text, "localhost", 7000)
    assert str(raised.value) == sentence


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7"), ("h", "h:7")])
def test_formatting_and_reading_are_inverse(host: str, address: str) -> None:
    assert format_address(host, 7) == address
    assert host_of(address) == host
    assert parse_address(address, "", 0) == (host, 7)


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("LocalHost.", True),
        ("192.168.1.5", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("2001:db8::1", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_what_stays_on_this_machine(host: str, own: bool) -> None:
    assert is_loopback(host) is own


@pytest.mark.parametrize(
    ("wanted", "listening", "address"),
    [
        ("", "10.0.0.5:7000", "10.0.0.5:7000"),
        ("", "[fe80::1]:7000", "[fe80::1]:7000"),
        ("", "0.0.0.0:7000", "here.lan:7000"),
        ("", "[::]:7001", "here.lan:7001"),
        ("lab-a", "0.0.0.0:7000", "lab-a:7000"),
        ("lab-a:80", "10.0.0.5:7000", "lab-a:80"),
        (":80", "10.0.0.5:7000", "10.0.0.5:80"),
        ("::1", "10.0.0.5:7000", "[::1]:7000"),
    ],
)
def test_others_reach_a_port_at_its_address(
    monkeypatch: pytest.MonkeyPatch, wanted: str, listening: str, address: str
) -> None:
    monkeypatch.setattr("net.address.socket.gethostname", lambda: "here.lan")
    assert reachable_address(wanted, listening) == address


def test_others_reach_nothing_at_a_bad_address() -> None:
    with pytest.raises(NetError, match="'x' is not a port"):
        reachable_address("lab-a:x", "0.0.0.0:7000")
