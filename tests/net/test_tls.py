"""TLS between two memory streams over a socket pair, and the contexts of both ends."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from net import NetError, TlsStream, client_context, reason, server_context, set_receive_timeout
from tests.net.conftest import Pair
from tests.support.certificates import Certificate, make_certificate
from tests.support.waiting import DEADLINE


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """For the name `here`."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "DNS:here")


class Stream:
    """One end: the socket and TLS above it."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, server_name: str | None = None, received: bytes = b""
    ) -> None:
        sock.settimeout(DEADLINE)
        self.socket = sock
        self.tls = TlsStream(sock, context, server_name, received)
        sock.settimeout(None)
        set_receive_timeout(sock, DEADLINE)

    def receive(self, size: int) -> bytes:
        """So many bytes of plain text."""
        got = b""
        while len(got) < size:
            data = self.socket.recv(100_000)
            assert data, "the connection ended"
            got += self.tls.decrypt(data) or b""
        return got


def shake_hands(
    pair: Pair, certificate: Certificate, name: str = "here", ca: Path | None = None, received: bytes = b""
) -> tuple[Stream, Stream]:
    """The server's end and the client's."""
    server = server_context(certificate.file, certificate.key)
    client = client_context(ca or certificate.file)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(Stream, pair[0], server, None, received)
        try:
            there = Stream(pair[1], client, name)
        except OSError:
            pair[1].close()
            assert isinstance(future.exception(DEADLINE), OSError)
            raise
        return future.result(DEADLINE), there


def is_paused(end: Stream) -> bool:
    """True if encrypted bytes wait."""
    return end.tls.paused


def test_both_ends_speak(pair: Pair, certificate: Certificate) -> None:
    server, client = shake_hands(pair, certificate)
    assert client.tls.send(b"from the client") == 15
    assert server.receive(15) == b"from the client"
    assert server.tls.send(memoryview(b"from the server")) == 15
    assert client.receive(15) == b"from the server"


def test_the_server_may_have_read_the_first_bytes(pair: Pair, certificate: Certificate) -> None:
    """A door reads them to find out that this is TLS."""
    server, client = pair
    context = server_context(certificate.file, certificate.key)
    server.settimeout(DEADLINE)

    def serve() -> TlsStream:
        return TlsStream(server, context, received=server.recv(7))

    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(serve)
        there = Stream(client, client_context(certificate.file), "here")
        here = made.result(DEADLINE)
    server.settimeout(None)
    here.send(b"welcome")
    assert there.receive(7) == b"welcome"


def test_one_thread_receives_while_another_sends(pair: Pair, certificate: Certificate) -> None:
    ends = shake_hands(pair, certificate)
    data = os.urandom(3_000_000)
    writable = [threading.Event(), threading.Event()]

    def send(end: Stream, event: threading.Event) -> None:
        at = 0
        while at < len(data) or end.tls.paused:
            at += end.tls.send(data[at:])
            if end.tls.paused:
                assert event.wait(DEADLINE)
                event.clear()

    def receive(end: Stream, event: threading.Event) -> bytes:
        whole = bytearray()
        while len(whole) < len(data):
            whole += end.tls.decrypt(end.socket.recv(100_000)) or b""
            event.set()
        return bytes(whole)

    with ThreadPoolExecutor(4) as pool:
        senders = [pool.submit(send, ends[n], writable[n]) for n in (0, 1)]
        receivers = [pool.submit(receive, ends[n], writable[1 - n]) for n in (0, 1)]
        got = [future.result(6 * DEADLINE) for future in receivers]
        for event in writable:
            event.set()
        for future in senders:
            future.result(DEADLINE)
    assert got == [data, data]


def test_a_full_socket_pauses_and_resumes(pair: Pair, certificate: Certificate) -> None:
    server, client = shake_hands(pair, certificate)
    data = os.urandom(1 << 20)
    accepted = 0
    while not is_paused(server):
        accepted += server.tls.send(data[accepted:])
    assert server.tls.send(b"more") == 0
    got = b""
    while is_paused(server):
        got += client.tls.decrypt(client.socket.recv(100_000)) or b""
        server.tls.send(b"")
    got += client.receive(accepted - len(got))
    assert got == data[:accepted]


def test_bytes_in_any_pieces_are_the_same_text(pair: Pair, certificate: Certificate) -> None:
    server, client = shake_hands(pair, certificate)
    server.tls.send(b"one")
    data = client.socket.recv(100_000)
    pieces = [client.tls.decrypt(data[at : at + 1]) for at in range(len(data))]
    assert b"".join(piece or b"" for piece in pieces).endswith(b"one")
    assert None not in pieces


def test_the_end_of_tls(pair: Pair, certificate: Certificate) -> None:
    """A `close_notify` alert: what a peer sends who ends TLS before it closes."""
    plain, other = pair
    context = server_context(certificate.file, certificate.key)
    context.options |= ssl.OP_NO_TICKET
    plain.settimeout(DEADLINE)

    def serve() -> None:
        with context.wrap_socket(plain, server_side=True) as peer:
            peer.sendall(b"bye")
            peer.settimeout(0.0)
            with pytest.raises((BlockingIOError, ssl.SSLError)):
                peer.unwrap()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(serve)
        client = Stream(other, client_context(certificate.file), "here")
        assert client.receive(3) == b"bye"
        future.result(DEADLINE)
    assert client.tls.decrypt(client.socket.recv(100_000)) is None


@pytest.mark.parametrize(("name", "trusted", "why"), [("elsewhere", True, "ostname mismatch"), ("here", False, "self")])
def test_a_client_verifies_its_server(
    pair: Pair, certificate: Certificate, tmp_path: Path, name: str, trusted: bool, why: str
) -> None:
    ca = None if trusted else make_certificate(tmp_path, "DNS:here").file
    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        shake_hands(pair, certificate, name, ca)
    assert reason(raised.value).startswith("its certificate is not valid (")
    assert why in reason(raised.value)


def test_a_peer_without_tls_fails_the_handshake(pair: Pair, certificate: Certificate) -> None:
    server, client = pair
    client.send(b"hello, is anybody there?\r\n")
    with pytest.raises(ssl.SSLError) as raised:
        TlsStream(server, server_context(certificate.file, certificate.key))
    assert reason(raised.value) in ("wrong version number", "http request", "packet length too long")


def test_a_peer_that_leaves_fails_the_handshake(pair: Pair, certificate: Certificate) -> None:
    server, client = pair
    client.close()
    with pytest.raises(ConnectionResetError, match="the connection was closed"):
        TlsStream(server, server_context(certificate.file, certificate.key))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda _: client_context("/nowhere"), "Cannot use the CA file /nowhere: No such file or directory."),
        (client_context, "Cannot use the CA file {bad}: no certificate or crl found."),
        (lambda bad: client_context(key=bad), "The key {bad} needs a certificate beside it."),
        (
            lambda _: client_context(cert="/nowhere"),
            "Cannot use the certificate /nowhere: No such file or directory.",
        ),
        (
            server_context,
            "Cannot use the certificate {bad}: no certificate and key in PEM form found.",
        ),
        (
            lambda bad: server_context("/nowhere", bad),
            "Cannot use the certificate /nowhere with the key {bad}: No such file or directory.",
        ),
    ],
)
def test_a_bad_file_is_one_sentence(make: Callable[[Path], ssl.SSLContext], sentence: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate\n")
    with pytest.raises(NetError) as raised:
        make(bad)
    assert str(raised.value) == sentence.format(bad=bad)


def test_a_client_may_show_a_certificate_of_its_own(certificate: Certificate) -> None:
    client_context(certificate.file, certificate.file, certificate.key)


def test_a_key_that_does_not_fit(certificate: Certificate, tmp_path: Path) -> None:
    other = make_certificate(tmp_path, "DNS:here")
    with pytest.raises(NetError, match="key values mismatch"):
        server_context(certificate.file, other.key)
