"""Floor 4: the decision to trust a server's certificate, by authorities (`--ca`), or by a person, once, as in ssh.

What a person has trusted is in the file `known_hosts`: a line has the server's address, and the SHA-256 of its
certificate and of the certificate's public key. A renewed certificate with the same key is the same server.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TypeAlias

import net
from wire.errors import LocalError

from .address import Place
from .endpoint import attempt_seconds

_BYTES = 1 << 20  # of the file, at most

_Look: TypeAlias = net.PeerCertificate | OSError | UnicodeError


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


def trusting_contexts(
    places: Sequence[Place],
    known: KnownHosts,
    *,
    ca: Path | None = None,
    trust: Sequence[str] = (),
    ask: Callable[[str], bool] | None = None,
) -> list[ssl.SSLContext]:
    """Return a context for each server, which the system's authorities know, or a person trusts. Raises LocalError.

    `ca` is a PEM file of the only authorities to trust, and no person is asked. `trust` are the fingerprints of
    certificates to trust from now on. `ask` puts a yes-or-no question to a person; None without one. A server that
    cannot be reached now is trusted as far as it was before.
    """
    context = _verifying(ca)
    wanted = [_normal(fingerprint) for fingerprint in trust]
    looks = _look(places, context)
    shown = {net.fingerprint_of(look.der) for look in looks if isinstance(look, net.PeerCertificate)}
    missing = [fingerprint for fingerprint in wanted if fingerprint not in shown]
    if missing and all(isinstance(look, net.PeerCertificate) for look in looks):
        raise LocalError(_not_shown(places, sorted(shown), missing[0]))
    return [
        _context(place, look, known, context, ca=ca, trust=wanted, ask=ask, only=len(places) == 1)
        for place, look in zip(places, looks, strict=True)
    ]


def _not_shown(places: Sequence[Place], shown: Sequence[str], missing: str) -> str:
    """Return why a fingerprint of --trust is wrong."""
    if len(places) == 1:
        where = net.format_address(*places[0])
        return f"The certificate of {where} has another SHA-256 than --trust says: {shown[0]}."
    where = ", ".join(net.format_address(*place) for place in places)
    return f"No certificate of {where} has the SHA-256 that --trust says: {missing}."


def _look(places: Sequence[Place], context: ssl.SSLContext) -> list[_Look]:
    """Look at all certificates at the same time, so that a server that does not answer delays the others once."""
    looks: list[_Look] = [TimeoutError("timed out") for _ in places]
    patience = attempt_seconds(len(places))

    def look(at: int, place: Place) -> None:
        try:
            looks[at] = net.peer_certificate(*place, patience, context)
        except (OSError, UnicodeError) as error:
            looks[at] = error

    # Daemons, because a resolver cannot be interrupted: leaving by Ctrl-C does not wait for it.
    threads = [
        threading.Thread(target=look, args=each, name="partyline-trust", daemon=True) for each in enumerate(places)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return looks


def _context(
    place: Place,
    look: _Look,
    known: KnownHosts,
    context: ssl.SSLContext,
    *,
    ca: Path | None,
    trust: Sequence[str],
    ask: Callable[[str], bool] | None,
    only: bool,
) -> ssl.SSLContext:
    """Return the context for one server. `context` verifies by authorities; `only`: there is no other server."""
    address = net.format_address(*place)
    before = known.find(address) if ca is None else None
    if not isinstance(look, net.PeerCertificate):
        if only and isinstance(look, ssl.SSLError):
            raise LocalError(f"{address} does not answer in TLS: {net.reason(look)}.") from look
        return context if before is None else net.pinned_context(before[0])
    fingerprint = net.fingerprint_of(look.der)
    if before is not None and before[0] == fingerprint:
        return net.pinned_context(fingerprint)
    if not look.objection:
        return context
    if ca is not None:
        raise LocalError(f"The certificate of {address} is not valid: {look.objection}.")
    _decide(address, look, before, known, trusted=fingerprint in trust, ask=ask)
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
