"""The client over MQTT in tmux, against a real server: lost connections, and a password."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from server import Server
from tests.support.clients import Json
from tests.support.processes import Process
from tests.support.processes.clients import url
from tests.support.processes.screens import Screen
from wire.frames import Entry, Join, Register, Say


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_the_screen_reconnects_and_displays_everything_once(
    process: Process, start_screen: Callable[..., Screen], connect: Callable[..., Json]
) -> None:
    where = url(process.address)
    screen = start_screen(url(process.address, "alice"))
    screen.expect_last(">")
    screen.type("/join lab", "Enter")
    screen.expect_last("[lab]")
    with Json(process.address, "bob") as bob:
        bob.request(Join("lab"))
        screen.type("half a li")
        for number in range(50):
            bob.send(Say(f"message {number}", "lab"))
        lines = screen.expect("[lab] bob: message 49")
        heard = [line for line in lines if "bob: " in line]
        assert heard == [f"[lab] bob: message {number}" for number in range(50)]
        screen.expect_last("[lab] half a li")
        screen.type("ne", "Enter")
        screen.expect("[lab] alice: half a line")
        assert bob.expect(Entry, lambda entry: entry.sender == "alice").text == "half a line"
    process.kill()
    screen.expect(f"* Lost the connection to {where} (the server closed the connection). Reconnecting.")
    screen.type("one", "Enter")
    screen.type("two", "Enter")
    screen.type("half a li")
    screen.until(lambda lines: lines[-1].startswith("[lab] half a li") and lines[-1].endswith("reconnecting, 2 unsent"))
    process.start()
    screen.expect("[lab] alice: two")
    lines = screen.expect_last("[lab] half a li")
    assert [line for line in lines if "alice: " in line][1:] == ["[lab] alice: one", "[lab] alice: two"]
    assert sum("Reconnecting" in line for line in lines) == 1
    assert sum("Reconnected to" in line for line in lines) == 1


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_the_screen_asks_for_a_password_without_a_lost_connection(
    server: Server, start_screen: Callable[..., Screen]
) -> None:
    with Json(server.address, "carol") as carol:
        carol.request(Register("open-sesame"))
    screen = start_screen(url(server.address))
    screen.expect_last("Your name:")
    screen.type("carol", "Enter")
    screen.expect_last("Password for carol:")
    screen.type("guessed", "Enter")
    screen.expect("! The password is wrong. Try again.")
    screen.expect_last("Password for carol:")
    screen.type("open-sesame")
    screen.type("", "Enter")
    screen.expect_last(">")
    screen.type("exit", "Enter")
    lines = screen.expect("ended 0")
    assert not any("open-sesame" in line or "guessed" in line or "Reconnecting" in line for line in lines)
