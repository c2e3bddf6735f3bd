"""TLS on every port: told apart by the first byte, refused and required, and nobody waits for anybody's handshake."""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import doors.connection
from bridge.mirror import BrokerConfig
from doors import TlsConfig
from net import TlsStream, certificate_alert
from reporting import events
from server import Config, Server
from tests.support.certificates import Certificate, make_certificate
from tests.support.clients import Connection, Json, Text, endpoint, in_tls
from tests.support.fixtures import StartProcess, StartServer
from tests.support.mqtt import VERSIONS, MqttLine
from tests.support.reported import Reported
from tests.support.waiting import DEADLINE, eventually
from wire.errors import LocalError
from wire.frames import Closing, Entry, Error, Join, Ping, Pong, Say
from wire.limits import Limits

MqttClient = Callable[..., MqttLine]


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this machine count as another one."""
    monkeypatch.setattr(doors.connection, "is_loopback", lambda host: False)


def config(certificate: Certificate, *, required: bool = False) -> TlsConfig:
    return TlsConfig(str(certificate.file), str(certificate.key), required)


@pytest.fixture
def strict_server(strangers: None, start_server: StartServer, certificate: Certificate) -> Server:
    """A server that requires TLS, of this machine, too."""
    return start_server(tls=config(certificate, required=True), mqtts_port=0)


def peer_certificate(address: str) -> bytes:
    """The certificate that a new connection gets, in PEM form."""
    return ssl.get_server_certificate(endpoint(address), timeout=DEADLINE).encode()


def test_each_port_speaks_both(tls_server: Server, mqtt: MqttClient) -> None:
    assert tls_server.mqtt_address is not None
    plain = (tls_server.address, tls_server.mqtt_address)
    for at, address in enumerate((*plain, *map(in_tls, plain))):
        with Text(address, f"alice{at}"), Json(address, f"bob{at}"):
            mqtt(address, f"carol{at}").close()


def test_the_log_says_who_uses_tls(tls_server: Server, reported: Reported, mqtt: MqttClient) -> None:
    for name, address in (("alice", tls_server.address), ("bob", in_tls(tls_server.address))):
        mqtt(address, name).close()
    logins = {event.user: event.tls for event in reported.of(events.LoggedIn)}
    assert logins == {"alice": False, "bob": True}


def test_a_person_who_is_silent_is_greeted_within_tls(tls_server: Server) -> None:
    with Text(in_tls(tls_server.address)) as person:
        person.expect("What is your name?")


def test_the_third_port_takes_tls_only(tls_server: Server, mqtt: MqttClient, version: int) -> None:
    address = tls_server.mqtts_address
    assert address is not None
    mqtt(in_tls(address), "alice", version=version)
    refused = mqtt(address, "bob", version=version, refused=True)
    assert refused.connack.reason in (5, 0x87)
    assert refused.until_closed() == []


def test_there_is_no_third_port_without_a_certificate(server: Server) -> None:
    assert server.mqtts_address is None


SENTENCE = "This server requires TLS: connect with TLS, as to tls://HOST or mqtts://HOST."


def test_who_must_use_tls_is_refused_in_the_own_dialect(strict_server: Server, mqtt: MqttClient) -> None:
    with Text(strict_server.address) as person:
        person.send("alice")
        assert SENTENCE in person.until_closed()
    with Json(strict_server.address) as program:
        program.send(Ping())
        error, closing = program.until_closed()
        assert isinstance(error, Error)
        assert (error.code, error.error) == ("tls-required", SENTENCE)
        assert isinstance(closing, Closing)
    for version in VERSIONS.values():
        device = mqtt(strict_server.address, "oven", version=version, refused=True)
        assert device.connack.properties.reason_string in (None, SENTENCE)
        assert device.until_closed() == []
    for door in (Text, Json):
        with door(in_tls(strict_server.address), "alice"):
            pass


@pytest.mark.parametrize(
    ("sent", "protocol"),
    [
        (b"alice\n", "text"),
        (b'{"op":"ping"}\n', "json"),
        (b"GET / HTTP/1.1\r\n\r\n", "text"),
        (b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05alice", "mqtt-3.1.1"),
        (b"\x10\x12\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x05alice", "mqtt-5"),
        (b"\x00\x01\x02\x03", "unknown"),
    ],
    ids=["text", "JSON", "HTTP", "MQTT 3.1.1", "MQTT 5", "unknown"],
)
def test_a_peer_without_tls_is_in_the_log_with_one_reason(
    tls_server: Server, reported: Reported, sent: bytes, protocol: str
) -> None:
    """The log gave MQTT another reason than text, and an unknown protocol none."""
    assert tls_server.mqtts_address is not None
    with socket.create_connection(endpoint(tls_server.mqtts_address), DEADLINE) as peer:
        peer.sendall(sent)
        while peer.recv(1 << 16):
            pass
    (event,) = reported.of(events.CutOff)
    assert event == events.CutOff("127.0.0.1", "", protocol, "tls-required", SENTENCE)
    assert not reported.of(events.WrongProtocol)


def test_nothing_of_a_refused_peer_is_done(strict_server: Server) -> None:
    """Neither its login nor what it says: it could be read by others by then."""
    with Text(strict_server.address) as person, Json(in_tls(strict_server.address), "bob") as bob:
        person.send("alice", "/join lab", "hello")
        person.until_closed()
        bob.request(Ping())
        assert strict_server.chat.channel("lab") is None


def test_a_silent_peer_that_must_use_tls_is_not_greeted(
    strangers: None, start_server: StartServer, certificate: Certificate
) -> None:
    strict = start_server(tls=config(certificate, required=True), limits=Limits(login_seconds=1))
    with Text(strict.address) as person:
        assert "What is your name" not in person.until_closed()


def test_this_machine_may_do_without(start_server: StartServer, certificate: Certificate) -> None:
    with Text(start_server(tls=config(certificate, required=True)).address, "alice"):
        pass


def test_tls_within_tls_is_refused(tls_server: Server) -> None:
    with Connection(in_tls(tls_server.address)) as peer:
        peer.send_bytes(b"\x16\x03\x01\x00\x05hello\n")
        assert peer._receive() == b""


# Handshakes


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize("known", [False, True], ids=["unknown authority", "another name"])
def test_a_client_that_does_not_trust_the_certificate_is_in_the_log(
    tls_server: Server, certificate: Certificate, reported: Reported, version: ssl.TLSVersion, *, known: bool
) -> None:
    """A person may cause that by hand, so it is no warning; it was a connection that failed in an unusual way."""
    context = ssl.create_default_context(cafile=str(certificate.file) if known else None)
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(endpoint(tls_server.address), DEADLINE) as peer,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(peer, server_hostname="chat.example" if known else "localhost")
    eventually(lambda: bool(reported.of(events.UntrustedCertificate)), lambda: reported.text)
    (event,) = reported.of(events.UntrustedCertificate)
    assert event == events.UntrustedCertificate("127.0.0.1", "bad_certificate" if known else "unknown_ca")
    assert event.LEVEL == logging.INFO
    assert not reported.of(events.SocketFailed)


def test_another_alert_is_no_matter_of_the_certificate() -> None:
    assert certificate_alert(ConnectionResetError()) == ""
    for text, reason, alert in (
        ("sslv3 alert handshake failure", "SSLV3_ALERT_HANDSHAKE_FAILURE", ""),
        ("sslv3 alert certificate expired", "SSLV3_ALERT_CERTIFICATE_EXPIRED", "certificate_expired"),
        ("ssl/tls alert certificate unknown", None, "certificate_unknown"),  # Python does not know the reason
    ):
        error = ssl.SSLError(1, text)
        error.reason = reason  # type: ignore[assignment]
        assert certificate_alert(error) == alert


def hold(address: str, sent: bytes = b"\x16\x03\x01\x02\x00\x01") -> socket.socket:
    """Begin a handshake, and say nothing more."""
    peer = socket.create_connection(endpoint(address), DEADLINE)
    peer.sendall(sent)
    return peer


def test_a_stalled_handshake_ends_in_time(
    start_server: StartServer, certificate: Certificate, reported: Reported
) -> None:
    server = start_server(tls=config(certificate), limits=Limits(handshake_seconds=1))
    with hold(server.address) as peer:
        peer.settimeout(DEADLINE)
        assert peer.recv(100) == b""
    assert [event.address for event in reported.of(events.SocketFailed)] == ["127.0.0.1"]


def test_one_byte_at_a_time_gains_no_time(start_server: StartServer, certificate: Certificate) -> None:
    server = start_server(tls=config(certificate), limits=Limits(handshake_seconds=1))
    with hold(server.address, b"\x16\x03\x01\x40\x00") as peer:
        peer.settimeout(0.05)
        for _ in range(int(DEADLINE / 0.05)):
            try:
                assert peer.recv(100) == b""
                return
            except TimeoutError:
                peer.send(b"\0")
            except ConnectionResetError:
                return
        raise AssertionError("the handshake goes on")


def test_half_a_hello_takes_no_memory_of_openssl(tls_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[socket.socket] = []

    class Counted(TlsStream):
        def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
            begun.append(sock)
            super().__init__(sock, context)

    monkeypatch.setattr(doors.connection, "TlsStream", Counted)
    hello = ssl.MemoryBIO()
    unverified = ssl._create_unverified_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        unverified.wrap_bio(ssl.MemoryBIO(), hello).do_handshake()
    whole = hello.read()
    for sent in (whole[:1], whole[:5], whole[:-1]):
        begun.clear()
        with hold(tls_server.address, sent) as peer:
            Json(in_tls(tls_server.address), "bob").close()  # it comes later, and shakes hands
            assert len(begun) == 1
            peer.sendall(whole[len(sent) :])
            assert peer.recv(1) == b"\x16"


def test_stalled_handshakes_hold_up_nobody(tls_server: Server, mqtt: MqttClient) -> None:
    """Neither who has connected before nor who comes, plain or in TLS."""
    with Json(tls_server.address, "alice") as alice:
        alice.request(Join("lab"))
        held = [hold(tls_server.address, sent) for sent in (b"\x16", b"\x16\x03\x01\x02\x00\x01") for _ in range(100)]
        try:
            with Json(in_tls(tls_server.address), "bob") as bob, Text(tls_server.address, "carol"):
                bob.request(Join("lab"))
                assert isinstance(alice.request(Ping()), Pong)
                alice.request(Say("hello", channel="lab"))
                bob.expect(Entry, lambda frame: frame.text == "hello")
                mqtt(in_tls(tls_server.address), "dave").close()
        finally:
            for peer in held:
                peer.close()


def test_a_server_that_stops_waits_for_no_handshake(tmp_path: Path, certificate: Certificate) -> None:
    server = Server(Config(port=0, data=str(tmp_path), tls=config(certificate)))
    with hold(server.address) as peer:
        eventually(lambda: len(server._door._connections) == 1, lambda: "it was not accepted")
        server.close()
        peer.settimeout(DEADLINE)
        while peer.recv(100):  # an alert
            pass


def test_who_is_connected_by_tls_is_told_that_the_server_stops(tmp_path: Path, certificate: Certificate) -> None:
    server = Server(Config(port=0, data=str(tmp_path), tls=config(certificate)))
    with Text(in_tls(server.address), "alice") as alice, Json(in_tls(server.address), "bob") as bob:
        server.close()
        assert "The server is going down." in alice.until_closed()
        assert isinstance(bob.until_closed()[-1], Closing)


def test_a_peer_without_tls_on_a_port_for_it(tls_server: Server) -> None:
    """Its first byte promises TLS, and nothing that follows is."""
    with hold(tls_server.address, b"\x16hello, is anybody there?\r\n") as peer:
        peer.settimeout(DEADLINE)
        try:
            answer = peer.recv(100)
        except ConnectionResetError:
            answer = b""
        assert answer[:1] in (b"", b"\x15")  # an alert


# The certificate


def test_a_new_certificate_is_for_new_connections(
    start_server: StartServer, certificate: Certificate, tmp_path: Path
) -> None:
    mine = Certificate(tmp_path / "mine.pem", tmp_path / "mine.key")
    shutil.copy(certificate.file, mine.file)
    shutil.copy(certificate.key, mine.key)
    server = start_server(tls=config(mine))
    assert server.tls is not None
    with Json(in_tls(server.address), "alice") as alice:
        (tmp_path / "new").mkdir()
        new = make_certificate(tmp_path / "new", "DNS:localhost")
        shutil.copy(new.file, mine.file)
        server.tls.reload()
        assert peer_certificate(server.address) == certificate.file.read_bytes(), "its key is still the old one"
        shutil.copy(new.key, mine.key)
        server.tls.reload()
        assert peer_certificate(server.address) == new.file.read_bytes()
        mine.file.write_text("no certificate\n")
        server.tls.reload()
        assert peer_certificate(server.address) == new.file.read_bytes()
        assert isinstance(alice.request(Ping()), Pong)


@pytest.mark.parametrize(
    ("tls", "sentence"),
    [
        (TlsConfig(cert="/nowhere"), "Cannot use the certificate /nowhere: No such file or directory."),
        (TlsConfig(key="/nowhere"), "tls.key needs tls.cert beside it."),
        (TlsConfig(required=True), "tls.required needs a certificate: set tls.cert, or run `server.py cert`."),
    ],
)
def test_what_cannot_work_is_one_sentence(tmp_path: Path, tls: TlsConfig, sentence: str) -> None:
    with pytest.raises(LocalError) as raised:
        Server(Config(port=0, data=str(tmp_path), tls=tls))
    assert str(raised.value) == sentence


def test_the_embedded_broker_stays_on_this_machine_if_tls_is_required(tmp_path: Path, certificate: Certificate) -> None:
    """It speaks no TLS."""
    options = config(certificate, required=True)
    with pytest.raises(LocalError, match=r"^The embedded broker has no TLS"):
        Server(Config(port=0, data=str(tmp_path), tls=options, broker=BrokerConfig(url="embedded://0.0.0.0:0")))


# Other programs


@pytest.fixture
def openssl(certificate: Certificate) -> Callable[[str, str], subprocess.CompletedProcess[str]]:
    """Type lines to a server through `openssl s_client`, which verifies its certificate."""

    def run(address: str, typed: str) -> subprocess.CompletedProcess[str]:
        command = ["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", str(certificate.file)]
        return subprocess.run(
            [*command, "-connect", address], input=typed, capture_output=True, text=True, timeout=DEADLINE, check=False
        )

    return run


def test_a_person_at_openssl(
    tls_server: Server, openssl: Callable[[str, str], subprocess.CompletedProcess[str]]
) -> None:
    done = openssl(tls_server.address, "alice\n/join lab\nhello\nexit\n")
    assert "Welcome, alice" in done.stdout
    assert "[lab] alice: hello" in done.stdout


@pytest.mark.skipif(shutil.which("mosquitto_sub") is None, reason="mosquitto_sub is not installed")
def test_devices_with_mosquitto_s_clients(tls_server: Server, certificate: Certificate) -> None:
    assert tls_server.mqtts_address is not None
    host, port = endpoint(tls_server.mqtts_address)
    options = ["-h", host, "-p", str(port), "--cafile", str(certificate.file), "-t"]
    with Json(tls_server.address, "alice") as alice:
        alice.request(Join("kitchen"))
        said = subprocess.run(
            ["mosquitto_pub", "-u", "oven", *options, "chat/from/oven/say/kitchen", "-m", "bread is done", "-q", "1"],
            capture_output=True, text=True, timeout=DEADLINE, check=True,
        )  # fmt: skip
        assert said.stderr == ""
        alice.expect(Entry, lambda frame: frame.text == "bread is done")
        heard = subprocess.run(
            ["mosquitto_sub", *options, "chat/presence/alice", "-C", "1"],
            capture_output=True, text=True, timeout=DEADLINE, check=True,
        )  # fmt: skip
        assert '"user":"alice","online":true' in heard.stdout
        assert heard.stderr == ""


def test_the_program_reloads_on_sighup(start_process: StartProcess, tmp_path: Path, certificate: Certificate) -> None:
    """Under load, and established connections go on."""
    mine = Certificate(tmp_path / "mine.pem", tmp_path / "mine.key")
    shutil.copy(certificate.file, mine.file)
    shutil.copy(certificate.key, mine.key)
    process = start_process("--tls-cert", str(mine.file), "--tls-key", str(mine.key))
    (tmp_path / "new").mkdir()
    new = make_certificate(tmp_path / "new", "DNS:localhost")
    address = in_tls(process.address)
    stop = threading.Event()
    with Json(address, "alice") as alice, ThreadPoolExecutor(2) as pool:
        alice.request(Join("lab"))

        def come_and_go(name: str) -> int:
            count = 0
            while not stop.is_set():
                with Json(address, name) as client:
                    client.request(Ping())
                count += 1
            return count

        comers = [pool.submit(come_and_go, name) for name in ("bob", "carol")]
        try:
            shutil.copy(new.file, mine.file)
            shutil.copy(new.key, mine.key)
            process.process.send_signal(signal.SIGHUP)
            eventually(
                lambda: peer_certificate(process.address) == new.file.read_bytes(), lambda: "the old one is in use"
            )
            mine.file.write_text("broken\n")
            process.process.send_signal(signal.SIGHUP)
            eventually(lambda: "certificate-rejected" in process.log, lambda: process.log)
            assert peer_certificate(process.address) == new.file.read_bytes()
        finally:
            stop.set()
        assert all(comer.result(DEADLINE) > 0 for comer in comers)
        assert isinstance(alice.request(Ping()), Pong)
    assert process.stop() == 0
