"""Floor 4: where a server is, as a person writes it."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from wire.errors import LocalError

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 7000

_PORTS = {"mqtt": 1883, "mqtts": 8883}  # IANA
_ROOT = re.compile(r"[^/#+$][^#+]*[^/#+]|")


@dataclass(frozen=True, slots=True)
class MqttAddress:
    """A broker: `name` and `password` are those in the URL, `root` the topic above all others, if it is another."""

    host: str
    port: int
    name: str | None = None
    password: str | None = None
    root: str = ""
    tls: bool = False

    def __str__(self) -> str:
        """As it can be shown: without the password."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{join(self.host, self.port)}"


def join(host: str, port: int) -> str:
    """Host and port as one."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str, default_port: int = DEFAULT_PORT) -> tuple[str, int]:
    """Host and port of `HOST`, `HOST:PORT`, `:PORT`, `[IPv6]`, `[IPv6]:PORT` or `IPv6`. Raises LocalError."""
    host, port = text, ""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise LocalError(f"{text!r} is no address: an IPv6 address with a port is written [::1]:{default_port}.")
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise LocalError(f"{port!r} is no port: it is a number from 1 to 65535.")
    return host or DEFAULT_HOST, int(port or default_port)


def parse_url(text: str) -> MqttAddress | None:
    """The broker of `mqtt://[USER[:PASSWORD]@]HOST[:PORT][/ROOT]`; None if it is no URL. Raises LocalError."""
    if "://" not in text:
        return None
    try:
        url = urlsplit(text)
    except ValueError as error:
        raise LocalError(f"{_bare(text)!r} is no address: {error}.") from None
    if url.scheme not in _PORTS:
        raise LocalError(f"A URL begins with mqtt:// or mqtts://, not with {url.scheme}://.")
    return _broker(url)


def _broker(url: SplitResult) -> MqttAddress:
    known, _, place = url.netloc.rpartition("@")
    user, colon, password = known.partition(":")
    host, port = parse_address(place, _PORTS[url.scheme])
    root = unquote(url.path).strip("/")
    if url.query or url.fragment or _ROOT.fullmatch(root) is None:
        raise LocalError("Behind the host and the port of a URL there can be one thing: the root of the topics.")
    return MqttAddress(
        host, port, unquote(user) or None, unquote(password) if colon else None, root, url.scheme == "mqtts"
    )


def _bare(text: str) -> str:
    """A URL without what may be a password."""
    scheme, _, rest = text.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """TLS with the authorities of the system, or with those in a file. Raises LocalError."""
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise LocalError(f"The file {ca} cannot be read as certificates: {error.strerror or error}.") from None
