"""Connections of proxies: the header comes first, and names the address that counts."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from doors import TlsConfig
from doors import proxies as proxies_module
from doors.proxies import Proxies, read_header
from net import PlainStream
from reporting import events
from server import Server, load
from tests.support.certificates import Certificate
from tests.support.clients import Json, Text, endpoint
from tests.support.fixtures import StartServer
from tests.support.reported import Reported
from tests.support.waiting import DEADLINE, eventually
from wire.errors import LocalError
from wire.frames import Closing, Hello, Welcome
from wire.limits import Limits
from wire.mqtt import V311, ConnAck, Connect, encode
from wire.other_protocols import PROXY_SENTENCE, UNKNOWN_SENTENCE
from wire.proxy_protocol import SIGNATURE_2, ProxyHeader, ProxyHeaderError

LINE = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 7000\r\n"
LOCAL = SIGNATURE_2 + b"\x20\x00\x00\x00"


def binary(source: str = "192.0.2.7", more: bytes = b"") -> bytes:
    """Return a header of version 2 with additional fields."""
    block = socket.inet_aton(source) + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 4711, 7000) + more
    return SIGNATURE_2 + b"\x21\x11" + struct.pack("!H", len(block)) + block


HEADERS = pytest.mark.parametrize("header", [LINE, binary(more=b"\x04\x00\x03abc")], ids=["version 1", "version 2"])


@pytest.fixture
def behind(start_server: StartServer) -> Server:
    """A server that takes this machine for a proxy."""
    return start_server(proxies=("127.0.0.0/8", "::1"))


@HEADERS
def test_the_address_of_the_header_is_that_of_the_user(behind: Server, reported: Reported, header: bytes) -> None:
    with Text(behind.address) as alice:
        alice.send_bytes(header + b"alice\n/whois alice\n")
        assert "192.0.2.7" in alice.expect("alice is online")
    (logged,) = reported.of(events.LoggedIn)
    assert logged.address == "192.0.2.7"


@HEADERS
def test_every_dialect_and_tls_come_after_the_header(
    start_server: StartServer, certificate: Certificate, reported: Reported, header: bytes
) -> None:
    server = start_server(
        proxies=("127.0.0.1",), tls=TlsConfig(str(certificate.file), str(certificate.key)), mqtts_port=0
    )
    assert server.mqtts_address is not None
    with Json(server.address) as bob:
        bob.send_bytes(header)
        assert isinstance(bob.request(Hello(name="bob")), Welcome)
    context = ssl.create_default_context(cafile=certificate.file)
    for name, address in (("oven", server.address), ("kiln", server.mqtts_address)):
        with socket.create_connection(endpoint(address), DEADLINE) as plain:
            plain.sendall(header)
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as device:
                device.sendall(encode(Connect(version=V311, client_id=name, username=name), V311))
                assert device.recv(100) == encode(ConnAck(0), V311)
    assert {(each.user, each.address) for each in reported.of(events.LoggedIn)} == {
        (name, "192.0.2.7") for name in ("bob", "oven", "kiln")
    }


def test_a_silent_person_behind_a_proxy_is_greeted_after_the_header(behind: Server) -> None:
    with Text(behind.address) as alice:
        alice.send_bytes(LINE)
        alice.expect("What is your name?")


def test_the_limits_of_an_address_hold_for_the_peer_and_not_for_the_proxy(
    start_server: StartServer, reported: Reported
) -> None:
    server = start_server(proxies=("127.0.0.1",), limits=Limits(connections_per_address=2))
    with Json(server.address) as first, Json(server.address) as second, Json(server.address) as other:
        for number, (line, source) in enumerate([(first, "192.0.2.7"), (second, "192.0.2.7"), (other, "192.0.2.8")]):
            line.send_bytes(binary(source))
            assert isinstance(line.request(Hello(name=f"user{number}")), Welcome)
        with Json(server.address) as third:
            third.send_bytes(binary() + b'{"op":"hello","name":"third"}\n')
            assert third.expect(Closing).code == "address-full"
        assert [(each.address, each.reason) for each in reported.of(events.RefusedConnection)] == [
            ("192.0.2.7", "address-full")
        ]
    eventually(lambda: not server._door._connections, lambda: "connections have not ended")
    assert not server._door._by_network
    with Json(server.address) as again:
        again.send_bytes(binary())
        assert isinstance(again.request(Hello(name="again")), Welcome)


def test_the_rate_of_new_connections_holds_for_the_peer_too(start_server: StartServer, reported: Reported) -> None:
    server = start_server(proxies=("127.0.0.1",), limits=Limits(connections_per_second=1, connections_burst=2))
    codes = []
    for number, last in enumerate((7, 7, 7, 8, 9, 10)):
        with Json(server.address) as line:
            line.send_bytes(binary(f"192.0.2.{last}") + b'{"op":"hello","name":"user%d"}\n' % number)
            codes.append(getattr(line.next(), "code", None))
    assert codes == [None, None, "rate-limited", None, None, None]
    assert [(each.address, each.reason) for each in reported.of(events.RefusedConnection)] == [
        ("192.0.2.7", "rate-limited")
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"alice\n", b'{"op":"hello","name":"alice"}\n', b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01",
        LINE.replace(b"TCP4", b"TCP5"), LINE.replace(b"7000", b"70000"), binary()[:-1],
        SIGNATURE_2 + b"\x11\x11\x00\x0c" + bytes(12), SIGNATURE_2 + b"\x21\x11\xff\xff",
    ],
)  # fmt: skip
def test_a_proxy_without_a_valid_header_is_closed_without_an_answer(
    behind: Server, reported: Reported, data: bytes
) -> None:
    with socket.create_connection(endpoint(behind.address), DEADLINE) as proxy:
        proxy.sendall(data)
        with suppress(OSError):  # the server may have closed the connection by now
            proxy.shutdown(socket.SHUT_WR)
        assert _answer(proxy) == b""
    (event,) = reported.take()
    assert isinstance(event, events.BadProxyHeader)
    assert event.address == "127.0.0.1"


def _answer(peer: socket.socket) -> bytes:
    """Return all that comes until the end of the connection."""
    answer = b""
    try:
        while data := peer.recv(1 << 16):
            answer += data
    except ConnectionResetError:  # the server has not read everything
        pass
    return answer


@pytest.mark.parametrize("port", ["any", "TLS only"])
@pytest.mark.parametrize("data", [b"", LOCAL, b"PROXY UNKNOWN\r\n"])
def test_health_checks_leave_no_line_in_the_log(
    start_server: StartServer, certificate: Certificate, reported: Reported, data: bytes, port: str
) -> None:
    """The port for TLS only wrote that the peer must use TLS, which had sent nothing."""
    tls = TlsConfig(str(certificate.file), str(certificate.key))
    server = start_server(proxies=("127.0.0.1",), tls=tls, mqtts_port=0)
    reported.take()  # about the certificate
    address = server.address if port == "any" else server.mqtts_address
    assert address is not None
    for how in (socket.SHUT_WR, socket.SHUT_RDWR):
        with socket.create_connection(endpoint(address), DEADLINE) as check:
            check.sendall(data)
            check.shutdown(how)
            if how == socket.SHUT_WR:
                _answer(check)
    eventually(lambda: not server._door._connections, lambda: "connections have not ended")
    assert reported.events == []


def test_a_connection_of_the_proxy_itself_has_its_own_address(behind: Server, reported: Reported) -> None:
    with Json(behind.address) as monitor:
        monitor.send_bytes(LOCAL)
        assert isinstance(monitor.request(Hello(name="monitor")), Welcome)
    assert [each.address for each in reported.of(events.LoggedIn)] == ["127.0.0.1"]


@HEADERS
def test_from_any_other_address_a_header_is_a_wrong_protocol(
    start_server: StartServer, tmp_path: Path, reported: Reported, header: bytes
) -> None:
    for number, proxies in enumerate(((), ("10.0.0.0/8", "::1"))):
        server = start_server(proxies=proxies, data=str(tmp_path / f"data{number}"))
        with socket.create_connection(endpoint(server.address), DEADLINE) as peer:
            peer.sendall(header + b"alice\n")
            assert _answer(peer) == f"! {PROXY_SENTENCE}\n".encode()
    assert [each.saw for each in reported.of(events.WrongProtocol)] == ["PROXY"] * 2
    assert PROXY_SENTENCE != UNKNOWN_SENTENCE


def test_a_server_that_goes_down_does_not_wait_for_headers(start_server: StartServer, reported: Reported) -> None:
    server = start_server(proxies=("127.0.0.1",), limits=Limits(handshake_seconds=600))
    with (
        socket.create_connection(endpoint(server.address), DEADLINE) as one,
        socket.create_connection(endpoint(server.address), DEADLINE) as two,
    ):
        two.sendall(LINE[:10])
        eventually(lambda: len(server._door._connections) == 2, lambda: "not accepted")
        server.close()
        assert _answer(one) == _answer(two) == b""
    assert not reported.of(events.BadProxyHeader)
    assert not reported.of(events.LateConnections)


# The setting


@pytest.mark.parametrize(
    ("addresses", "host", "expected"),
    [
        ((), "127.0.0.1", False),
        (("127.0.0.1",), "127.0.0.1", True),
        (("127.0.0.1",), "127.0.0.2", False),
        (("127.0.0.1",), "::ffff:127.0.0.1", True),
        (("10.0.0.0/8", "::1"), "10.200.3.4", True),
        (("10.0.0.0/8", "::1"), "::1", True),
        (("10.0.0.0/8", "::1"), "11.0.0.1", False),
        (("fe80::/10",), "fe80::7%eth0", True),
    ],
)
def test_a_proxy_is_an_address_or_in_a_network(addresses: tuple[str, ...], host: str, expected: bool) -> None:
    assert Proxies(addresses).include(host) is expected


@pytest.mark.parametrize("text", ["proxy.lan", "10.0.0.1/8", "10.0.0.0/33", "", "127.0.0.1:7000"])
def test_a_wrong_setting_is_one_sentence(start_server: StartServer, text: str) -> None:
    with pytest.raises(LocalError, match="neither an IP address nor a network"):
        start_server(proxies=(text,))


def test_the_setting_is_a_list_in_the_config_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("proxies: [127.0.0.1, 10.0.0.0/8]\n")
    assert load(str(file)).proxies == ("127.0.0.1", "10.0.0.0/8")
    file.write_text("proxies: 127.0.0.1\n")
    with pytest.raises(LocalError, match="proxies"):
        load(str(file))


# Reading


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, PlainStream]]:
    """A socket, and a stream at its other end."""
    far, near = socket.socketpair()
    with far, near:
        yield far, PlainStream(near)


def test_a_header_is_read_in_any_pieces_and_nothing_after_it(pair: tuple[socket.socket, PlainStream]) -> None:
    far, stream = pair
    data = binary(more=bytes(200))

    def drip() -> None:
        for at in range(len(data)):
            far.sendall(data[at : at + 1])
        far.sendall(b"hello")

    dripping = threading.Thread(target=drip, name="drip")
    dripping.start()
    assert read_header(stream, DEADLINE) == ProxyHeader(len(data), ("192.0.2.7", 4711))
    dripping.join()
    assert stream.receive(100, DEADLINE) == b"hello"


@pytest.mark.parametrize("start", [b"", LINE[:20], binary()[:20]])
def test_a_header_has_its_time(pair: tuple[socket.socket, PlainStream], start: bytes) -> None:
    far, stream = pair
    far.sendall(start)
    with pytest.raises(ProxyHeaderError, match="it did not come within"):
        read_header(stream, 0.05)


class Dripping(PlainStream):
    """A stream that gets one byte in each second of its own clock."""

    now = 0.0

    def peek(self, size: int, patience: float | None, *, whole: bool = False) -> bytes | None:
        """Return one more byte, a second later."""
        assert patience is not None
        assert patience <= 10.0 - self.now
        self.now += 1.0
        return LINE[int(self.now) - 1 : int(self.now)]


def test_bytes_that_drip_do_not_prolong_the_time(
    pair: tuple[socket.socket, PlainStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    far, near = pair
    far.sendall(b"x" * 20)
    stream = Dripping(near.socket)
    monkeypatch.setattr(proxies_module, "time", SimpleNamespace(monotonic=lambda: stream.now))
    with pytest.raises(ProxyHeaderError, match="it did not come within 10 seconds"):
        read_header(stream, 10.0)
    assert stream.now == 10.0


def test_a_connection_that_ends_within_the_header_is_an_error_and_before_it_is_none(
    pair: tuple[socket.socket, PlainStream],
) -> None:
    far, stream = pair
    far.sendall(LINE[:20])
    far.shutdown(socket.SHUT_WR)
    with pytest.raises(ProxyHeaderError, match="ended within it"):
        read_header(stream, DEADLINE)
    assert read_header(stream, DEADLINE) is None


def test_while_many_headers_are_late_each_may_take_a_second(
    start_server: StartServer, reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One proxy that sent no headers kept others from connecting, for ten seconds at a time."""
    monkeypatch.setattr(proxies_module, "_BRIEF", 0.05)
    server = start_server(proxies=("127.0.0.1",), limits=Limits(headers_waiting=2, handshake_seconds=30))
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(endpoint(server.address), DEADLINE)) for _ in range(5)]
        eventually(
            lambda: len(reported.of(events.BadProxyHeader)) == 3, lambda: f"{reported.of(events.BadProxyHeader)}"
        )
        assert {each.error for each in reported.of(events.BadProxyHeader)} == {"it did not come within 0.05 seconds"}
        for line in silent:
            line.sendall(LINE + b"{")
        eventually(lambda: not server._door._proxies._waiting, lambda: "a connection waits for its header")
        assert len(server._door._connections) == 2


def test_a_late_header_is_read_if_few_are_late(
    pair: tuple[socket.socket, PlainStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxies_module, "_BRIEF", 0.01)
    far, stream = pair
    far.sendall(LINE[:20])

    def too_many() -> bool:
        """Have the rest come now."""
        far.sendall(LINE[20:])
        return False

    assert read_header(stream, DEADLINE, too_many) == ProxyHeader(len(LINE), ("192.0.2.7", 4711))
