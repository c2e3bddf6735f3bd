"""Floor 4: the address of a server, or of several servers of one chat, as a person writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote

import net
from wire.errors import LocalError

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 7000
MOST_SERVERS = 16  # in one address

_TLS = "tls"
_PORTS = {_TLS: DEFAULT_PORT, "mqtt": 1883, "mqtts": 8883}  # the latter two from IANA
_URL = re.compile(r"(?P<scheme>[^:]*)://(?P<hosts>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL)
_ROOT = re.compile(r"[^/#+$][^#+]*[^/#+]|")

Place: TypeAlias = tuple[str, int]  # host and port


@dataclass(frozen=True, slots=True)
class JsonAddress:
    """Servers of one chat, in the order of trying, that are spoken to in JSON lines."""

    places: tuple[Place, ...]
    tls: bool = False

    def names(self) -> list[str]:
        """Return each server as a person writes it."""
        return [f"{'tls://' if self.tls else ''}{net.format_address(*place)}" for place in self.places]

    def __str__(self) -> str:
        """Return all servers as a person writes them."""
        return f"{'tls://' if self.tls else ''}{_joined(self.places)}"


@dataclass(frozen=True, slots=True)
class MqttAddress:
    """Brokers of one chat, in the order of trying.

    `name` and `password` are those in the URL; `root` is the topic root, empty for the default.
    """

    places: tuple[Place, ...]
    name: str | None = None
    password: str | None = None
    root: str = ""
    tls: bool = False

    def names(self) -> list[str]:
        """Return the URL of each broker, without name and password."""
        return [f"{self._scheme}://{net.format_address(*place)}" for place in self.places]

    def __str__(self) -> str:
        """Return the URL of all brokers, without name and password."""
        return f"{self._scheme}://{_joined(self.places)}"

    @property
    def _scheme(self) -> str:
        return "mqtts" if self.tls else "mqtt"


def _joined(places: tuple[Place, ...]) -> str:
    return ",".join(net.format_address(*place) for place in places)


def parse_address(text: str, default_port: int = DEFAULT_PORT) -> Place:
    """Return host and port of `HOST`, `HOST:PORT`, `:PORT`, `[IPv6]`, `[IPv6]:PORT` or `IPv6`. Raises LocalError."""
    try:
        host, port = net.parse_address(text, DEFAULT_HOST, default_port)
        host.encode("idna")  # as the resolver does; it fails for a name that no DNS can have, such as a..b
    except net.NetError as error:
        raise LocalError(str(error)) from None
    except UnicodeError:
        raise LocalError(f"{host!r} is not a host name.") from None
    return host, port


def _parse_places(text: str, default_port: int = DEFAULT_PORT) -> tuple[Place, ...]:
    """Return the places of `HOST[:PORT],HOST2[:PORT]…`, in that order. Raises LocalError."""
    parts = [part.strip() for part in text.split(",", MOST_SERVERS)]
    if len(parts) > MOST_SERVERS:
        raise LocalError(f"An address has at most {MOST_SERVERS} servers.")
    if len(parts) > 1 and "" in parts:
        raise LocalError(f"A host is missing in {text!r}: write HOST[:PORT],HOST2[:PORT].")
    places = tuple(parse_address(part, default_port) for part in parts)
    for at, place in enumerate(places):
        if place in places[:at]:
            raise LocalError(f"{net.format_address(*place)} is in the address twice.")
    return places


def parse_server(text: str) -> JsonAddress | MqttAddress:
    """Parse `[tls://]HOST[:PORT][,HOST2[:PORT]…]` or `mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT][,…][/ROOT]`.

    Raises LocalError.
    """
    found = _URL.fullmatch(text)
    if found is None:
        return JsonAddress(_parse_places(text))
    scheme, hosts, path, rest = found["scheme"].lower(), found["hosts"], found["path"], found["rest"]
    if "," in scheme or (hosts.endswith(":") and path.startswith("//")):
        raise LocalError("A list of servers has one scheme, before the first: tls://HOST,HOST2.")
    if scheme not in _PORTS:
        raise LocalError(f"Unknown scheme {scheme}://: use tls://, mqtt://, mqtts://, or HOST:PORT.")
    if scheme != _TLS:
        return _brokers(scheme, hosts, path, rest)
    if "@" in hosts or path.strip("/") or rest:
        raise LocalError("After tls://, an address has HOST[:PORT] only. --name gives your name.")
    return JsonAddress(_parse_places(hosts, _PORTS[_TLS]), tls=True)


def _brokers(scheme: str, hosts: str, path: str, rest: str) -> MqttAddress:
    known, _, places = hosts.rpartition("@")
    user, colon, password = known.partition(":")
    root = unquote(path).strip("/")
    if rest or _ROOT.fullmatch(root) is None:
        raise LocalError("After HOST:PORT, a URL may contain the topic root only, as in mqtt://HOST/chat.")
    return MqttAddress(
        _parse_places(places, _PORTS[scheme]),
        unquote(user) or None,
        unquote(password) if colon else None,
        root,
        scheme == "mqtts",
    )
