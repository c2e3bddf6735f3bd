"""The address of a server, as the client takes it."""

from __future__ import annotations

import pytest

from client import main
from terminal.links.address import parse_address, parse_url
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
    ],
)
def test_a_bad_address_is_one_sentence(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LocalError):
        parse_url(text) or parse_address(text)
    assert main([text, "--name", "alice"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
