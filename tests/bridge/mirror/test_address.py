"""The address of a broker."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import pytest

from bridge.mirror import Broker, BrokerConfig, parse_broker
from wire.errors import LocalError


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("mqtt://host", Broker("host", 1883)),
        ("mqtt://host:1884/", Broker("host", 1884)),
        ("MQTT://Host", Broker("host", 1883)),
        ("mqtt://us@host", Broker("host", 1883, "us")),
        ("mqtt://us:p%40ss%3A@host", Broker("host", 1883, "us", "p@ss:")),
        ("mqtt://[::1]:1884", Broker("::1", 1884)),
    ],
)
def test_an_address(url: str, wanted: Broker) -> None:
    assert parse_broker(BrokerConfig(url=url)) == wanted
    assert "p@ss" not in repr(wanted)


def test_an_address_over_tls(tmp_path: Path) -> None:
    found = parse_broker(BrokerConfig(url="mqtts://host"))
    assert (found.host, found.port) == ("host", 8883)
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_REQUIRED
    assert found.tls.check_hostname
    assert parse_broker(BrokerConfig(url="mqtt://[::1]")).address == "[::1]:1883"


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"url": "host"}, "The broker's address has the form mqtt://"),
        ({"url": "host:1883"}, "The broker's address has the form mqtt://"),
        ({"url": "http://host"}, "The broker's address has the form mqtt://"),
        ({"url": "mqtt://"}, "The broker's address has the form mqtt://"),
        ({"url": "mqtt://:1883"}, "The broker's address has the form mqtt://"),
        ({"url": "mqtt://host/chat"}, "The broker's address has the form mqtt://"),
        ({"url": "mqtt://host?x=1"}, "The broker's address has the form mqtt://"),
        ({"url": "mqtt://host:port"}, "The broker's address is wrong ("),
        ({"url": "mqtt://host:70000"}, "The broker's address is wrong ("),
        ({"url": "mqtt://host:0"}, "The broker's address has the form mqtt://"),
        ({"url": "mqtt://[::1"}, "The broker's address is wrong ("),
        ({"url": "mqtt://host", "ca": "x"}, "has to begin with mqtts://"),
        ({"url": "mqtts://host", "ca": "/nowhere"}, "Cannot use the CA file /nowhere: No such file"),
        ({"url": "mqtts://host", "key": "x"}, "needs a certificate beside it"),
        ({"url": "mqtts://host", "cert": "/nowhere"}, "Cannot use the certificate /nowhere: No such file"),
    ],
)
def test_a_wrong_address_is_one_clear_sentence(fields: dict[str, str], part: str) -> None:
    with pytest.raises(LocalError) as raised:
        parse_broker(BrokerConfig(**fields))  # type: ignore[arg-type]
    sentence = str(raised.value)
    assert part in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file with a password."""
    file = tmp_path / "secret"
    file.write_text("p w:@\nand a comment\n")
    return file


def test_the_password_comes_from_the_address_a_file_or_the_environment(
    secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARTYLINE_BROKER_PASSWORD", "from the environment")
    for config, password in (
        (BrokerConfig(url="mqtt://hub:in%20url@h"), "in url"),
        (BrokerConfig(url="mqtt://hub@h", password_file=str(secret)), "p w:@"),
        (BrokerConfig(url="mqtt://hub@h"), "from the environment"),
        (BrokerConfig(url="mqtt://h"), None),
    ):
        assert parse_broker(config).password == password
    monkeypatch.delenv("PARTYLINE_BROKER_PASSWORD")
    assert parse_broker(BrokerConfig(url="mqtt://hub@h")).password is None


@pytest.mark.parametrize(
    ("url", "content", "sentence"),
    [
        ("mqtt://hub:x@h", b"p", "The broker's password is in broker.url and in broker.password_file"),
        ("mqtt://h", b"p", "The broker's password needs a user name"),
        ("mqtt://hub@h", b"", "has an empty first line."),
        ("mqtt://hub@h", b"\n", "has an empty first line."),
        ("mqtt://hub@h", b"\xff\xfe", "it is not text."),
        ("mqtt://hub@h", None, "No such file or directory."),
    ],
)
def test_a_password_file_that_cannot_be_used_is_one_sentence(
    url: str, content: bytes | None, sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(LocalError, match=re.escape(sentence)):
        parse_broker(BrokerConfig(url=url, password_file=str(file)))
