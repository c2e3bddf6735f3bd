"""Files whose bytes are at other servers: lines that are used, bounded, lost and made anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from channels import LineLostError, SessionReader
from channels.files import AwayFiles, Lines
from store import ServerRow
from wire.errors import Refused
from wire.frames import Answer, Frame, Get, Have, Kept, Listen, More, Ok, Put, Ranges, Relay, Request, Taken, Wanted

ONE, OTHER = ServerRow(1, "lab-a", "lab-a:7000", secret="s1"), ServerRow(2, "lab-b", "lab-b:7000", secret="s2")


class Reader:
    """The reader of a connection; it keeps what the peer is told."""

    def __init__(self) -> None:
        self.told: list[Frame] = []

    def reply(self, frame: Frame) -> None:
        """Keep it."""
        self.told.append(frame)


class FakeLine:
    """A line that answers each request with the next of its answers, or loses the connection."""

    def __init__(self, relay: Relay, heard: Callable[[Frame], None], over: Callable[[], None]) -> None:
        self.relay = relay
        self.heard = heard
        self.over = over
        self.alive = True
        self.asked: list[Request] = []
        self.answer: Answer | None = Ok()

    def ask(self, request: Request) -> Answer:
        """Answer, or be lost."""
        self.asked.append(request)
        if self.answer is None:
            self.end()
            raise LineLostError("gone")
        return self.answer

    def end(self) -> None:
        """End, as the other server does it."""
        if self.alive:
            self.alive = False
            self.over()

    def close(self) -> None:
        """End, as this server does it."""
        self.end()


class Place:
    """Away files of one connection, with what was opened and told."""

    def __init__(self, most: int = 10) -> None:
        self.lines = Lines(most)
        self.lines.opener = self._open
        self.opened: list[tuple[ServerRow, FakeLine]] = []
        self.reader = Reader()
        self.away = self.connection()

    def connection(self) -> AwayFiles:
        """Return those of a further connection."""
        return AwayFiles(self.lines, cast("SessionReader", self.reader), "Ann", "10.0.0.9")

    def _open(
        self, server: ServerRow, relay: Relay, heard: Callable[[Frame], None], over: Callable[[], None]
    ) -> FakeLine:
        if server.address == "":
            raise LineLostError("nobody listens")
        self.opened.append((server, FakeLine(relay, heard, over)))
        return self.opened[-1][1]


def test_each_server_gets_one_line_which_says_for_whom_it_is() -> None:
    place = Place()
    for server, file in ((ONE, "f1"), (OTHER, "f2"), (ONE, "f3"), (ONE, "f1")):
        assert place.away.ask(server, file, Have(file=file)) == Ok()
    assert [(server.number, line.relay) for server, line in place.opened] == [
        (1, Relay(name="Ann", address="10.0.0.9", secret="s1")),
        (2, Relay(name="Ann", address="10.0.0.9", secret="s2")),
    ]
    assert len(place.lines) == 2
    assert place.away.known("f1", 0) == (ONE, "f1")
    assert place.away.known("f1", 1) is None
    place.away.close()
    assert len(place.lines) == 0
    assert not any(line.alive for _, line in place.opened)
    assert place.reader.told == []


def test_what_another_server_tells_goes_to_the_peer() -> None:
    place = Place()
    place.away.ask(ONE, "f1", Have(file="f1", watch=True))
    place.opened[0][1].heard(More("f1"))
    assert place.reader.told == [More("f1")]


def test_after_a_lost_line_the_peer_asks_again() -> None:
    """It is told about the files that it may wait for, and that it listens for, once."""
    place = Place()
    place.away.ask(ONE, "f1", Have(file="mine", watch=True))
    place.away.ask(ONE, "f2", Get(file="f2", offset=0, length=1))
    place.away.ask(ONE, "f3", Taken(file="f3"))
    place.away.ask(ONE, "f4", Put(file="f4", offset=0))
    place.away.ask(ONE, "f5", Listen(file="f5", port=1))
    place.away.ask(ONE, "f6", Listen(file="f6", port=1))
    place.away.ask(ONE, "f6", Listen(file="f6", port=0))
    place.away.ask(OTHER, "f7", Have(file="f7"))
    place.opened[0][1].end()
    assert place.reader.told == [More("f1"), More("f2"), More("f3"), Wanted("f5")]
    assert len(place.lines) == 1
    place.away.ask(ONE, "f1", Have(file="f1"))
    assert [server.number for server, _ in place.opened] == [1, 2, 1]


def test_the_lines_to_a_server_that_is_gone_end() -> None:
    place = Place()
    place.away.ask(ONE, "f1", Have(file="f1"))
    place.away.ask(OTHER, "f2", Have(file="f2"))
    place.lines.end(1)
    assert [line.alive for _, line in place.opened] == [False, True]
    assert place.reader.told == [More("f1")]
    assert len(place.lines) == 1


def test_a_request_without_an_answer_is_refused() -> None:
    place = Place()
    place.away.ask(ONE, "f1", Have(file="f1"))
    place.opened[0][1].answer = None
    with pytest.raises(Refused, match="are at the server lab-a, which does not answer \\(gone\\)") as refused:
        place.away.ask(ONE, "f1", Have(file="f1"))
    assert refused.value.code == "file-away"
    assert place.away.known("f1", 0) is None
    assert len(place.lines) == 0


def test_a_server_that_cannot_be_reached_is_named() -> None:
    place = Place()
    with pytest.raises(Refused, match="lab-c, which does not answer \\(nobody listens\\)"):
        place.away.ask(ServerRow(3, "lab-c"), "f1", Have(file="f1"))
    assert len(place.lines) == 0


def test_the_lines_of_all_connections_are_bounded() -> None:
    place = Place(most=2)
    place.away.ask(ONE, "f1", Have(file="f1"))
    further = [place.connection() for _ in range(2)]
    further[0].ask(ONE, "f1", Have(file="f1"))
    with pytest.raises(Refused) as refused:
        further[1].ask(ONE, "f1", Have(file="f1"))
    assert refused.value.code == "busy"
    place.away.close()
    further[1].ask(ONE, "f1", Have(file="f1"))
    place.lines.close()
    assert len(place.lines) == 0


def test_few_files_of_one_connection_are_remembered() -> None:
    place = Place()
    for n in range(40):
        place.away.ask(ONE, f"f{n}", Have(file=f"f{n}"))
        place.away.ask(ONE, f"f{n}", Listen(file=f"f{n}", port=1))
        place.away.ask(ONE, "f0", Have(file="f0"))
    assert [place.away.known(f"f{n}", 0) is not None for n in range(40)].count(True) == 16
    place.opened[0][1].end()
    assert len(place.reader.told) == 32
    assert More("f0") in place.reader.told
    assert Wanted("f39") in place.reader.told


def test_answers_come_back_as_they_are() -> None:
    place = Place()
    place.away.ask(ONE, "f1", Have(file="f1"))
    for answer in (Kept(file="f1", offset=0, length=1), Ranges(file="f1", name="x", size=1, sender="bob")):
        place.opened[0][1].answer = answer
        assert place.away.ask(ONE, "f1", Have(file="f1")) is answer
