"""The client on a real terminal: tmux types, and the test looks at the screen."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from server import Server
from tests.support.clients import Json
from tests.support.files import fill, offer
from tests.support.processes import Process
from tests.support.processes.screens import Screen
from wire.frames import Entry, Join, Msg, Register, Say

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


def test_the_input_line_stays_whole_while_messages_arrive(
    server: Server, start_screen: Callable[..., Screen], connect: Callable[..., Json]
) -> None:
    screen = start_screen(server.address)
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


def test_what_may_be_mistyped_is_asked_about(server: Server, start_screen: Callable[..., Screen]) -> None:
    screen = start_screen(server.address, "--name", "alice")
    screen.expect_last(">")
    screen.type("/join lab", "Enter")
    screen.expect_last("[lab]")
    screen.type("help", "Enter")
    screen.expect("* Type /help for the commands, or send help again to say it.")
    screen.type("/topic name of the day", "Enter")
    screen.until(lambda lines: any(line.endswith("type the line again.") for line in lines))
    screen.type("", "Up", "Enter")  # from the history
    screen.expect("* The topic of lab: name of the day")
    screen.type("/send nobody /etc/hostname", "Enter")
    screen.until(lambda lines: any(line.startswith("* No user called nobody has ever") for line in lines))
    screen.type("/quti", "Enter")
    lines = screen.expect("! Unknown command /quti. Did you mean /quit?")
    assert not any("alice: " in line for line in lines)


def test_a_talk_is_shown_before_the_input_line(
    server: Server, start_screen: Callable[..., Screen], connect: Callable[..., Json]
) -> None:
    bob = connect(server.address, "bob")
    screen = start_screen(server.address, "--name", "alice")
    screen.expect_last(">")
    screen.type("/join lab", "Enter")
    screen.expect_last("[lab]")
    screen.type("/me waves", "Enter")
    screen.expect("[lab] * alice waves")
    screen.type("/query BOB", "Enter")
    screen.expect_last("[@bob]")
    screen.type("psst", "Enter")
    screen.expect("alice -> bob: psst")
    bob.expect(Entry, lambda entry: (entry.text, entry.to) == ("psst", "bob"))
    screen.type("/leave", "Enter")
    screen.expect("* What you type goes to lab.")
    screen.expect_last("[lab]")


def test_help_breaks_no_word(server: Server, start_screen: Callable[..., Screen]) -> None:
    """The screen has 100 columns."""
    screen = start_screen(server.address, "--name", "alice")
    screen.expect_last(">")
    screen.type("/help", "Enter")
    lines = screen.expect("//<text>                                  say a text that begins with a slash")
    at = next(n for n, line in enumerate(lines) if line.startswith("/join"))
    assert lines[at].endswith(" a new name")
    assert lines[at + 1] == " " * 42 + "makes a channel"


def test_the_screen_reconnects_and_displays_everything_once(
    process: Process, start_screen: Callable[..., Screen]
) -> None:
    screen = start_screen(process.address, "--name", "alice")
    screen.expect_last(">")
    screen.type("/join lab", "Enter")
    screen.expect_last("[lab]")
    process.kill()
    screen.expect(f"* Lost the connection to {process.address} (the server closed the connection). Reconnecting.")
    screen.type("one", "Enter")
    screen.type("two", "Enter")
    screen.type("half a li")
    screen.expect("~ unsent: two")
    screen.until(lambda lines: lines[-1].startswith("[lab] half a li") and lines[-1].endswith("reconnecting, 2 unsent"))
    process.start()
    screen.expect("[lab] alice: two")
    lines = screen.expect_last("[lab] half a li")
    assert [line for line in lines if "alice: " in line] == ["[lab] alice: one", "[lab] alice: two"]
    assert sum("Reconnecting" in line for line in lines) == 1
    assert sum("Reconnected to" in line for line in lines) == 1


def test_leaving_offline_warns_of_unsent_messages(process: Process, start_screen: Callable[..., Screen]) -> None:
    process.kill()
    screen = start_screen(process.address, "--name", "alice")
    screen.expect(f"* Could not connect to {process.address} (Connection refused). Retrying.")
    screen.type("lab: hello", "Enter")
    screen.expect("~ unsent: lab: hello")
    screen.type("exit", "Enter")
    screen.expect("* 1 message is not sent yet. Exit again to discard it.")
    screen.type("", "C-d")
    screen.expect("* Not sent: lab: hello")
    screen.expect("ended 0")


def test_tab_completes(server: Server, start_screen: Callable[..., Screen], connect: Callable[..., Json]) -> None:
    connect(server.address, "bob").request(Join("workshop"))
    screen = start_screen(server.address, "--name", "alice")
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
    server: Server, start_screen: Callable[..., Screen], connect: Callable[..., Json]
) -> None:
    with Json(server.address, "carol") as carol:
        carol.request(Register("open-sesame"))
    screen = start_screen(server.address, "--name", "carol")
    screen.expect_last("Password for carol:")
    screen.type("guessed", "Enter")
    screen.expect("! The password is wrong. Try again.")
    screen.expect_last("Password for carol:")
    screen.type("open-sesame")
    screen.type("", "Enter")
    screen.expect_last(">")
    screen.type("/register open-open-sesame", "Enter")
    screen.expect("* The name carol is now registered. Log in with this password.")
    screen.type("", "Up")
    screen.type("x")
    lines = screen.expect_last("> x")
    assert not any("open-sesame" in line or "guessed" in line for line in lines)


@pytest.mark.parametrize("typed", ["/register sesame", " /register sesame", "/Register sesame", "/regster sesame"])
def test_a_new_password_is_not_shown_however_the_command_is_written(
    server: Server, start_screen: Callable[..., Screen], typed: str
) -> None:
    """Neither by the arrow keys, nor by what the client or the server answers."""
    screen = start_screen(server.address, "--name", "carol")
    screen.expect_last(">")
    screen.type("before", "Enter")
    screen.expect("* Not sent: before")
    screen.type(typed, "Enter")
    lines = screen.expect(
        "! Unknown command. Did you mean /register?" if "regster" in typed else "! A password has 8 to 128 characters."
    )
    screen.type("", "Up")
    lines += screen.expect_last("> before")
    assert not any("sesame" in line for line in lines)


def test_a_new_password_is_masked_while_it_is_typed(server: Server, start_screen: Callable[..., Screen]) -> None:
    screen = start_screen(server.address, "--name", "carol")
    screen.expect_last(">")
    screen.type(" /Register open sesame")
    screen.expect_last(">  /Register **** ******")
    screen.type("", "C-u")
    screen.type("/join sesame")
    screen.expect_last("> /join sesame")


@pytest.mark.parametrize("how", ["exit", "C-c", "C-d"])
def test_leaving_frees_the_name(
    server: Server, start_screen: Callable[..., Screen], connect: Callable[..., Json], how: str
) -> None:
    screen = start_screen(server.address, "--name", "alice")
    screen.expect_last(">")
    if how == "exit":
        screen.type("exit", "Enter")
    else:
        screen.type("", how)
    lines = screen.expect("ended 0")
    assert not [line for line in lines if line.startswith(("!", "Traceback"))]
    connect(server.address, "alice")  # the name is free


def test_messages_cannot_control_the_terminal(
    server: Server, start_screen: Callable[..., Screen], connect: Callable[..., Json]
) -> None:
    screen = start_screen(server.address, "--name", "alice")
    screen.expect_last(">")
    bob = connect(server.address, "bob")
    bob.request(Msg("alice", "\x1b[2J\x1b]0;title\x07up\x1b[A\rover\n[lab] root: fake"))
    lines = screen.expect_last(">")
    lines = screen.expect("    [lab] root: fake")
    assert "bob -> alice: [2J]0;titleup[Aover" in lines


def test_displayed_messages_are_acknowledged(
    server: Server, start_screen: Callable[..., Screen], connect: Callable[..., Json]
) -> None:
    bob = connect(server.address, "bob")
    screen = start_screen(server.address, "--name", "alice")
    screen.expect_last(">")
    bob.request(Msg("alice", "are you there?"))
    screen.expect("bob -> alice: are you there?")
    screen.type("", "C-d")
    screen.expect("ended 0")
    again = connect(server.address, "alice")
    again.request(Join("lab"))
    assert again.of(Entry) == []


def test_a_transfer_is_a_line_above_the_input_and_a_partial_file_a_question(
    server: Server, start_screen: Callable[..., Screen], connect: Callable[..., Json], tmp_path: Path
) -> None:
    alice, folder = connect(server.address, "alice"), tmp_path / "in"
    screen = start_screen(server.address, "--name", "bob", "--downloads", str(folder))
    screen.expect_last(">")
    file = offer(alice)
    screen.expect(f"alice -> bob: offers x.bin (307 kB): /get {file} in client.py")
    screen.type(f"/get {file}", "Enter")
    screen.expect("get x.bin: 0 %, waiting for the sender")
    screen.type("still typing")
    screen.expect_last("> still typing")
    fill(alice, file)
    screen.until(lambda lines: any("* Received x.bin (307 kB):" in line for line in lines))
    screen.expect_last("> still typing")
    screen.type("", "C-u")
    (folder / f"x.bin.{file}.part").write_bytes(b"wrong")
    screen.type(f"/get {file}", "Enter")
    screen.expect_last("Resume x.bin (0 %)? [Y/n]")
    screen.type("n", "Enter")
    screen.expect_last(">")
    screen.until(lambda lines: sum("Received " in line for line in lines) == 2)
    assert sorted(path.name for path in folder.iterdir()) == ["x (1).bin", "x.bin"]
