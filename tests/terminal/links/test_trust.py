"""Which certificates the client trusts: by authorities, by a person once, and never a changed one."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from doors import TlsConfig
from net import NetError, fingerprint_of, format_address
from net.certificates import describe, make_site
from server import Server
from terminal.links.trust import KnownHosts, known_hosts, trusting_contexts
from tests.support.certificates import Certificate, make_certificate
from tests.support.clients import endpoint
from tests.support.fixtures import StartServer
from wire.errors import LocalError


@pytest.fixture
def known(tmp_path: Path) -> KnownHosts:
    """Nobody is known yet."""
    return KnownHosts(tmp_path / "settings" / "known_hosts")


def shown(address: str, context: ssl.SSLContext) -> str:
    """Connect with the context; the fingerprint of the certificate."""
    host, port = endpoint(address)
    with socket.create_connection((host, port)) as sock, context.wrap_socket(sock, server_hostname=host) as peer:
        return fingerprint_of(peer.getpeercert(binary_form=True) or b"")


def trusting_context(
    host: str,
    port: int,
    known: KnownHosts,
    *,
    ca: Path | None = None,
    trust: str = "",
    ask: Callable[[str], bool] | None = None,
) -> ssl.SSLContext:
    """The context for one server."""
    (context,) = trusting_contexts([(host, port)], known, ca=ca, trust=[trust] if trust else [], ask=ask)
    return context


def refusal(address: str, known: KnownHosts, **options: object) -> str:
    """Why the client does not trust the server."""
    with pytest.raises(LocalError) as raised:
        trusting_context(*endpoint(address), known, **options)  # type: ignore[arg-type]
    return str(raised.value)


def test_an_unknown_certificate_is_refused_where_nobody_can_be_asked(
    tls_server: Server, certificate: Certificate, known: KnownHosts
) -> None:
    sentence = refusal(tls_server.address, known)
    fingerprint = describe(certificate.file).fingerprint
    assert f"The certificate of {tls_server.address} is unknown here (self-signed certificate)." in sentence
    assert f"trust it once with --trust {fingerprint}" in sentence
    assert known.find(tls_server.address) is None


def test_a_person_trusts_a_certificate_once_and_for_all(
    tls_server: Server, certificate: Certificate, known: KnownHosts
) -> None:
    questions: list[str] = []

    def agree(question: str) -> bool:
        questions.append(question)
        return True

    context = trusting_context(*endpoint(tls_server.address), known, ask=agree)
    fingerprint = describe(certificate.file).fingerprint
    assert shown(tls_server.address, context) == fingerprint
    (question,) = questions
    assert f"SHA-256: {fingerprint}\n" in question
    assert "Hosts: localhost, 127.0.0.1, ::1. Valid until: " in question
    assert shown(tls_server.address, trusting_context(*endpoint(tls_server.address), known)) == fingerprint


def test_a_person_may_say_no(tls_server: Server, known: KnownHosts) -> None:
    assert refusal(tls_server.address, known, ask=lambda _: False).endswith("is not trusted.")
    assert known.find(tls_server.address) is None


@pytest.mark.parametrize("form", [str, str.lower, lambda text: text.replace(":", "")])
def test_a_script_names_the_fingerprint(
    tls_server: Server, certificate: Certificate, known: KnownHosts, form: Callable[[str], str]
) -> None:
    fingerprint = describe(certificate.file).fingerprint
    trusting_context(*endpoint(tls_server.address), known, trust=form(fingerprint))
    assert shown(tls_server.address, trusting_context(*endpoint(tls_server.address), known)) == fingerprint


def test_another_fingerprint_is_refused(tls_server: Server, certificate: Certificate, known: KnownHosts) -> None:
    for wrong in ("00" * 32, "nonsense"):
        sentence = refusal(tls_server.address, known, trust=wrong)
        assert sentence.endswith(f"another SHA-256 than --trust says: {describe(certificate.file).fingerprint}.")


@pytest.fixture
def site(start_server: StartServer, tmp_path: Path, known: KnownHosts) -> tuple[Server, Path]:
    """A server with a certificate of its site, which is trusted, and the folder of the site's files."""
    folder = tmp_path / "site"
    make_site(folder, ["127.0.0.1"])
    server = start_server(tls=TlsConfig(str(folder / "server.pem"), str(folder / "server.key")))
    trusting_context(*endpoint(server.address), known, ask=lambda _: True)
    return server, folder


def test_a_changed_certificate_is_refused(site: tuple[Server, Path], known: KnownHosts, tmp_path: Path) -> None:
    server, folder = site
    before = trusting_context(*endpoint(server.address), known)
    old = describe(folder / "server.pem").fingerprint
    for file in folder.iterdir():
        file.unlink()
    new = make_site(folder, ["127.0.0.1"]).server.fingerprint
    assert server.tls is not None
    server.tls.reload()
    sentence = refusal(server.address, known, ask=lambda _: True)
    assert "is another one than before. Somebody may be listening in." in sentence
    assert f"Its SHA-256 was {old} and is {new}." in sentence
    with pytest.raises(ConnectionAbortedError, match="its certificate is not the one that is trusted"):
        shown(server.address, before)
    trusting_context(*endpoint(server.address), known, trust=new)
    assert shown(server.address, trusting_context(*endpoint(server.address), known)) == new


def test_a_renewed_certificate_is_the_same_server(site: tuple[Server, Path], known: KnownHosts) -> None:
    """It has the same key."""
    server, folder = site
    new = make_site(folder, ["127.0.0.1", "localhost"]).server.fingerprint
    assert server.tls is not None
    server.tls.reload()
    assert shown(server.address, trusting_context(*endpoint(server.address), known)) == new
    found = known.find(format_address(*endpoint(server.address)))
    assert found is not None
    assert found[0] == new


def test_an_authority_vouches_for_its_servers(site: tuple[Server, Path], tmp_path: Path, known: KnownHosts) -> None:
    server, folder = site
    fresh = KnownHosts(tmp_path / "other")
    context = trusting_context(*endpoint(server.address), fresh, ca=folder / "ca.pem")
    assert shown(server.address, context) == describe(folder / "server.pem").fingerprint
    assert context.verify_mode == ssl.CERT_REQUIRED
    (tmp_path / "foreign").mkdir()
    foreign = make_certificate(tmp_path / "foreign", "DNS:foreign").file
    assert "is not valid: " in refusal(server.address, known, ca=foreign)
    assert refusal(server.address, known, ca=tmp_path / "absent").startswith("Cannot use the CA file ")


def test_the_authority_s_certificate_must_name_the_host(
    start_server: StartServer, tmp_path: Path, known: KnownHosts
) -> None:
    make_site(tmp_path / "site", ["elsewhere.example"])
    tls = TlsConfig(str(tmp_path / "site" / "server.pem"), str(tmp_path / "site" / "server.key"))
    server = start_server(tls=tls)
    assert "IP address mismatch" in refusal(server.address, known, ca=tmp_path / "site" / "ca.pem")


def test_a_server_that_is_away_is_trusted_as_before(tls_server: Server, known: KnownHosts) -> None:
    """The link tries again; nothing is asked, and nothing is trusted that was not."""
    assert trusting_context("127.0.0.1", 1, known).verify_mode == ssl.CERT_REQUIRED
    known.trust("127.0.0.1:1", "AB:CD", "EF:01")
    assert trusting_context("127.0.0.1", 1, known).verify_mode == ssl.CERT_NONE, "pinned"


def test_a_server_without_tls_is_one_sentence(server: Server, known: KnownHosts) -> None:
    assert refusal(server.address, known).startswith(f"{server.address} does not answer in TLS: ")


def test_the_file_keeps_one_line_for_each_server(tmp_path: Path) -> None:
    file = tmp_path / "a" / "known_hosts"
    known = KnownHosts(file)
    known.trust("a:1", "AA", "KA")
    known.trust("b:1", "BB", "KB")
    known.trust("a:1", "CC", "KC")
    assert file.read_text() == "b:1 BB KB\na:1 CC KC\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
    file.write_text("broken\nb:1 BB KB\n\xff\n")
    assert known.find("b:1") == ("BB", "KB")
    assert known.find("a:1") is None


def test_the_file_is_among_the_user_s_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    known_hosts().trust("a:1", "AA", "KA")
    assert (tmp_path / "partyline" / "known_hosts").read_text() == "a:1 AA KA\n"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    known_hosts().trust("b:1", "BB", "KB")
    assert (tmp_path / "home" / ".config" / "partyline" / "known_hosts").exists()


def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="Cannot read "):
        KnownHosts(tmp_path / "file" / "known_hosts").find("a:1")
    (tmp_path / "folder").mkdir()
    with pytest.raises(LocalError, match="Cannot read "):
        KnownHosts(tmp_path / "folder").find("a:1")


def test_what_is_no_certificate_cannot_be_described(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("x")
    for file in ("x.pem", "absent.pem"):
        with pytest.raises(NetError, match="Cannot read the certificate"):
            describe(tmp_path / file)


@pytest.fixture
def pair(
    start_server: StartServer, tmp_path: Path, certificate: Certificate
) -> tuple[list[tuple[str, int]], list[str]]:
    """Two servers, each with a certificate of its own: where they are, and the fingerprints."""
    (tmp_path / "second").mkdir()
    certificates = [certificate, make_certificate(tmp_path / "second", "IP:127.0.0.1")]
    servers = [
        start_server(data=str(tmp_path / f"data{at}"), tls=TlsConfig(str(each.file), str(each.key)))
        for at, each in enumerate(certificates)
    ]
    return [endpoint(server.address) for server in servers], [describe(each.file).fingerprint for each in certificates]


def test_a_person_is_asked_about_each_server(pair: tuple[list[tuple[str, int]], list[str]], known: KnownHosts) -> None:
    """Each certificate is good for its own server only."""
    places, fingerprints = pair
    questions: list[str] = []

    def agree(question: str) -> bool:
        questions.append(question)
        return True

    contexts = trusting_contexts(places, known, ask=agree)
    for question, place, fingerprint in zip(questions, places, fingerprints, strict=True):
        assert f"The certificate of {format_address(*place)} is unknown here" in question
        assert f"SHA-256: {fingerprint}\n" in question
    for place, context, fingerprint in zip(places, contexts, fingerprints, strict=True):
        assert shown(format_address(*place), context) == fingerprint
    with pytest.raises(ConnectionAbortedError):
        shown(format_address(*places[0]), contexts[1])
    assert len(trusting_contexts(places, known)) == 2


def test_one_untrusted_server_of_several_is_an_error_at_the_start(
    pair: tuple[list[tuple[str, int]], list[str]], known: KnownHosts
) -> None:
    places, fingerprints = pair
    with pytest.raises(LocalError, match=format_address(*places[1]).replace(".", "[.]")) as raised:
        trusting_contexts(places, known, trust=[fingerprints[0]])
    assert f"trust it once with --trust {fingerprints[1]}" in str(raised.value)
    contexts = trusting_contexts(places, known, trust=[fingerprints[1]])
    assert shown(format_address(*places[1]), contexts[1]) == fingerprints[1]


def test_a_fingerprint_of_none_of_the_servers_is_an_error(
    pair: tuple[list[tuple[str, int]], list[str]], known: KnownHosts
) -> None:
    places, fingerprints = pair
    wrong = "AB:CD"
    with pytest.raises(LocalError, match=f"No certificate of .* has the SHA-256 that --trust says: {wrong}"):
        trusting_contexts(places, known, trust=[*fingerprints, wrong])


def test_a_server_of_several_that_is_away_or_speaks_no_tls_does_not_keep_the_client_from_the_others(
    pair: tuple[list[tuple[str, int]], list[str]], known: KnownHosts
) -> None:
    places, fingerprints = pair
    with socket.create_server(("127.0.0.1", 0)) as closing:
        broken = closing.getsockname()

        def close_one() -> None:
            closing.accept()[0].close()

        ending = threading.Thread(target=close_one, name="broken-server")
        ending.start()
        contexts = trusting_contexts([("127.0.0.1", 1), broken, places[0]], known, trust=[fingerprints[0]])
        ending.join()
    assert [context.verify_mode for context in contexts[:2]] == [ssl.CERT_REQUIRED] * 2
    assert shown(format_address(*places[0]), contexts[2]) == fingerprints[0]
