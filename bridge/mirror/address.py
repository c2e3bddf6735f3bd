"""Floor 3: the broker's address: where it is, the user name and password there, and TLS. Reads files."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from net import NetError, client_context, format_address
from wire.errors import LocalError
from wire.mqtt import V5

PORTS = {"mqtt": 1883, "mqtts": 8883}  # registered with IANA
EMBEDDED_PORT = 1884  # of the embedded broker; 1883 is the port of this server's own door
PASSWORD_VARIABLE = "PARTYLINE_BROKER_PASSWORD"  # of the environment
_PASSWORD_BYTES = 65_535  # of MQTT's field ([MQTT-1.5.6])
URL_FORMS = "mqtt://[user:password@]host[:port], mqtts:// for TLS, or embedded for the embedded broker"


class BrokerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The config file's `broker` section: the broker to mirror the chat to."""

    url: str = ""  # its address; embedded: the embedded broker; empty: no mirror
    ca: str | None = None  # PEM file of the authority that signed its certificate; None: the system's
    cert: str | None = None  # PEM file of our own certificate, if the broker wants one
    key: str | None = None  # PEM file of its key, if that is not in the same file
    password_file: str | None = None  # its first line is our password there, if `url` has none
    trusted: bool = False  # it lets each client write its own name only, so registered names need no password


@dataclass(frozen=True, slots=True)
class Broker:
    """The broker's address, and the server's own user name and password there. Its `repr` has no password."""

    host: str
    port: int
    user: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    version: int = V5  # the MQTT version that is tried first

    @property
    def address(self) -> str:
        """`host:port`, with an IPv6 host in brackets."""
        return format_address(self.host, self.port)

    def __repr__(self) -> str:
        return f"Broker({self.address})"


def embedded_address(url: str, host: str) -> tuple[str, int] | None:
    """Return the host (by default `host`) and port of the embedded broker; None for another one. Raises LocalError."""
    if url.partition(":")[0] != "embedded":
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise LocalError(
            f"The embedded broker's address is wrong ({error}); write embedded[://host[:port]]."
        ) from error
    if url != "embedded" and (not parts.hostname or parts.path.strip("/") or parts.username is not None):
        raise LocalError("The embedded broker's address has the form embedded[://host[:port]].")
    return parts.hostname or host, EMBEDDED_PORT if port is None else port


def parse_broker(config: BrokerConfig) -> Broker:
    """Return the broker of a config. Raises LocalError."""
    try:
        parts = urlsplit(config.url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise LocalError(f"The broker's address is wrong ({error}); write {URL_FORMS}.") from error
    if parts.scheme not in PORTS or not host or port == 0 or parts.path.strip("/") or parts.query or parts.fragment:
        raise LocalError(f"The broker's address has the form {URL_FORMS}.")
    secure = parts.scheme == "mqtts"
    if not secure and (config.ca or config.cert or config.key):
        raise LocalError("The broker's certificates need TLS: its address has to begin with mqtts://.")
    return Broker(
        host,
        PORTS[parts.scheme] if port is None else port,
        unquote(parts.username) if parts.username is not None else None,
        _password(config, parts),
        _context(config) if secure else None,
    )


def has_password(url: str) -> bool:
    """Return True if a password is written in a broker's address."""
    try:
        return urlsplit(url).password is not None
    except ValueError:
        return False


def _password(config: BrokerConfig, url: SplitResult) -> str | None:
    """Return our password: that of the URL, of the file, or of the environment. Raises LocalError."""
    if url.password is not None:
        if config.password_file:
            raise LocalError("The broker's password is in broker.url and in broker.password_file: remove one of them.")
        return unquote(url.password)
    if not config.password_file:
        return os.environ.get(PASSWORD_VARIABLE) if url.username is not None else None
    if url.username is None:
        raise LocalError("The broker's password needs a user name: write mqtt://USER@HOST in broker.url.")
    try:
        with Path(config.password_file).open() as file:
            line = file.readline(_PASSWORD_BYTES).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise LocalError(f"Cannot read the broker's password file {config.password_file}: {why}.") from error
    if not line:
        raise LocalError(f"The broker's password file {config.password_file} has an empty first line.")
    return line


def _context(config: BrokerConfig) -> ssl.SSLContext:
    try:
        return client_context(config.ca, config.cert, config.key)
    except NetError as error:
        raise LocalError(str(error)) from error
