"""Floor 4: the decision to trust a server's certificate, by authorities (`--ca`), or by a person, once, as in ssh.

What a person has trusted is in the file `known_hosts`: a line has the server's address, and the SHA-256 of its
certificate and of the certificate's public key. A renewed certificate with the same key is the same server.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile

import net
from wire.errors import LocalError

_PATIENCE = 10.0  # seconds for the look at a certificate
_BYTES = 1 << 20  # of the file, at most


class KnownHosts:
    """The file of the servers that a person has trusted."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def find(self, address: str) -> tuple[str, str] | None:
        """Return the SHA-256 of the certificate of a server, and that of its key. Raises LocalError."""
        found = [words for words in self._lines() if words[0] == address]
        return (found[-1][1], found[-1][2]) if found else None

    def trust(self, address: str, fingerprint: str, key: str) -> None:
        """Trust a certificate from now on, in place of an earlier one of that server. Raises LocalError."""
        lines = [words for words in self._lines() if words[0] != address]
        lines.append([address, fingerprint, key])
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with NamedTemporaryFile("w", dir=self._file.parent, prefix=".known_hosts", delete=False) as draft:
                draft.writelines(f"{' '.join(words)}\n" for words in lines)
            Path(draft.name).replace(self._file)
        except OSError as error:
            raise LocalError(f"Cannot write {self._file}: {error.strerror}.") from error

    def _lines(self) -> list[list[str]]:
        try:
            text = self._file.read_bytes()[:_BYTES].decode(errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise LocalError(f"Cannot read {self._file}: {error.strerror}.") from error
        return [words for line in text.splitlines() if len(words := line.split()) == 3]


def known_hosts() -> KnownHosts:
    """Return the user's file, in the folder for settings (XDG Base Directory Specification)."""
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return KnownHosts(Path(folder).expanduser() / "partyline" / "known_hosts")


def trusting_context(
    host: str,
    port: int,
    known: KnownHosts,
    *,
    ca: Path | None = None,
    trust: str | None = None,
    ask: Callable[[str], bool] | None = None,
) -> ssl.SSLContext:
    """Return a context for a server that the system's authorities know, or that a person trusts. Raises LocalError.

    `ca` is a PEM file of the only authorities to trust, and no person is asked. `trust` is the fingerprint of a
    certificate to trust from now on. `ask` puts a yes-or-no question to a person; None without one. A server that
    cannot be reached now is trusted as far as it was before.
    """
    address = net.format_address(host, port)
    context = _verifying(ca)
    before = known.find(address) if ca is None else None
    try:
        shown = net.peer_certificate(host, port, _PATIENCE, context)
    except (OSError, UnicodeError) as error:
        if isinstance(error, ssl.SSLError):
            raise LocalError(f"{address} does not answer in TLS: {net.reason(error)}.") from error
        return context if before is None else net.pinned_context(before[0])
    fingerprint = net.fingerprint_of(shown.der)
    if trust is not None and _normal(trust) != fingerprint:
        raise LocalError(f"The certificate of {address} has another SHA-256 than --trust says: {fingerprint}.")
    if before is not None and before[0] == fingerprint:
        return net.pinned_context(fingerprint)
    if not shown.objection:
        return context
    if ca is not None:
        raise LocalError(f"The certificate of {address} is not valid: {shown.objection}.")
    _decide(address, shown, before, known, trusted=trust is not None, ask=ask)
    return net.pinned_context(fingerprint)


def _verifying(ca: Path | None) -> ssl.SSLContext:
    try:
        return net.client_context(ca)
    except net.NetError as error:
        raise LocalError(str(error)) from None


def _decide(
    address: str,
    shown: net.PeerCertificate,
    before: tuple[str, str] | None,
    known: KnownHosts,
    *,
    trusted: bool,
    ask: Callable[[str], bool] | None,
) -> None:
    """Trust a certificate that no authority vouches for from now on, or raise LocalError."""
    from net.certificates import describe_der, key_fingerprint  # only here: importing cryptography takes time

    try:
        found, key = describe_der(shown.der), key_fingerprint(shown.der)
    except (net.NetError, ValueError) as error:
        raise LocalError(f"The certificate of {address} cannot be read: {error}") from error
    renewed = before is not None and before[1] == key
    if before is not None and not renewed and not trusted:
        raise LocalError(
            f"The certificate of {address} is another one than before. Somebody may be listening in. "
            f"Its SHA-256 was {before[0]} and is {found.fingerprint}. "
            f"If that is right, trust it once with --trust {found.fingerprint}"
        )
    if not trusted and not renewed:
        if ask is None:
            raise LocalError(
                f"The certificate of {address} is unknown here ({shown.objection}). Its SHA-256 is "
                f"{found.fingerprint}. If that is right, trust it once with --trust {found.fingerprint}, or give the "
                "authority's certificate with --ca."
            )
        question = (
            f"The certificate of {address} is unknown here ({shown.objection}).\n"
            f"SHA-256: {found.fingerprint}\n"
            f"Hosts: {', '.join(found.hosts) or 'none'}. Valid until: {found.expires:%Y-%m-%d}.\n"
            "Compare the SHA-256 with the one that `server.py cert` has printed. Trust this certificate from now on?"
        )
        if not ask(question):
            raise LocalError(f"The certificate of {address} is not trusted.")
    known.trust(address, found.fingerprint, key)


def _normal(fingerprint: str) -> str:
    """Return a fingerprint in the usual form; as it is if it is none."""
    digits = fingerprint.replace(":", "").strip().removeprefix("SHA256").lower()
    with contextlib.suppress(ValueError):
        return bytes.fromhex(digits).hex(":").upper()
    return fingerprint
