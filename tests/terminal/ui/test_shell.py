"""The client's parts around the state: options, colours, completion, and the JSON link."""

from __future__ import annotations

import io
import queue
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from client import main
from doors.line_speaker import GREETING
from terminal.links import json as link_module
from terminal.links.address import parse_address
from terminal.links.json import JsonLink
from terminal.links.link import Connected, Disconnected, Event, Received, pause
from terminal.state.cursors import Cursors
from terminal.state.outbox import Outbox
from terminal.state.rooms import Rooms
from terminal.state.step import DisplayItem, Note, ShownFrame
from terminal.ui.paint import PALETTE, paint
from terminal.ui.screen.complete import WordCompleter
from terminal.ui.script.output import Output
from tests.support.waiting import DEADLINE
from wire.errors import LocalError
from wire.frames import (
    Closing,
    Entry,
    Error,
    Frame,
    HelpText,
    Join,
    Joined,
    Malformed,
    Ok,
    Page,
    Presence,
    Say,
    UserInfo,
    Welcome,
)
from wire.jsonlines import JsonLines

# Options


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", ("127.0.0.1", 7000)),
        ("chat.lan", ("chat.lan", 7000)),
        ("chat.lan:8000", ("chat.lan", 8000)),
        (":8000", ("127.0.0.1", 8000)),
        ("[::1]:8000", ("::1", 8000)),
        ("[::1]", ("::1", 7000)),
        ("fe80::1", ("fe80::1", 7000)),
    ],
)
def test_an_address_is_a_host_a_port_or_both(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["h:0", "h:65536", "h:http", "h:-1", "[::1", "[::1]7000", "[::1]:x", "h:٣"])
def test_a_bad_address_is_one_sentence(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LocalError):
        parse_address(text)
    assert main([text, "--name", "alice"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_bad_name_and_a_password_file_that_is_not_there_are_one_sentence_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--name", "a b"]) == 2
    assert main(["--name", "alice", "--password-file", "/nowhere"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "A name is" in first
    assert second == "client.py: Cannot read the password file /nowhere: No such file or directory."


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 0
    assert "partyline" in capsys.readouterr().out.lower()


# Colours

EVIL = "\x1b[2J\x07\u202e\x9bx"
SOME: list[DisplayItem] = [
    Note(EVIL),
    Note(EVIL, "unsent"),
    *map(
        ShownFrame,
        [
            Entry(1, 0, EVIL, EVIL, "lab"),
            Entry(1, 0, EVIL, f"a\r\n[lab] root: {EVIL}", "lab"),
            Entry(1, 0, EVIL, EVIL, to="alice"),
            Page(entries=[Entry(1, 0, EVIL, EVIL, EVIL)], tail=1, channel=EVIL),
            Page(entries=[], tail=0, channel=EVIL),
            Error(code="internal", error=EVIL),
            Closing(reason=EVIL),
            HelpText(lines=[EVIL]),
            Presence(EVIL, EVIL, EVIL),
            UserInfo(name=EVIL, online=True, doors=[EVIL], address=EVIL),
            Welcome(name=EVIL, server=EVIL, token=EVIL),
            Joined(channel=EVIL, tail=1, topic=EVIL),
        ],
    ),
]


@pytest.mark.parametrize("item", SOME)
def test_displayed_items_cannot_control_the_terminal(item: DisplayItem) -> None:
    for line in paint(item):
        for colour, text in line:
            assert colour in PALETTE
            assert not set(text) & set("\x1b\x07\u202e\x9b\r")


def test_a_message_of_several_lines_cannot_imitate_another_message() -> None:
    (line,) = paint(ShownFrame(Entry(1, 0, "bob", "a\n[lab] root: b", "lab")))
    assert "".join(text for _, text in line) == "[lab] bob: a\n    [lab] root: b"


def test_own_private_and_past_entries_look_different() -> None:
    def look(**how: bool) -> list[tuple[str, str]]:
        return paint(ShownFrame(Entry(1, 0, "bob", "a: b", "lab"), **how))[0]

    assert [text for _, text in look()] == ["[lab] bob: ", "a: b"]
    assert look(mine=True) == [("mine", "[lab] bob: a: b")]
    assert look(past=True)[0][1].endswith(":00 [lab] bob: ")
    assert paint(ShownFrame(Entry(1, 0, "bob", "x", to="alice")))[0][0] == ("direct", "bob -> alice: ")


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_output_is_coloured_on_a_terminal_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, plain, unwanted = Terminal(), io.StringIO(), Terminal()
    line = [("error", "! no"), ("", ".")]
    Output(terminal).lines([line])
    Output(plain).lines([line])
    monkeypatch.setenv("NO_COLOR", "1")
    Output(unwanted).lines([line])
    assert terminal.getvalue() == "\x1b[31m! no\x1b[0m.\n"
    assert plain.getvalue() == unwanted.getvalue() == "! no.\n"


def test_json_on_a_terminal_is_escaped() -> None:
    terminal = Terminal()
    Output(terminal).frames([Entry(1, 0, "bob", "\x7f\x9b\u202eü", "lab")])
    assert terminal.getvalue().isascii()
    assert "\x7f" not in terminal.getvalue()


# Completion


@pytest.fixture
def completer() -> WordCompleter:
    rooms = Rooms(Cursors(), Outbox())
    rooms.names.channels.update(lab="lab", ops="Ops")
    rooms.names.users.update(bob="bob", lara="Lara")
    rooms._cursors.open("lab", None)
    return WordCompleter(rooms)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("/wh", ["/who ", "/whois "]),
        ("/ch", ["/channels"]),
        ("/join ", ["Ops ", "lab "]),
        ("/join o", ["Ops "]),
        ("/join lab ", []),
        ("/msg L", ["Lara "]),
        ("/msg bob la", []),
        ("/history @", ["@Lara ", "@bob "]),
        ("/help /j", ["/join"]),
        ("la", ["lab: ", "Lara"]),
        ("hello b", ["bob"]),
        ("/nothing ", ["Lara", "bob"]),
    ],
)
def test_tab_completes_commands_channels_and_names(completer: WordCompleter, typed: str, completed: list[str]) -> None:
    found = completer.get_completions(Document(typed), CompleteEvent())
    assert [completion.text for completion in found] == completed


# The JSON link


class Peer:
    """A listening socket, and a JsonLink that connects to it."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.events: queue.Queue[Event] = queue.Queue()
        self.link = JsonLink("127.0.0.1", self.listener.getsockname()[1], self.events.put)

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(DEADLINE)
        return connection

    def expect(self, kind: type[Event]) -> Event:
        event = self.events.get(timeout=DEADLINE)
        assert isinstance(event, kind), event
        return event


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.link.stop()
    peer.listener.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "partyline-link"]


def test_the_link_reconnects_and_sends_nothing_old(peer: Peer) -> None:
    peer.link.start()
    first = peer.accept()
    peer.expect(Connected)
    peer.link.send([Say("one", "lab")])
    assert first.recv(100) == b'{"op":"say","text":"one","channel":"lab"}\n'
    first.sendall(JsonLines.encode(Join("lab"))[:5])
    first.close()
    peer.expect(Disconnected)
    peer.link.send([Say("lost", "lab")])
    with peer.accept() as second:
        peer.expect(Connected)
        peer.link.send([Say("two", "lab")])
        assert second.recv(100) == b'{"op":"say","text":"two","channel":"lab"}\n'
        second.sendall(b'{"op":"ok"}\n{"op":"o')
        received = peer.expect(Received)
        assert isinstance(received, Received)
        assert len(received.frames) == 1


def test_the_link_skips_the_greeting_for_people(peer: Peer) -> None:
    """The server sends it to a connection that is silent at first. Later, the same line is no frame."""
    peer.link.start()
    with peer.accept() as server:
        peer.expect(Connected)
        server.sendall(GREETING + b'{"op":"ok"}\n')
        received = peer.expect(Received)
        assert isinstance(received, Received)
        assert received.frames == [Ok()]
        server.sendall(GREETING)
        received = peer.expect(Received)
        assert isinstance(received, Received)
        assert [type(frame) for frame in received.frames] == [Malformed]


def test_the_link_delivers_the_reason_of_a_failed_attempt() -> None:
    peer = Peer()
    peer.listener.close()
    peer.link.start()
    event = peer.expect(Disconnected)
    assert isinstance(event, Disconnected)
    assert event.reason == "Connection refused"
    peer.link.stop()


def test_send_does_not_block_while_the_server_does_not_read(peer: Peer) -> None:
    peer.link.start()
    with peer.accept() as connection:
        peer.expect(Connected)
        frames: list[Frame] = [Say("x" * 16_000, "lab")] * 1_000
        peer.link.send(frames)
        peer.link.send(frames)
        size, wanted = 0, 2 * sum(len(JsonLines.encode(frame)) for frame in frames)
        while size < wanted:
            size += len(connection.recv(1 << 20))
        assert size == wanted


def test_a_dropped_connection_is_opened_again(peer: Peer) -> None:
    peer.link.start()
    with peer.accept():
        peer.expect(Connected)
        peer.link.drop()
        peer.expect(Disconnected)
        with peer.accept():
            peer.expect(Connected)


def test_a_silent_server_is_pinged_and_then_given_up(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_SILENCE", 0.02)
    peer.link.start()
    with peer.accept() as connection:
        peer.expect(Connected)
        assert connection.recv(100) == b'{"op":"ping"}\n'
        assert peer.expect(Disconnected) == Disconnected("the server does not respond")


def test_pauses_grow_up_to_a_limit_and_are_random() -> None:
    def at(chance: float) -> Callable[[], float]:
        return lambda: chance

    longest = [pause(attempt, at(1.0)) for attempt in range(12)]
    assert longest == sorted(longest)
    assert longest[0] == 0.25
    assert longest[-1] == 15.0
    assert pause(3, at(0.0)) == pause(3, at(1.0)) / 2
    assert pause(10_000) <= 15.0
