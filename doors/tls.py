"""Floor 3: the server's certificate, which a running server can load again, and the peers that need TLS."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from net import NetError, server_context
from reporting import events, report
from wire.errors import LocalError

from .handshakes import HandshakeTurns

_SITE, _SITE_CERT, _SITE_KEY = "tls", "server.pem", "server.key"
_WARN = timedelta(days=30)  # before a certificate expires


class TlsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The config file's `tls` section."""

    cert: str = (
        ""  # PEM file of the certificate and the chain above; empty: the one of `server.py cert`, if it is there
    )
    key: str = ""  # PEM file of its key, if that is not in the same file
    required: bool = False  # peers on other machines must use TLS


def site_folder(data: Path) -> Path:
    """Return the folder in the data folder in which `server.py cert` keeps its files."""
    return data / _SITE


class ServerTls:
    """The TLS of all doors. Any thread may read `context`; `required`: peers on other machines must use it.

    `fingerprint` is that of the certificate. A handshake takes one of the `turns`.
    """

    def __init__(self, cert: Path, key: Path | None, *, required: bool = False) -> None:
        """`cert`: PEM file of the certificate and the chain above; `key`: of its key, if that is another file.

        Raises LocalError.
        """
        self._cert, self._key = cert, key
        self.required = required
        self.turns = HandshakeTurns()
        self._load()

    def _load(self) -> None:
        from net.certificates import describe  # only here, because importing cryptography takes time

        try:
            context = server_context(self._cert, self._key)
            found = describe(self._cert)
        except NetError as error:
            raise LocalError(str(error)) from error
        self.context, self.fingerprint = context, found.fingerprint
        expires = f"{found.expires:%Y-%m-%dT%H:%M:%SZ}"
        report(events.CertificateLoaded(str(self._cert), found.fingerprint, expires))
        if found.expires < datetime.now(UTC) + _WARN:
            report(events.CertificateExpires(str(self._cert), expires))

    def reload(self) -> None:
        """Use what the files have now for new connections. Keep the earlier certificate if they are wrong."""
        try:
            self._load()
        except LocalError as error:
            report(events.CertificateRejected(str(self._cert), str(error)))


def open_tls(config: TlsConfig, data: Path) -> ServerTls | None:
    """Return the TLS of a config, by default with the site's certificate; None without any. Raises LocalError."""
    site = site_folder(data)
    if config.cert:
        return ServerTls(Path(config.cert), Path(config.key) if config.key else None, required=config.required)
    if config.key:
        raise LocalError("tls.key needs tls.cert beside it.")
    if (site / _SITE_CERT).exists():
        return ServerTls(site / _SITE_CERT, site / _SITE_KEY, required=config.required)
    if config.required:
        raise LocalError("tls.required needs a certificate: set tls.cert, or run `server.py cert`.")
    return None
