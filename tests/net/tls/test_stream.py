"""Two TLS streams over a pair of TCP sockets."""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from net import TlsStream, client_context, reason, server_context, unacknowledged_bytes
from tests.net.conftest import Pair
from tests.support.certificates import Certificate, make_certificate
from tests.support.waiting import DEADLINE, eventually

_CHUNK = 100_000


def shake_hands(
    tcp: Pair, certificate: Certificate, name: str = "here", ca: Path | None = None
) -> tuple[TlsStream, TlsStream]:
    """The server's end and the client's."""
    server = TlsStream(tcp[0], server_context(certificate.file, certificate.key))
    client = TlsStream(tcp[1], client_context(ca or certificate.file), name)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(server.shake_hands, DEADLINE)
        try:
            client.shake_hands(DEADLINE)
        except OSError:
            client.close()
            assert isinstance(future.exception(DEADLINE), OSError)
            server.close()
            raise
        future.result(DEADLINE)
    return server, client


@pytest.fixture
def ends(tcp: Pair, certificate: Certificate) -> Iterator[tuple[TlsStream, TlsStream]]:
    """The server's end and the client's; closed afterwards."""
    made = shake_hands(tcp, certificate)
    yield made
    for end in made:
        end.close()


def receive(end: TlsStream, size: int) -> bytes:
    """So many bytes."""
    got = b""
    while len(got) < size:
        data = end.receive(_CHUNK, DEADLINE)
        assert data, "the connection ended"
        got += data
    return got


def send_all(end: TlsStream, data: bytes) -> None:
    """Send all of it, waiting for the socket."""
    rest = memoryview(data)
    while rest:
        rest = rest[end.send(rest) :]
        if rest:
            assert select.select([], [end.socket], [], DEADLINE)[1]


def test_both_ends_speak(ends: tuple[TlsStream, TlsStream]) -> None:
    server, client = ends
    assert client.send(b"from the client") == 15
    assert server.receive(_CHUNK, DEADLINE) == b"from the client"
    assert server.send(memoryview(b"from the server")) == 15
    assert client.receive(_CHUNK, DEADLINE) == b"from the server"


def test_a_silent_peer_is_waited_for_as_long_as_said(ends: tuple[TlsStream, TlsStream]) -> None:
    server, client = ends
    assert server.receive(_CHUNK, 0.01) is None
    assert server.receive_waiting(_CHUNK) is None
    client.send(b"at last")
    assert server.receive(3, None) == b"at "
    assert server.receive(_CHUNK, 0.01) == b"last", "the rest of a record waits in OpenSSL, not in the socket"


def test_one_thread_receives_while_another_sends(ends: tuple[TlsStream, TlsStream]) -> None:
    data = os.urandom(3_000_000)
    with ThreadPoolExecutor(4) as pool:
        senders = [pool.submit(send_all, end, data) for end in ends]
        receivers = [pool.submit(receive, end, len(data)) for end in ends]
        assert [future.result(6 * DEADLINE) for future in receivers] == [data, data]
        for future in senders:
            future.result(DEADLINE)


def fill(end: TlsStream, data: bytes) -> int:
    """Send until the socket is full; how many bytes were taken."""
    taken = end.send(data)
    while more := end.send(memoryview(data)[taken:]):
        taken += more
    assert taken < len(data)
    return taken


def test_a_full_socket_takes_no_more_and_goes_on_later(ends: tuple[TlsStream, TlsStream]) -> None:
    server, client = ends
    data = os.urandom(8 << 20)
    taken = fill(server, data)
    with ThreadPoolExecutor(1) as pool:
        sender = pool.submit(send_all, server, data[taken:])
        assert receive(client, len(data)) == data
        sender.result(DEADLINE)


def test_what_the_peer_s_machine_has_not_acknowledged_is_counted(ends: tuple[TlsStream, TlsStream]) -> None:
    """Encrypted bytes wait in the kernel only, where they are counted, or were not taken."""
    server, client = ends
    data = bytes(8 << 20)
    taken = fill(server, data)
    assert unacknowledged_bytes(server.socket) > 0
    receive(client, taken)
    eventually(lambda: unacknowledged_bytes(server.socket) < 20_000, lambda: "it is not acknowledged")
    send_all(server, data[taken : taken + 20_000])
    receive(client, 20_000)
    eventually(lambda: unacknowledged_bytes(server.socket) == 0, lambda: "it is not acknowledged")


def test_bytes_in_any_pieces_are_the_same_text(tcp: Pair, certificate: Certificate) -> None:
    """A peer that sends one byte at a time, all through the handshake too."""
    here, relay_here = socket.socketpair()
    server = TlsStream(here, server_context(certificate.file, certificate.key))
    client = TlsStream(tcp[1], client_context(certificate.file), "here")

    def relay(source: socket.socket, target: socket.socket, size: int) -> None:
        while data := source.recv(size):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

    with ThreadPoolExecutor(3) as pool:
        slow = pool.submit(relay, tcp[0], relay_here, 1)
        pool.submit(relay, relay_here, tcp[0], _CHUNK)
        shaken = pool.submit(server.shake_hands, DEADLINE)
        client.shake_hands(DEADLINE)
        shaken.result(DEADLINE)
        client.send(b"one byte at a time")
        client.end_output()
        assert receive(server, 18) == b"one byte at a time"
        assert server.receive(_CHUNK, DEADLINE) == b""
        server.end_output()
        slow.result(DEADLINE)
    for each in (server, client):
        each.close()
    relay_here.close()


def test_the_end_of_tls_is_the_end(ends: tuple[TlsStream, TlsStream]) -> None:
    """`close_notify` is not answered at once: the other side may still send."""
    server, client = ends
    client.send(b"bye")
    client.end_output()
    assert server.receive(_CHUNK, DEADLINE) == b"bye"
    assert server.receive(_CHUNK, DEADLINE) == b""
    server.send(b"farewell")
    assert client.receive(_CHUNK, DEADLINE) == b"farewell"
    with pytest.raises(BrokenPipeError):
        client.send(b"one more")


def test_an_end_without_the_end_of_tls_is_an_error(ends: tuple[TlsStream, TlsStream]) -> None:
    """Somebody on the way could cut a last line short."""
    server, client = ends
    client.send(b"half a li")
    client.shut(socket.SHUT_WR)
    assert server.receive(_CHUNK, DEADLINE) == b"half a li"
    with pytest.raises(ConnectionResetError):
        server.receive(_CHUNK, DEADLINE)


def test_who_has_ended_its_output_needs_no_end_of_tls(ends: tuple[TlsStream, TlsStream]) -> None:
    server, client = ends
    server.end_output()
    client.shut(socket.SHUT_RDWR)
    assert server.receive(_CHUNK, DEADLINE) == b""


def test_shutting_never_leads_to_plain_text(ends: tuple[TlsStream, TlsStream]) -> None:
    """Bytes sent after the end of the input are still encrypted."""
    server, client = ends
    client.send(b"what has come already")
    assert select.select([server.socket], [], [], DEADLINE)[0]
    server.shut(socket.SHUT_RD)
    assert server.receive(_CHUNK, DEADLINE) == b"what has come already"
    assert server.receive(_CHUNK, DEADLINE) == b""
    server.send(b"a secret farewell")
    assert client.receive(_CHUNK, DEADLINE) == b"a secret farewell"


def test_shutting_wakes_who_waits(ends: tuple[TlsStream, TlsStream]) -> None:
    server, _ = ends
    waiting = threading.Event()

    def wait() -> object:
        waiting.set()
        try:
            return server.receive(_CHUNK, None)
        except OSError:
            return b""

    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(wait)
        waiting.wait(DEADLINE)
        server.shut(socket.SHUT_RD)
        assert waiter.result(DEADLINE) == b""


@pytest.mark.parametrize(("name", "trusted", "why"), [("elsewhere", True, "ostname mismatch"), ("here", False, "self")])
def test_a_client_verifies_its_server(
    tcp: Pair, certificate: Certificate, tmp_path: Path, name: str, trusted: bool, why: str
) -> None:
    ca = None if trusted else make_certificate(tmp_path, "DNS:here").file
    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        shake_hands(tcp, certificate, name, ca)
    assert reason(raised.value).startswith("its certificate is not valid (")
    assert why in reason(raised.value)


@pytest.fixture
def server(tcp: Pair, certificate: Certificate) -> Iterator[TlsStream]:
    """The server's end alone."""
    made = TlsStream(tcp[0], server_context(certificate.file, certificate.key))
    yield made
    made.close()


def test_a_peer_without_tls_fails_the_handshake(tcp: Pair, server: TlsStream) -> None:
    tcp[1].send(b"hello, is anybody there?\r\n")
    with pytest.raises(ssl.SSLError) as raised:
        server.shake_hands(DEADLINE)
    assert reason(raised.value) in ("wrong version number", "http request", "packet length too long")


def test_the_output_may_end_twice_and_not_after_the_socket_is_closed(ends: tuple[TlsStream, TlsStream]) -> None:
    """Each time as with a plain socket."""
    server, client = ends
    server.end_output()
    server.end_output()
    client.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        client.end_output()


def test_a_peer_that_leaves_fails_the_handshake(tcp: Pair, server: TlsStream) -> None:
    tcp[1].close()
    with pytest.raises(OSError, match=r".") as raised:
        server.shake_hands(DEADLINE)
    assert not isinstance(raised.value, TimeoutError)


def test_a_stalled_handshake_is_bounded_in_time(tcp: Pair, server: TlsStream) -> None:
    with pytest.raises(TimeoutError) as raised:
        server.shake_hands(0.01)
    assert reason(raised.value) == "no TLS handshake within 0.01 s"


def test_a_handshake_is_bounded_in_all_not_from_byte_to_byte(
    tcp: Pair, server: TlsStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time that the server waits, a second passes and another byte comes."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="here")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    client_hello = iter(outgoing.read())
    clock = count()
    wait = TlsStream._wait

    def one_more(stream: TlsStream, seconds: float | None) -> bool:
        tcp[1].send(bytes((next(client_hello),)))
        return wait(stream, DEADLINE) and (seconds is None or seconds > 0)

    monkeypatch.setattr(TlsStream, "_wait", one_more)
    monkeypatch.setattr("net.tls.stream.time", SimpleNamespace(monotonic=lambda: next(clock)))
    with pytest.raises(TimeoutError):
        server.shake_hands(20)
    assert next(clock) < 40


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls_are_spoken(tcp: Pair, certificate: Certificate, version: ssl.TLSVersion) -> None:
    server = TlsStream(tcp[0], server_context(certificate.file, certificate.key))
    context = client_context(certificate.file)
    context.minimum_version = context.maximum_version = version
    client = TlsStream(tcp[1], context, "here")
    with ThreadPoolExecutor(1) as pool:
        shaken = pool.submit(server.shake_hands, DEADLINE)
        client.shake_hands(DEADLINE)
        shaken.result(DEADLINE)
    server.send(b"hello")
    assert client.receive(_CHUNK, DEADLINE) == b"hello"
    assert isinstance(client.socket, ssl.SSLSocket)
    assert client.socket.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
    for each in (server, client):
        each.close()


def test_no_older_version_is_spoken(certificate: Certificate) -> None:
    assert server_context(certificate.file, certificate.key).minimum_version == ssl.TLSVersion.TLSv1_2
    assert client_context(certificate.file).minimum_version >= ssl.TLSVersion.TLSv1_2
