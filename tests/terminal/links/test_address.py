"""The address of a server, as the client takes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import main
from terminal.links.address import (
    DEFAULT_HOST,
    MOST_SERVERS,
    JsonAddress,
    MqttAddress,
    Place,
    parse_address,
    parse_server,
)
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
        ("chat.lan", JsonAddress((("chat.lan", 7000),))),
        ("tls://chat.lan", JsonAddress((("chat.lan", 7000),), tls=True)),
        ("TLS://[::1]:8000/", JsonAddress((("::1", 8000),), tls=True)),
        ("tls://", JsonAddress((("127.0.0.1", 7000),), tls=True)),
        ("a,b:7001, [::1]:7002", JsonAddress((("a", 7000), ("b", 7001), ("::1", 7002)))),
        (":7000,:7001", JsonAddress((("127.0.0.1", 7000), ("127.0.0.1", 7001)))),
        ("tls://a:8000,b", JsonAddress((("a", 8000), ("b", 7000)), tls=True)),
    ],
)
def test_an_address_may_ask_for_tls_and_name_several_servers(text: str, address: JsonAddress) -> None:
    assert parse_server(text) == address
    assert parse_server(str(address)) == address
    assert [parse_server(name) for name in address.names()] == [
        JsonAddress((place,), address.tls) for place in address.places
    ]


HOSTS = st.from_regex(r"[a-z]([a-z0-9]{0,8}(\.[a-z0-9]{1,8}){0,2})?", fullmatch=True) | st.ip_addresses().map(str)
PLACES = st.lists(st.tuples(HOSTS, st.integers(1, 65_535)), min_size=1, max_size=MOST_SERVERS, unique=True).map(tuple)


@given(PLACES, st.booleans())
def test_what_an_address_prints_is_that_address(places: tuple[tuple[str, int], ...], tls: bool) -> None:
    json, mqtt = JsonAddress(places, tls=tls), MqttAddress(places, tls=tls)
    assert parse_server(str(json)) == json
    assert parse_server(str(mqtt)) == mqtt
    assert len(set(json.names())) == len(places)


@given(
    st.sampled_from(["", "tls://", "mqtt://", "mqtts://", "mqtt://bob:hidden@"]), st.text("ab:,@[]/.?#%1 ", max_size=30)
)
def test_any_text_is_an_address_or_one_sentence_without_the_password(scheme: str, text: str) -> None:
    said = ""
    places: tuple[Place, ...] = ((DEFAULT_HOST, 1),)
    try:
        places = parse_server(scheme + text).places
    except LocalError as error:
        said = str(error)
    assert "\n" not in said
    assert "hidden" not in said
    assert 1 <= len(set(places)) == len(places) <= MOST_SERVERS


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
        "a,",
        ",a",
        "a,,b",
        "tls://,",
        "a,a:7000",
        "mqtt://a,b:1883,b",
        "tls://a,tls://b",
        "mqtt://a,mqtt://b:1883",
        "a,tls://b",
        ",".join(f"h{number}" for number in range(17)),
    ],
)
def test_a_bad_address_is_one_sentence(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LocalError):
        parse_server(text)
    assert main([text, "--name", "alice"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
