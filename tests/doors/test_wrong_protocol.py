"""Peers of other protocols get one answer in their own terms, and nothing that they send becomes a line of the chat."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from http.client import HTTPConnection

import pytest

from net import unacknowledged_bytes
from reporting import events
from server import Server
from tests.support.clients import Json, endpoint
from tests.support.mqtt import MqttLine
from tests.support.reported import Reported
from tests.support.waiting import DEADLINE, eventually
from wire.frames import Join
from wire.other_protocols import HTTP_ANSWER, HTTP_SENTENCE, TLS_ANSWER, UNKNOWN_SENTENCE

Connect = Callable[..., Json]

_LINES = b"mallory\n/join lab\nlab: said by a web page\n"
_UNKNOWN = f"! {UNKNOWN_SENTENCE}\n".encode()


@pytest.fixture(params=["main port", "MQTT port"])
def address(request: pytest.FixtureRequest, server: Server) -> str:
    """Each of the server's ports in turn."""
    assert server.mqtt_address is not None
    return server.address if request.param == "main port" else server.mqtt_address


@pytest.fixture
def lab(server: Server, connect: Connect) -> Iterator[None]:
    """A channel in which nothing was said and nobody but its founder was at the end of the test."""
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    yield
    assert server.chat.known_channel("lab").tail == 0
    assert [user.name for user in server.chat.directory.users()] == ["alice"]


def answer_to(address: str, *pieces: bytes) -> bytes:
    """Return all that the server answers until it closes the connection."""
    with socket.create_connection(endpoint(address), DEADLINE) as peer:
        for piece in pieces:
            peer.sendall(piece)
            received_by_the_server(peer)
        answer = b""
        while data := peer.recv(1 << 16):
            answer += data
        return answer


def received_by_the_server(peer: socket.socket) -> None:
    """Wait until the server's machine has what was sent, so that the next piece comes in another segment."""
    eventually(lambda: unacknowledged_bytes(peer) == 0, lambda: "the server does not receive")


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "PRI", "bob", "x-Method"])
def test_a_request_of_http_is_answered_with_400_whatever_its_body(address: str, method: str) -> None:
    head = f"{method} /lab?{'x' * 200} HTTP/1.1\r\nHost: chat\r\nContent-Length: {len(_LINES)}\r\n\r\n".encode()
    assert answer_to(address, head + _LINES) == HTTP_ANSWER


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("length", [3, 5_000, 15_000, 20_000, 300_000])
def test_a_request_line_may_come_in_pieces_and_be_long(address: str, length: int) -> None:
    """A web page chooses the length of its address, and so in which segments the request line comes."""
    target = b"/" + b"x" * length
    answer = answer_to(address, b"POST ", target[: length // 2], target[length // 2 :] + b" HTTP/1.1\r\n\r\n" + _LINES)
    assert answer == HTTP_ANSWER


@pytest.mark.usefixtures("lab")
def test_blank_lines_before_a_request_line_do_not_hide_it(address: str) -> None:
    assert answer_to(address, b"\r\n", b"\r\n \r\nPOST / HTTP/1.1\r\n\r\n" + _LINES) == HTTP_ANSWER


@pytest.mark.usefixtures("lab")
def test_a_client_of_http_understands_the_answer(address: str) -> None:
    host, port = endpoint(address)
    client = HTTPConnection(host, port, timeout=DEADLINE)
    client.request("POST", "/", _LINES)
    response = client.getresponse()
    assert (response.status, response.read().decode()) == (400, f"{HTTP_SENTENCE}\n")
    assert response.will_close


def test_a_person_may_speak_of_http(server: Server, connect: Connect) -> None:
    """Only the first line of a connection counts."""
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    said = b"bob\n/join lab\nGET / HTTP/1.1\nexit\n"
    assert b"[lab] bob: GET / HTTP/1.1\n" in answer_to(server.address, said)


@pytest.mark.usefixtures("lab")
def test_tls_without_a_certificate_gets_an_alert(address: str) -> None:
    with socket.create_connection(endpoint(address), DEADLINE) as peer:
        context = ssl.create_default_context()
        with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
            context.wrap_socket(peer, server_hostname="chat")
    assert answer_to(address, b"\x16") == TLS_ANSWER


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_openssl_names_the_alert(server: Server) -> None:
    command = ["openssl", "s_client", "-connect", server.address]
    done = subprocess.run(command, capture_output=True, input=b"", timeout=DEADLINE, check=False)
    assert b"alert handshake failure" in done.stderr


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    "first",
    [b"\x00", b"\x01\n", b"\x0b", b"\x1b[A", b" \x00", b"\x7f", b"\x80", b"\xfe\xff", b"\xc0\x00", b"\xd0\x00",
     b"\xe0\x00", b"\x82\x08\x00\x01\x00\x03a/b\x00", b"\x20\x02\x00\x00", b"\x32\x07\x00\x03lab\x00\x01",
     b"\x50\x02\x00\x01"],
)  # fmt: skip
def test_a_first_byte_that_begins_nothing_gets_one_sentence(address: str, first: bytes) -> None:
    """Controls, other packets of MQTT, and what no text begins with."""
    assert answer_to(address, first + b"\n" + _LINES) == _UNKNOWN


@pytest.mark.parametrize("first", [b"\xff\xfd\x01", b"\xff", "é".encode(), b" ", b"alice", b"/help", b"#", b"\r\n"])
def test_what_a_person_may_type_begins_text(server: Server, first: bytes) -> None:
    """Telnet's negotiation too."""
    assert b"Goodbye." in answer_to(server.address, first, b"\nexit\n")


@pytest.mark.parametrize(
    ("name", "level", "answer"),
    [
        (b"MQIsdp", 3, b"\x20\x02\x00\x01"),
        (b"MQIsdp", 0x83, b"\x20\x02\x00\x01"),
        (b"MQTT", 3, b"\x20\x02\x00\x01"),
        (b"MQTT", 6, b"\x84"),
        (b"MQTT", 127, b"\x84"),
        (b"AMQP", 4, b""),
    ],
)
def test_other_levels_of_mqtt_are_refused_by_connack(address: str, name: bytes, level: int, answer: bytes) -> None:
    """Return code 1 for MQTT 3.1 (3.1.1 §3.1.2.2), reason 0x84 for the versions after 5 (5 §3.1.2.2)."""
    body = len(name).to_bytes(2, "big") + name + bytes((level, 2, 0, 60)) + b"\x00\x03abc"
    came = answer_to(address, bytes((0x10, len(body))) + body)
    assert came == answer if len(answer) != 1 else (came[0], came[3:4]) == (0x20, answer)


def test_the_right_protocols_are_served_on_both_ports(
    address: str, connect: Connect, mqtt: Callable[..., MqttLine], dial: Callable[..., object]
) -> None:
    connect(address, "bob")
    dial(address, "carol")
    mqtt(address, "dave").do("join/lab")


@pytest.mark.parametrize(
    ("first", "saw"), [(b"GET / HTTP/1.1\r\n\r\n", "HTTP"), (b"\x16\x03\x01", "TLS"), (b"\x00", "unknown")]
)
def test_the_log_says_who_spoke_what(address: str, first: bytes, saw: str, reported: Reported) -> None:
    answer_to(address, first)
    assert reported.of(events.WrongProtocol) == [events.WrongProtocol("127.0.0.1", saw)]
