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
    Msg,
    Registered,
    Say,
    SendFile,
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


def test_on_a_screen_a_channel_that_is_not_joined_is_refused_and_any_other_colon_is_text() -> None:
    line = wire("lab", "ops", join="lab", asks=True)
    line.type("ops: over there", "12:30 lunch", "LAB: shouted", "see: there", "#lab: with a hash", "#osp: hello")
    line.settle()
    assert line.sentences() == [
        "You are not in ops: /join ops first.",
        "Not sent: ops: over there",
        "The channel osp does not exist. /join osp creates it.",
        "Not sent: #osp: hello",
    ]
    assert [entry.text for entry in line.entries("lab")] == ["12:30 lunch", "shouted", "see: there", "with a hash"]


def test_a_script_says_no_line_that_seems_to_name_another_channel() -> None:
    """`room99: hi` is said nowhere else. The name of a user, a time and an address before a colon are text."""
    line = wire("lab", "ops", join="lab")
    line.type("room99: hi", "ops: over there", "bob: hello", "12:30 lunch", "http://example.org", "see\u200b: x", ": x")
    line.type("lab: room99: hi", "room99: ", f"room99: {'x' * 300}")
    line.settle()
    refusal = "No channel and no user is called room99. /join room99 creates the channel. To say it in lab: lab: room99"
    *refusals, long, _ = line.sentences()
    assert refusals == [
        f"{refusal}: hi",
        "Not sent: room99: hi",
        "You are not in ops: /join ops first.",
        "Not sent: ops: over there",
        "No channel and no user is called see. /join see creates the channel. To say it in lab: lab: see: x",
        "Not sent: see: x",
    ]
    assert long.startswith(f"{refusal}: xxx")
    assert long.endswith("…")
    said = [entry.text for entry in line.entries("lab")]
    assert said == ["bob: hello", "12:30 lunch", "http://example.org", ": x", "room99: hi", "room99:"]
    assert line.state.settled


def test_a_script_without_a_channel_is_told_of_the_name_that_is_wrong() -> None:
    line = wire("lab")
    line.type("room99: hi")
    line.settle()
    assert line.sentences()[0] == "No channel and no user is called room99. /join room99 creates the channel."


def test_a_line_that_waits_for_the_server_is_said_once_after_a_lost_connection() -> None:
    line = wire("lab", join="lab")
    line.type("bob: hello", "room99: hi")
    line.server_reads()
    line.cut()
    line.shown.clear()
    line.dial()
    line.settle()
    assert [entry.text for entry in line.entries("lab")] == ["bob: hello"]
    assert [error.code for error in line.shown if isinstance(error, Error)] == ["no-such-channel"]


def test_on_a_screen_a_mistyped_receiver_of_a_file_is_asked_about() -> None:
    line = wire("lab", join="lab", asks=True)
    line.type("/send bbo a b.jpg")
    line.settle()
    question = "No user called bbo has ever connected. To send it to that name all the same, type the line again."
    assert line.sentences() == [question]
    assert line.files == []
    line.type("hello", "/send bbo a b.jpg")  # another line in between is an answer, too
    line.settle()
    assert line.sentences() == [question, question]
    line.type("/send bbo a b.jpg", "/send bob c.jpg", "/send #lab d.jpg", "/send @bbo e.jpg")
    line.settle()
    assert [(frame.to, frame.path) for frame in line.files if isinstance(frame, SendFile)] == [
        ("bbo", "a b.jpg"), ("bob", "c.jpg"), ("#lab", "d.jpg"), ("bbo", "e.jpg"),
    ]  # fmt: skip
    assert line.state.settled


def test_in_a_script_a_mistyped_receiver_of_a_file_is_refused() -> None:
    line = wire("lab", join="lab")
    line.type("/send bbo a.jpg", "/send bbo a.jpg", "/send lab a.jpg", "/send @bbo b.jpg", "/send --direct bob c.jpg")
    line.settle()
    refusal, further = "No user called bbo has ever connected.", " /send @bbo … sends it to that name all the same."
    assert line.sentences() == [
        refusal + further,
        refusal + further,
        f"{refusal} /send #lab … sends it to the channel.{further}".replace("bbo", "lab"),
    ]
    assert [(frame.to, frame.direct) for frame in line.files if isinstance(frame, SendFile)] == [
        ("bbo", False), ("bob", True),
    ]  # fmt: skip
    assert line.state.settled


def test_on_a_screen_a_mistyped_channel_of_a_topic_is_asked_about() -> None:
    line = wire("lab", "ops", join="lab", asks=True)
    line.type("/topic Tea time", "/topic ops is quiet")
    line.settle()
    question = (
        "The channel Tea does not exist. /join Tea creates it. To set the topic of lab to 'Tea time', type the line "
        "again."
    )
    assert line.sentences() == [question]
    line.type("/topic Tea time")
    line.settle()
    line.type("/topic Tea time")
    line.settle()
    line.type("/topic Soldering")
    line.settle()
    line.type("/topic Soldering")
    line.settle()
    topics = [(frame.channel, frame.text) for frame in sent(line, Topic) if isinstance(frame, Topic) and frame.text]
    assert topics == [("ops", "is quiet"), ("lab", "Tea time"), ("lab", "Soldering")]
    line.type("/topic Tea -")
    line.settle()
    assert line.sentences()[-1] == "The channel Tea does not exist. /join Tea creates it."


def test_on_a_screen_a_word_that_may_be_a_command_is_asked_about_once() -> None:
    line = wire("lab", join="lab", asks=True)
    line.type("help", "hello", "help", "help", "Quit", "bye")
    line.settle()
    assert line.sentences() == [
        "Type /help for the commands, or send help again to say it.",
        "Type /help for the commands, or send help again to say it.",
        "Type /quit to leave, or send Quit again to say it.",
        "Type /quit to leave, or send bye again to say it.",
    ]
    assert [entry.text for entry in line.entries("lab")] == ["hello", "help"]
    assert not line.state.leaving
    line.type("/exit")
    assert line.state.leaving


def test_in_a_script_such_a_word_is_text() -> None:
    line = wire("lab", join="lab")
    line.type("help", "quit", "bye")
    line.settle()
    assert [entry.text for entry in line.entries("lab")] == ["help", "quit", "bye"]


def test_who_is_talked_with_gets_what_names_no_channel() -> None:
    line = wire("lab", "ops", join="lab")
    line.type("/query BOB are you there?", "/me waves", "lab: to the lab", "no", "//x", "/history")
    line.type("/names", "/topic", "/leave", "in the lab", "/query bob", "/query", "/query bob", "/join ops", "in ops")
    line.settle()
    assert [frame.text for frame in sent(line, Msg) if isinstance(frame, Msg) and frame.user == "bob"] == [
        "are you there?", "/me waves", "no", "/x",
    ]  # fmt: skip
    assert [(frame.channel, frame.text) for frame in sent(line, Say) if isinstance(frame, Say)] == [
        ("lab", "to the lab"), ("lab", "in the lab"), ("ops", "in ops"),
    ]  # fmt: skip
    assert [frame.user for frame in sent(line, History) if isinstance(frame, History)] == ["bob"]
    assert sent(line, Leave) == []
    refusal = "You are talking with bob. Name the channel, or /query ends that."
    begin, end = "What you type goes to bob, privately. /query ends that.", "What you type goes to lab."
    assert line.sentences() == [begin, refusal, refusal, end, begin, end, begin]


def test_a_name_that_nobody_has_had_can_be_talked_with() -> None:
    line = wire("lab")
    line.type("/query bbo", "hi", "/query")
    line.settle()
    assert line.sentences() == [
        "What you type goes to bbo, privately. /query ends that.",
        "No user called bbo has ever connected. The server would keep your messages.",
        "What you type goes to nobody: you are in no channel.",
    ]
    assert [frame.user for frame in sent(line, Msg) if isinstance(frame, Msg)] == ["bbo"]


def test_who_is_in_the_current_channel() -> None:
    line = wire("lab", "ops", join="lab")
    line.type("/names", "/names ops")
    line.settle()
    assert [frame.channel for frame in sent(line, Who) if isinstance(frame, Who)] == ["lab", "ops"]


def test_a_channel_created_later_is_recognised() -> None:
    line = wire("lab", join="lab", asks=True)
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
        ("LAB", "Tea time"), ("attic", None), ("attic", "is cold"), ("ops", ""), ("lab", None), ("attic", None),
        ("ops", None), ("tea", None),
    ]  # fmt: skip
    answers = [item for item in line.shown if isinstance(item, TopicIs | Error)]
    assert len(answers) == 7  # the client has asked twice whether there is such a channel
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
    line.server.post("lab", "bob", "hi")  # so that the client knows him
    line.settle()
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
