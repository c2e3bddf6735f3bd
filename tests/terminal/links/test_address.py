"""The address of a server, as the client takes it."""

from __future__ import annotations

import pytest

from client import main
from terminal.links.address import JsonAddress, parse_address, parse_server
from wire.errors import LocalError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", ("127.0.0.1", 7000)),
        ("chat.lan", ("chat.lan", 7000)),
        ("chat.lan:8000", ("chat.lan", 8000)),
        (":8000", ("127.0.0.1", 8000)),
        ("[::1]:8000", ("::1", 8000)),
        ("[::1]", ("::1", 7000)),
        ("fe80::1", ("fe80::1", 7000)),
    ],
)
def test_an_address_is_a_host_a_port_or_both(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("chat.lan", JsonAddress("chat.lan", 7000)),
        ("tls://chat.lan", JsonAddress("chat.lan", 7000, tls=True)),
        ("tls://[::1]:8000/", JsonAddress("::1", 8000, tls=True)),
        ("tls://", JsonAddress("127.0.0.1", 7000, tls=True)),
    ],
)
def test_an_address_may_ask_for_tls(text: str, address: JsonAddress) -> None:
    assert parse_server(text) == address
    assert parse_server(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "h:0",
        "h:65536",
        "h:http",
        "h:-1",
        "[::1",
        "[::1]7000",
        "[::1]:x",
        "h:٣",
        "a..b",
        ".",
        "a..b:7000",
        "mqtt://a..b",
        "tls://a..b",
        "tls://h:0",
        "tls://alice@h",
        "tls://h/chat",
        "ssl://h",
    ],
)
def test_a_bad_address_is_one_sentence(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LocalError):
        parse_server(text)
    assert main([text, "--name", "alice"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
