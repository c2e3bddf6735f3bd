"""The client's state without a socket: what typed lines do, and the credentials of its `hello`."""

from __future__ import annotations

import pytest

from terminal.state.credentials import Credentials
from terminal.state.state import State
from terminal.state.step import Note, ShownFrame
from tests.support.terminal import ME, sent, wire
from wire.frames import (
    Cancel,
    Error,
    Frame,
    GetFile,
    Hello,
    HelpText,
    History,
    Join,
    Leave,
    Left,
    Registered,
    Say,
    Topic,
    TopicIs,
    Welcome,
    Who,
)


def test_the_current_channel_is_the_one_joined_last_and_is_named_in_every_request() -> None:
    line = wire("lab", "ops")
    line.type("/join lab", "/join ops", "hello", "/topic", "/history", "/who", "/leave", "in the other")
    line.settle()
    assert sent(line, Say) == [frame for frame in sent(line, Say) if isinstance(frame, Say) and frame.id]
    assert [frame.channel for frame in sent(line, Say) if isinstance(frame, Say)] == ["ops", "lab"]
    assert [frame.channel for frame in line.server.asked if isinstance(frame, Topic | History | Who | Leave)] == [
        "ops", "ops", "", "ops",
    ]  # fmt: skip


@pytest.mark.parametrize("typed", ["hello", "/leave", "/topic", "/history"])
def test_a_line_that_needs_a_channel_is_refused_without_one(typed: str) -> None:
    line = wire()
    line.type(typed)
    assert line.sentences()[0] == "You are in no channel. /join lobby joins one."
    assert line.state.settled


def test_a_channel_that_is_not_joined_is_refused_and_any_other_colon_is_text() -> None:
    line = wire("lab", "ops", join="lab")
    line.type("ops: over there", "12:30 lunch", "LAB: shouted", "see: there", "#lab: with a hash", "#osp: hello")
    line.settle()
    assert line.sentences() == [
        "You are not in ops: /join ops first.",
        "Not sent: ops: over there",
        "The channel osp does not exist. /join osp creates it.",
        "Not sent: #osp: hello",
    ]
    assert [entry.text for entry in line.entries("lab")] == ["12:30 lunch", "shouted", "see: there", "with a hash"]


def test_a_channel_created_later_is_recognised() -> None:
    line = wire("lab", join="lab")
    line.type("news: is text")
    line.settle()
    line.server.post("news", "bob", "there is a channel now")
    line.type("news: is for the channel")
    line.settle()
    assert [entry.text for entry in line.entries("lab")] == ["news: is text"]
    assert line.sentences()[0] == "You are not in news: /join news first."


def test_the_topic_of_the_current_channel_or_of_one_that_is_named() -> None:
    line = wire("lab", "ops", "attic", join="lab")
    line.type("/join ops", "/topic LAB Tea time", "/topic attic is cold", "/topic -", "/topic lab", "/topic #attic")
    line.type("/topic", "/topic Tea time")
    line.settle()
    assert [(frame.channel, frame.text) for frame in line.server.asked if isinstance(frame, Topic)] == [
        ("LAB", "Tea time"), ("attic", "is cold"), ("ops", ""), ("lab", None), ("attic", None), ("ops", None),
        ("Tea", "time"),
    ]  # fmt: skip
    answers = [item for item in line.shown if isinstance(item, TopicIs | Error)]
    assert len(answers) == 7
    refused = answers[-1]
    assert isinstance(refused, Error)
    assert (
        refused.error
        == "The channel Tea does not exist. /join Tea creates it. To set the topic of ops: /topic ops Tea time"
    )


def test_mistakes_are_refused_by_the_client_and_the_text_is_displayed() -> None:
    line = wire("lab", join="lab")
    line.type("/jion lab", "/msg bob", "x" * 20_000)
    refused = [item for item in line.shown if isinstance(item, Error)]
    assert [error.code for error in refused] == ["unknown-command", "bad-command", "too-long"]
    assert line.sentences()[-1].startswith("Not sent: xxx")
    assert line.state.settled


def test_a_refused_join_restores_the_current_channel() -> None:
    line = wire("lab", join="lab")
    line.type("/join other")
    assert line.state.rooms.current == "other"
    join = line.up.popleft()
    assert isinstance(join, Join)
    line.state.receive([Error(code="too-many-channels", error="No.", ref=join.ref)])
    assert line.state.rooms.current == "lab"


def test_a_refused_join_of_a_joined_channel_changes_nothing() -> None:
    line = wire("lab", join="lab")
    line.type("/join lab")
    join = line.up.popleft()
    assert isinstance(join, Join)
    line.state.receive([Error(code="of-a-newer-server", error="Wait.", ref=join.ref)])
    line.turn()
    assert line.state.rooms.current == "lab"
    assert line.sentences() == ["Wait."]


def test_a_channel_left_through_another_connection_is_not_current_any_more() -> None:
    line = wire("lab", "ops", join="ops")
    line.type("/join lab")
    line.settle()
    line.state.receive([Left(channel="lab")])
    assert line.state.rooms.joined() == {"ops": "ops"}
    assert line.state.rooms.current == "ops"


def test_a_channel_that_the_welcome_does_not_list_is_not_current_any_more() -> None:
    line = wire("lab", join="lab")
    line.cut()
    line.server.logs["lab"].member = False
    line.dial()
    line.settle()
    assert line.state.rooms.current == ""


def test_a_join_and_a_leave_that_were_lost_are_both_sent_again() -> None:
    line = wire("lab")
    line.type("/join lab", "/leave lab")
    line.cut()
    line.dial()
    line.settle()
    assert [type(frame) for frame in line.server.asked if isinstance(frame, Join | Leave)] == [Join, Leave]
    assert not line.server.logs["lab"].member


def test_a_file_command_waits_for_earlier_answers_and_runs_once() -> None:
    line = wire("lab", join="lab")
    line.type("hello", "/get k3x7abcd")
    assert line.files == []
    assert not line.state.settled
    line.settle()
    assert line.files == [GetFile(file="k3x7abcd")]
    line.turn()
    assert len(line.files) == 1
    assert line.state.settled


def test_file_commands_that_are_typed_offline_are_displayed_as_unsent() -> None:
    """A `/cancel` is displayed once it is known to concern the server, as it may end a download of this client."""
    line = wire("lab", join="lab")
    line.type("/get k3x7abcd")
    assert line.sentences() == []
    line.cut()
    line.shown.clear()
    line.type("/get k3x7abcd", "/send bob /etc/hostname", "/cancel k3x7abcd")
    assert line.sentences() == ["/get k3x7abcd", "/send bob /etc/hostname"]
    line.state.cancel(Cancel(file="k3x7abcd"))
    line.turn()
    assert line.sentences()[2:] == ["/cancel k3x7abcd"]
    line.dial()
    line.server_reads()
    line.client_reads()
    assert [type(frame) for frame in line.up] == [Cancel]


def test_a_refused_post_shows_what_was_not_sent() -> None:
    line = wire("lab", join="lab")
    line.server.logs["lab"].member = False
    line.type("hello")
    line.settle()
    assert line.sentences() == ["You are not in it.", "Not sent: hello"]
    assert line.state.rooms.current == ""


def test_help_needs_no_server_and_exit_is_noted() -> None:
    state = State(Credentials(ME, None))
    state.typed("/help who")
    (item,) = state.next_step().show
    assert isinstance(item, ShownFrame)
    assert isinstance(item.frame, HelpText)
    assert "/who" in item.frame.lines[0]
    state.typed("  EXIT ")
    assert state.leaving
    state.typed("   ")
    assert not state.unanswered


def test_control_characters_are_not_sent() -> None:
    line = wire("lab", join="lab")
    line.type("a\x1b[2Jb")
    line.settle()
    assert line.entries("lab")[0].text == "a[2Jb"


def login_errors(state: State, *codes: str) -> list[Frame]:
    """Refuse each `hello` with the next code. Return the frames that were sent."""
    said: list[Frame] = []
    state.connected()
    for code in codes:
        hello = state.next_step().send[-1]
        assert isinstance(hello, Hello)
        said.append(hello)
        state.receive([Error(code=code, error=f"No: {code}.", ref=hello.ref)])
    return said


def test_a_wrong_password_is_asked_for_again_and_not_repeated() -> None:
    state = State(Credentials("alice", "wrong"))
    login_errors(state, "wrong-password")
    assert state.credentials.question == "password"
    state.answer("right")
    hello = state.next_step().send[-1]
    assert isinstance(hello, Hello)
    assert (hello.name, hello.password) == ("alice", "right")
    assert state.credentials.question is None


def test_an_empty_password_asks_for_another_name() -> None:
    state = State(Credentials("alice", None))
    login_errors(state, "need-password")
    state.answer("")
    assert state.credentials.question == "name"
    state.answer("no good")
    assert state.credentials.question == "name"
    state.answer("bob")
    hello = state.next_step().send[-1]
    assert isinstance(hello, Hello)
    assert (hello.name, hello.password) == ("bob", None)


def test_a_question_survives_a_lost_connection_without_another_note() -> None:
    state = State(Credentials("alice", None))
    login_errors(state, "need-password")
    state.next_step()
    state.lost("login took too long")
    state.connected()
    login_errors(state, "need-password")
    assert [item for item in state.next_step().show if isinstance(item, Note)] == []
    assert state.credentials.question == "password"


def test_a_full_server_is_retried() -> None:
    state = State(Credentials("alice", None))
    login_errors(state, "server-full")
    step = state.next_step()
    assert step.drop
    assert state.credentials.question is None


def test_another_name_starts_without_token_and_cursors() -> None:
    line = wire("lab", join="lab")
    line.type("hello")
    line.settle()
    line.cut()
    login_errors(line.state, "name-taken")
    line.state.answer("alan")
    hello = line.state.next_step().send[-1]
    assert isinstance(hello, Hello)
    assert (hello.name, hello.token, hello.since) == ("alan", None, {})


def test_the_token_goes_back_to_the_server_and_nowhere_else() -> None:
    line = wire()
    line.cut()
    line.dial()
    hello = line.up[0]
    assert isinstance(hello, Hello)
    assert hello.token == "t"
    assert [frame.token for frame in line.shown if isinstance(frame, Welcome)] == [""]


def test_a_registered_name_sends_its_password_on_the_next_connection() -> None:
    line = wire()
    line.type("/register open-sesame")
    line.state.receive([Registered(name=ME, ref=line.up[0].ref)])  # type: ignore[attr-defined]
    line.turn()
    line.cut()
    line.dial()
    hello = line.up[0]
    assert isinstance(hello, Hello)
    assert hello.password == "open-sesame"


@pytest.mark.parametrize("typed", ["/register sesame", "  /register sesame", "/Register sesame", "/regster sesame"])
@pytest.mark.parametrize("welcomed", [True, False])
def test_a_password_that_waits_is_not_shown(typed: str, welcomed: bool) -> None:
    """Neither in the line that is not sent yet, nor in the list of those at the end."""
    if welcomed:
        line = wire()
        line.cut()
        line.type(typed)
        shown, state = line.shown, line.state
        notes = [str(item) for item in shown]
    else:
        state = State(Credentials(ME, None))
        state.typed(typed)
        notes = [str(item) for item in state.next_step().show]
    assert notes
    assert not [note for note in (*notes, *state.unsent) if "sesame" in note], notes
