"""The line to another server, over real sockets, with a server that is scripted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import msgspec
import pytest

from channels import LineLostError
from doors import ServerLine
from doors import server_line as server_line_module
from store import ServerRow
from tests.support.waiting import DEADLINE, ended, eventually
from wire.frames import Chunk, Closing, Error, Frame, Get, Have, More, Ok, Put, Relay
from wire.jsonlines import JsonLines

RELAY = Relay(name="ann", secret="secret", address="10.0.0.9")
Script = Callable[[socket.socket], None]


class Other:
    """A server that does what a script says with each connection, after it has taken the `relay`."""

    def __init__(self, script: Script, answer: Frame | None = None) -> None:
        self._script = script
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.row = ServerRow(1, "lab-a", f"127.0.0.1:{self._listener.getsockname()[1]}")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._listener.accept()[0] as peer:
            peer.settimeout(DEADLINE)
            relay = lines(peer, 1)[0]
            assert relay == msgspec.structs.replace(RELAY, ref=1)
            peer.sendall(b"Welcome to something.\n" + JsonLines.encode(self._answer or Ok(ref=1)))
            self._script(peer)

    def close(self) -> None:
        """Wait for the end of the script."""
        ended([self._thread], lambda: 0)
        self._listener.close()


def lines(peer: socket.socket, count: int) -> list[Frame]:
    """Return so many requests."""
    dialect = JsonLines()
    found: list[Frame] = []
    while len(found) < count:
        data = peer.recv(1 << 16)
        assert data, "the line has ended"
        found += dialect.receive(data)
    return found


def answering(*answers: Frame) -> Script:
    """Return a script that gives one of the answers to each request."""

    def script(peer: socket.socket) -> None:
        for answer in answers:
            [request] = lines(peer, 1)
            answer.ref = request.ref  # type: ignore[attr-defined]
            peer.sendall(JsonLines.encode(answer))

    return script


def silent(peer: socket.socket) -> None:
    """Read to the end, and say nothing."""
    while peer.recv(1 << 16):
        pass


@pytest.fixture
def other() -> Iterator[Callable[..., Other]]:
    """Start servers; awaited afterwards."""
    made: list[Other] = []

    def start(script: Script, answer: Frame | None = None) -> Other:
        made.append(Other(script, answer))
        return made[-1]

    yield start
    for each in made:
        each.close()


class Told:
    """What a line tells."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.over = threading.Event()

    def line(self, row: ServerRow) -> ServerLine:
        """Open a line."""
        return ServerLine(row, RELAY, self.frames.append, self.over.set)


def test_requests_and_payloads_go_both_ways(other: Callable[..., Other]) -> None:
    told, data = Told(), bytes(range(256)) * 2_000
    line = told.line(other(answering(Chunk(file="f1", offset=3, payload=data), Ok())).row)
    answer = line.ask(Get(file="f1", offset=3, length=len(data), ref="mine"))
    assert answer == Chunk(ref=2, file="f1", offset=3, bytes=len(data), payload=data)
    assert line.ask(Put(file="f1", offset=0, payload=data)) == Ok(ref=3)
    line.close()
    assert told.over.wait(DEADLINE)
    assert not line.alive


def test_events_come_beside_answers(other: Callable[..., Other]) -> None:
    def script(peer: socket.socket) -> None:
        [request] = lines(peer, 1)
        peer.sendall(JsonLines.encode(More("f1")) + JsonLines.encode(Ok(ref=99)) + JsonLines.encode(Ok(ref=2)))
        peer.sendall(JsonLines.encode(More("f2")))
        assert request

    told = Told()
    line = told.line(other(script).row)
    assert line.ask(Have(file="f1")) == Ok(ref=2)
    eventually(lambda: len(told.frames) == 2, lambda: repr(told.frames))
    assert told.frames == [More("f1"), More("f2")]
    line.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Error(code="not-allowed", error="Who are you?", ref=1), "Who are you\\?"),
        (Closing(reason="The server is going down.", code="closing"), "The server is going down"),
        (More("f1"), "within"),
    ],
)
def test_a_line_that_is_not_taken(
    other: Callable[..., Other], answer: Frame, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_line_module, "_CONNECTING", 0.2)
    told = Told()
    with pytest.raises(LineLostError, match=why):
        told.line(other(silent, answer).row)
    assert told.over.wait(DEADLINE)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for address in (f"127.0.0.1:{port}", "no.such.host.invalid:1", "127.0.0.1", ""):
        with pytest.raises(LineLostError):
            Told().line(ServerRow(1, "lab-a", address))


def test_an_error_of_a_newer_server_is_one_that_is_known(other: Callable[..., Other]) -> None:
    told = Told()
    line = told.line(other(answering(Error(code="new-code", error="Something new."))).row)
    assert line.ask(Have(file="f1")) == Error(ref=2, code="internal", error="Something new.")
    line.close()


def test_a_connection_that_ends_ends_the_wait(other: Callable[..., Other]) -> None:
    told = Told()
    line = told.line(other(lambda peer: lines(peer, 1) and None).row)
    with pytest.raises(LineLostError):
        line.ask(Have(file="f1"))
    assert told.over.wait(DEADLINE)
    with pytest.raises(LineLostError):
        line.ask(Have(file="f1"))


def test_a_server_that_does_not_answer_is_waited_for_a_while(
    other: Callable[..., Other], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_line_module, "_SILENCE", 0.1)
    told = Told()
    line = told.line(other(silent).row)
    with pytest.raises(LineLostError, match=r"no answer within 0\.1 s"):
        line.ask(Have(file="f1"))
    assert told.over.wait(DEADLINE)


def test_a_server_that_takes_nothing_is_waited_for_a_while(
    other: Callable[..., Other], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_line_module, "_SILENCE", 0.2)
    told, over = Told(), threading.Event()
    line = told.line(other(lambda peer: over.wait(DEADLINE) and None).row)
    with pytest.raises(LineLostError, match="it has taken nothing"):
        line.ask(Put(file="f1", offset=0, payload=bytes(64 << 20)))
    over.set()
    assert told.over.wait(DEADLINE)


def test_a_line_that_is_idle_ends(other: Callable[..., Other], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_line_module, "_IDLE", 0.2)
    told = Told()
    line = told.line(other(silent).row)
    assert told.over.wait(DEADLINE)
    assert not line.alive
