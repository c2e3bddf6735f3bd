"""Floor 4: the address of a server, as a person writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

import net
from wire.errors import LocalError

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 7000

_TLS = "tls"
_PORTS = {_TLS: DEFAULT_PORT, "mqtt": 1883, "mqtts": 8883}  # the latter two from IANA
_ROOT = re.compile(r"[^/#+$][^#+]*[^/#+]|")


@dataclass(frozen=True, slots=True)
class JsonAddress:
    """A server that is spoken to in JSON lines."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        """Return it as a person writes it."""
        return f"{'tls://' if self.tls else ''}{net.format_address(self.host, self.port)}"


@dataclass(frozen=True, slots=True)
class MqttAddress:
    """A broker. `name` and `password` are those in the URL; `root` is the topic root, empty for the default."""

    host: str
    port: int
    name: str | None = None
    password: str | None = None
    root: str = ""
    tls: bool = False

    def __str__(self) -> str:
        """Return the URL without name and password."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{net.format_address(self.host, self.port)}"


def parse_address(text: str, default_port: int = DEFAULT_PORT) -> tuple[str, int]:
    """Return host and port of `HOST`, `HOST:PORT`, `:PORT`, `[IPv6]`, `[IPv6]:PORT` or `IPv6`. Raises LocalError."""
    try:
        host, port = net.parse_address(text, DEFAULT_HOST, default_port)
        host.encode("idna")  # as the resolver does; it fails for a name that no DNS can have, such as a..b
    except net.NetError as error:
        raise LocalError(str(error)) from None
    except UnicodeError:
        raise LocalError(f"{host!r} is not a host name.") from None
    return host, port


def parse_server(text: str) -> JsonAddress | MqttAddress:
    """Parse `[tls://]HOST[:PORT]` or `mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT][/ROOT]`. Raises LocalError."""
    if "://" not in text:
        return JsonAddress(*parse_address(text))
    try:
        url = urlsplit(text)
    except ValueError as error:
        raise LocalError(f"{_bare(text)!r} is not an address: {error}.") from None
    if url.scheme not in _PORTS:
        raise LocalError(f"Unknown scheme {url.scheme}://: use tls://, mqtt://, mqtts://, or HOST:PORT.")
    if url.scheme != _TLS:
        return _broker(url)
    if url.username is not None or url.path.strip("/") or url.query or url.fragment:
        raise LocalError("After tls://, an address has HOST[:PORT] only. --name gives your name.")
    return JsonAddress(*parse_address(url.netloc, _PORTS[_TLS]), tls=True)


def _broker(url: SplitResult) -> MqttAddress:
    known, _, place = url.netloc.rpartition("@")
    user, colon, password = known.partition(":")
    host, port = parse_address(place, _PORTS[url.scheme])
    root = unquote(url.path).strip("/")
    if url.query or url.fragment or _ROOT.fullmatch(root) is None:
        raise LocalError("After HOST:PORT, a URL may contain the topic root only, as in mqtt://HOST/chat.")
    return MqttAddress(
        host, port, unquote(user) or None, unquote(password) if colon else None, root, url.scheme == "mqtts"
    )


def _bare(text: str) -> str:
    """Return a URL without its user and password."""
    scheme, _, rest = text.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
