"""The client on a real terminal: tmux types, and the test looks at the screen."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from server import Server
from tests.helpers import DEADLINE, ROOT, Json, Process
from wire.frames import Entry, Join, Msg, Register, Say

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Screen:
    """A client in a tmux pane; `ended N` stands there once it has ended with code N."""

    def __init__(self, tmux: Tmux, name: str, *arguments: str) -> None:
        self._tmux = tmux
        self._name = name
        client = shlex.join([sys.executable, str(ROOT / "client.py"), *arguments])
        tmux("new-session", "-d", "-s", name, "-x", "100", "-y", "24", f"{client}; echo ended $?; cat")

    def type(self, text: str, *keys: str) -> None:
        """Type text, then keys by their tmux names."""
        if text:
            self._tmux("send-keys", "-t", self._name, "-l", text)
        if keys:
            self._tmux("send-keys", "-t", self._name, *keys)

    def lines(self) -> list[str]:
        """What was shown so far, scrolled by or not, without empty lines."""
        text = self._tmux("capture-pane", "-p", "-J", "-S", "-", "-t", self._name)
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    def until(self, met: Callable[[list[str]], bool]) -> list[str]:
        """Look until the screen is so. (tmux has no event for that: this is the one place that looks again.)"""
        end = time.monotonic() + DEADLINE
        while not met(lines := self.lines()):
            assert time.monotonic() < end, "the screen stays like this:\n" + "\n".join(lines)
            threading.Event().wait(0.02)
        return lines

    def expect(self, line: str) -> list[str]:
        """Wait for a whole line."""
        return self.until(lambda lines: line in lines)

    def expect_last(self, line: str) -> list[str]:
        """Wait for the input line, which is the last one, to be that."""
        return self.until(lambda lines: lines[-1:] == [line])


class Tmux:
    """A tmux server of our own."""

    def __init__(self) -> None:
        self._socket = f"partyline-test-{os.getpid()}"
        self._environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("PARTYLINE", "TMUX"))
        }
        self.screens = 0

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, "-f", os.devnull, *arguments],
            env={**self._environment, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
            capture_output=True, text=True, timeout=DEADLINE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def start() -> Iterator[Callable[..., Screen]]:
    """Start clients on screens of their own."""
    tmux = Tmux()

    def start(*arguments: str) -> Screen:
        tmux.screens += 1
        return Screen(tmux, f"screen{tmux.screens}", *arguments)

    yield start
    if tmux.screens:
        tmux("kill-server")


def test_what_is_being_typed_stays_whole_while_messages_arrive(
    server: Server, start: Callable[..., Screen], connect: Callable[..., Json]
) -> None:
    screen = start(server.address)
    screen.expect_last("Your name:")
    screen.type("alice", "Enter")
    screen.expect_last(">")
    screen.type("/join lab", "Enter")
    screen.expect_last("[lab]")
    bob = connect(server.address, "bob")
    bob.request(Join("lab"))
    screen.type("a line that is ")
    screen.expect_last("[lab] a line that is")
    for number in range(200):
        bob.send(Say(f"message {number}", "lab"))
        if number % 20 == 0:
            screen.type("typed ")
    lines = screen.expect("[lab] bob: message 199")
    lines = screen.expect_last("[lab] a line that is" + " typed" * 10)
    heard = [line for line in lines if "bob: " in line]
    assert heard == [f"[lab] bob: message {number}" for number in range(200)]
    assert sum("typed" in line for line in lines) == 1
    screen.type("", "Enter")
    screen.expect("[lab] alice: a line that is" + " typed" * 10)
    screen.expect_last("[lab]")


def test_it_comes_back_by_itself_and_everything_is_there_once(process: Process, start: Callable[..., Screen]) -> None:
    screen = start(process.address, "--name", "alice")
    screen.expect_last(">")
    screen.type("/join lab", "Enter")
    screen.expect_last("[lab]")
    process.kill()
    screen.expect(f"* The line to {process.address} is lost (the server has hung up); trying again.")
    screen.type("one", "Enter")
    screen.type("two", "Enter")
    screen.type("half a li")
    screen.expect("~ waiting: two")
    screen.until(lambda lines: lines[-1].startswith("[lab] half a li") and lines[-1].endswith("no line, 2 waiting"))
    process.start()
    screen.expect("[lab] alice: two")
    lines = screen.expect_last("[lab] half a li")
    assert [line for line in lines if "alice: " in line] == ["[lab] alice: one", "[lab] alice: two"]
    assert sum("trying again" in line for line in lines) == 1
    assert sum("Back at" in line for line in lines) == 1


def test_leaving_without_a_line_warns_of_what_is_not_sent(process: Process, start: Callable[..., Screen]) -> None:
    process.kill()
    screen = start(process.address, "--name", "alice")
    screen.expect(f"* {process.address} cannot be reached (Connection refused); trying again.")
    screen.type("lab: hello", "Enter")
    screen.expect("~ waiting: lab: hello")
    screen.type("exit", "Enter")
    screen.expect("* 1 message is not sent yet; leave once more to leave without.")
    screen.type("", "C-d")
    screen.expect("* Not sent: lab: hello")
    screen.expect("ended 0")


def test_tab_completes(server: Server, start: Callable[..., Screen], connect: Callable[..., Json]) -> None:
    connect(server.address, "bob").request(Join("workshop"))
    screen = start(server.address, "--name", "alice")
    screen.expect_last(">")
    screen.type("/jo", "Tab")
    screen.expect_last("> /join")
    screen.type("w", "Tab")
    screen.expect_last("> /join workshop")
    screen.type("", "Enter")
    screen.expect_last("[workshop]")
    screen.type("/msg b", "Tab")
    screen.expect_last("[workshop] /msg bob")
    screen.type("hi", "Enter")
    screen.expect("alice -> bob: hi")


def test_a_password_is_asked_for_and_never_shown(
    server: Server, start: Callable[..., Screen], connect: Callable[..., Json]
) -> None:
    with Json(server.address, "carol") as carol:
        carol.request(Register("sesame"))
    screen = start(server.address, "--name", "carol")
    screen.expect_last("Password of carol:")
    screen.type("wrong", "Enter")
    screen.expect("! That is not the password; try again.")
    screen.type("sesame")
    screen.type("", "Enter")
    screen.expect_last(">")
    screen.type("/register open-sesame", "Enter")
    screen.expect("* carol is yours: from now on it takes the password.")
    screen.type("", "Up")
    screen.type("x")
    lines = screen.expect_last("> x")
    assert not any("sesame" in line or "wrong" in line for line in lines)


@pytest.mark.parametrize("how", ["exit", "C-c", "C-d"])
def test_leaving_says_goodbye_and_leaves_nothing_behind(
    server: Server, start: Callable[..., Screen], connect: Callable[..., Json], how: str
) -> None:
    screen = start(server.address, "--name", "alice")
    screen.expect_last(">")
    if how == "exit":
        screen.type("exit", "Enter")
    else:
        screen.type("", how)
    lines = screen.expect("ended 0")
    assert not [line for line in lines if line.startswith(("!", "Traceback"))]
    connect(server.address, "alice")  # the name is free


def test_nothing_that_others_say_acts_on_the_terminal(
    server: Server, start: Callable[..., Screen], connect: Callable[..., Json]
) -> None:
    screen = start(server.address, "--name", "alice")
    screen.expect_last(">")
    bob = connect(server.address, "bob")
    bob.request(Msg("alice", "\x1b[2J\x1b]0;title\x07up\x1b[A\rover\n[lab] root: fake"))
    lines = screen.expect_last(">")
    lines = screen.expect("    [lab] root: fake")
    assert "bob -> alice: [2J]0;titleup[Aover" in lines


def test_what_is_seen_is_acknowledged(
    server: Server, start: Callable[..., Screen], connect: Callable[..., Json]
) -> None:
    bob = connect(server.address, "bob")
    screen = start(server.address, "--name", "alice")
    screen.expect_last(">")
    bob.request(Msg("alice", "are you there?"))
    screen.expect("bob -> alice: are you there?")
    screen.type("", "C-d")
    screen.expect("ended 0")
    again = connect(server.address, "alice")
    again.request(Join("lab"))
    assert again.of(Entry) == []
