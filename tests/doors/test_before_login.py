"""Before a name: few requests, few bytes in either direction, no payload, few seconds, and an end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from server import Server
from tests.support.clients import Bulk, Gone, Json, Text
from tests.support.fixtures import StartServer
from tests.support.processes import Process, memory
from wire.frames import Closing, Error, Hello, Join, Ping, Pong, Say, Stored, Welcome
from wire.limits import Limits
from wire.text import help_lines

Connect = Callable[..., Json]
Dial = Callable[..., Text]

_HELP = "\n".join(help_lines())


def _sent_by(address: str, data: bytes) -> int:
    """Return how many bytes the server answers to these bytes until it closes the connection."""
    answered = 0
    with Bulk(address) as line:
        try:
            line.send_bytes(data)
            while True:
                answered += len(line.socket.recv(1 << 16)) or _gone()
        except (Gone, ConnectionError):
            return answered


def _gone() -> int:
    raise Gone("the server has closed it")


def test_many_requests_get_few_answers(server: Server) -> None:
    """18 KB of /help were answered by 5.3 MB."""
    limits = Limits()
    for request in (b"/help\n", b"/who\n", b'{"op":"help"}\n', b'{"op":"ping"}\n', b'{"op":"dance"}\n', b"{\n"):
        answered = _sent_by(server.address, request * (18_000 // len(request)))
        assert answered < limits.login_bytes, request
        assert answered < (limits.login_requests + 1) * (len(_HELP) * 2), request


def test_the_last_answer_says_why(server: Server, connect: Connect, dial: Dial) -> None:
    limits = Limits()
    program = connect(server.address)
    program.send(*[Ping(ref=n) for n in range(limits.login_requests + 5)])
    came = program.until_closed()
    assert [type(frame) for frame in came] == [Pong] * limits.login_requests + [Error, Closing]
    assert came[-1] == Closing(reason="The connection is closed.", code="login-limit")
    person = dial(server.address)
    person.send(*["/who"] * (limits.login_requests + 5))
    reason = f"! Without a name, a connection may make at most {limits.login_requests} requests.\n"
    assert person.until_closed().endswith(f"{reason}* The connection is closed.\n")


def test_three_names_that_break_the_rule_end_it(server: Server, connect: Connect, dial: Dial) -> None:
    program = connect(server.address)
    program.send(*[Hello(name=name) for name in ("a b", "c d", "e f", "alice")])
    errors = [frame for frame in program.until_closed() if isinstance(frame, Error)]
    assert [error.code for error in errors] == ["bad-name"] * 3
    assert errors[-1].error.endswith("This was the last attempt.")
    person = dial(server.address)
    person.send("NICK bob", "USER bob 0 * :Bob", "JOIN #lab", "alice", "/join lab", "hello")
    assert person.until_closed().count("A name is 1 to 32 letters") == 3
    assert server.chat.directory.users() == []


def test_a_name_that_is_taken_may_be_followed_by_others(server: Server, connect: Connect) -> None:
    connect(server.address, "alice")
    line = connect(server.address)
    for _ in range(5):
        assert line.request(Hello(name="alice")).code == "name-taken"
    assert isinstance(line.request(Hello(name="bob")), Welcome)


def test_no_payload_before_the_name(server: Server, connect: Connect) -> None:
    """One of a megabyte was held in memory."""
    line = connect(server.address)
    line.send(Ping(bytes=5, payload=b"12345", ref="early"))
    error = line.expect(Error)
    assert (error.code, error.ref) == ("hello-first", "early")
    line.request(Hello(name="alice"))
    assert line.request(Ping(bytes=5, payload=b"12345")).payload == b"12345"


@pytest.mark.parametrize("cut", [0, 1, 40, 41, 70])
def test_a_payload_may_come_together_with_the_name(server: Server, connect: Connect, cut: int) -> None:
    """However the bytes are cut."""
    data = b'{"op":"hello","name":"alice"}\n{"op":"ping","bytes":5,"ref":"p"}\n{\n}\n\n{"op":"ping","ref":"q"}\n'
    line = connect(server.address)
    for piece in (data[:cut], data[cut:]):
        line.send_bytes(piece)
    answer: Any = line.expect(Pong, lambda frame: frame.ref == "p")
    assert answer.payload == b"{\n}\n\n"
    line.expect(Pong, lambda frame: frame.ref == "q")


def test_payloads_before_the_name_take_no_memory(process: Process) -> None:
    before = memory(process.pid)
    lines = [Bulk(process.address) for _ in range(50)]
    for line in lines:
        with suppress(Gone):  # it may be cut off before all of it was sent
            line.send_bytes(b'{"op":"ping","bytes":1000000}\n' + b"x" * 999_999)
    with Json(process.address, "alice") as alice:
        alice.request(Join("lab"))
        assert isinstance(alice.request(Say("still here", "lab")), Stored)
    assert memory(process.pid) < before + (16 << 20)
    for line in lines:
        line.close()


def test_bytes_that_are_no_requests_count_too(server: Server) -> None:
    assert _sent_by(server.address, b"\n" * 1_000_000) < 1_000
    assert _sent_by(server.address, b'{"op":"ping"}\n' + b"\n" * 1_000_000) < 1_000


def test_a_peer_with_a_name_has_none_of_these_limits(start_server: StartServer, connect: Connect) -> None:
    server = start_server(limits=Limits(login_requests=1, login_bytes=1_000, name_tries=1))
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    for _ in range(50):
        assert isinstance(alice.request(Say("x" * 100, "lab")), Stored)
        assert alice.request(Join("a b")).code == "bad-name"


def test_a_new_connection_starts_anew(start_server: StartServer, dial: Dial) -> None:
    server = start_server(limits=Limits(name_tries=1))
    for _ in range(3):
        line = dial(server.address)
        line.send("a b")
        assert "This was the last attempt" in line.until_closed()
    dial(server.address, "alice")
