"""The client's state, without a socket: what is sent, what is shown, and what becomes of it when the line breaks."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from terminal.items import Note, Shown
from terminal.login import Login
from terminal.state import Over, State
from tests.client_fakes import ME, FakeServer, Wire
from wire.frames import (
    Bye,
    Closing,
    Delivered,
    Entry,
    Error,
    Frame,
    Gap,
    Hello,
    HelpText,
    History,
    Join,
    Joined,
    Leave,
    Left,
    LogState,
    Malformed,
    Pong,
    Presence,
    Registered,
    Say,
    Seen,
    Stored,
    Topic,
    TopicIs,
    Welcome,
    Who,
)


def wire(*channels: str, join: str = "") -> Wire:
    """A client that is online, and in the channel `join`."""
    line = Wire(FakeServer(*channels))
    line.dial()
    line.settle()
    if join:
        line.type(f"/join {join}")
        line.settle()
    return line


def sent(line: Wire, kind: type[Frame]) -> list[Frame]:
    return [frame for frame in line.server.asked if isinstance(frame, kind)]


# What the line may do


class AnyCut(RuleBasedStateMachine):
    """However the line breaks: every post is kept once, in order, and every entry is shown once, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire(FakeServer("lab", "ops"), curious=True)
        self.posted: dict[str, list[str]] = {"lab": [], "ops": [], "@bob": []}
        self.count = 0
        self.wire.dial()
        self.wire.settle()
        self.wire.type("/join lab", "/join ops")
        self.wire.settle()

    def text(self) -> str:
        self.count += 1
        return f"message {self.count}"

    @rule(label=st.sampled_from(["lab", "ops", "@bob"]))
    def post(self, label: str) -> None:
        text = self.text()
        self.posted[label].append(text)
        self.wire.type(f"/msg bob {text}" if label == "@bob" else f"{label}: {text}")

    @rule(label=st.sampled_from(["lab", "ops", "@bob"]))
    def other_posts(self, label: str) -> None:
        self.wire.server.post(label, "bob", self.text())
        self.wire.server_sends()

    @rule(count=st.integers(1, 5))
    def server_reads(self, count: int) -> None:
        self.wire.server_reads(count)

    @rule(count=st.integers(1, 5))
    def client_reads(self, count: int) -> None:
        self.wire.client_reads(count)

    @precondition(lambda self: self.wire.connected)
    @rule()
    def cut(self) -> None:
        self.wire.cut()

    @precondition(lambda self: not self.wire.connected)
    @rule()
    def dial(self) -> None:
        self.wire.dial()

    @invariant()
    def one_seen_at_a_time(self) -> None:
        for channel in ("lab", "ops"):
            assert sum(isinstance(frame, Seen) and frame.channel == channel for frame in self.wire.up) <= 1

    @invariant()
    def shown_once_in_order(self) -> None:
        for label, log in self.wire.server.logs.items():
            shown = self.wire.entries(label)
            assert shown == log.entries[: len(shown)]

    def teardown(self) -> None:
        if not self.wire.connected:
            self.wire.dial()
        self.wire.settle()
        assert self.wire.state.settled
        for label, log in self.wire.server.logs.items():
            assert self.wire.entries(label) == log.entries
            assert [entry.text for entry in log.entries if entry.sender == ME] == self.posted[label]
            assert log.seen == log.tail, "what was shown is acknowledged"


AnyCut.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_any_cut = AnyCut.TestCase


def test_the_state_of_the_line_is_said_once_and_not_for_every_attempt() -> None:
    line = Wire(FakeServer())
    for _ in range(3):
        line.cut("Connection refused")
    line.dial()
    line.settle()
    line.cut("gone")
    line.cut("Connection refused")
    line.dial()
    line.settle()
    assert line.sentences() == [
        "here:7000 cannot be reached (Connection refused); trying again.",
        "The line to here:7000 is lost (gone); trying again.",
        "Back at here:7000 as alice.",
    ]


def test_the_reason_that_the_server_gave_is_the_one_that_is_said() -> None:
    line = wire()
    line.down.append(Closing(reason="The server is going down.", code="closing"))
    line.client_reads()
    line.cut("the server has hung up")
    assert line.sentences() == ["The line to here:7000 is lost (The server is going down); trying again."]
    assert line.state.over is None


def test_replaced_is_the_end() -> None:
    line = wire()
    line.down.append(Closing(reason="You have connected from elsewhere.", code="replaced"))
    line.client_reads()
    assert line.state.over == Over("You have connected from elsewhere.")


def test_what_is_typed_without_a_line_is_shown_as_waiting_and_sent_once_there_is_one() -> None:
    line = wire("lab", join="lab")
    line.cut()
    line.type("one", "/msg bob two", "/who lab")
    assert line.shown[-3:] == ["one", "/msg bob two", "/who lab"]
    assert line.state.waiting == ["one", "two"]
    line.dial()
    line.settle()
    assert [entry.text for entry in line.entries("lab") + line.entries("@bob")] == ["one", "two"]
    assert line.state.waiting == []
    assert len(sent(line, Who)) == 1


def test_what_is_typed_before_the_first_line_waits_until_it_can_be_understood() -> None:
    line = Wire(FakeServer("lab"))
    line.type("/join lab", "hello", "lab: hello again", "note: this is text")
    assert line.state.waiting == ["/join lab", "hello", "lab: hello again", "note: this is text"]
    line.dial()
    line.settle()
    assert [entry.text for entry in line.entries("lab")] == ["hello", "hello again", "note: this is text"]
    assert line.state.settled


def test_nothing_is_settled_before_we_were_let_in() -> None:
    line = Wire(FakeServer())
    assert not line.state.settled
    line.dial()
    line.settle()
    assert line.state.settled


def test_a_leave_whose_answer_was_lost_is_done() -> None:
    line = wire("lab", join="lab")
    line.type("/leave")
    line.server_reads()
    line.cut()
    line.dial()
    line.settle()
    assert Left in map(type, line.shown)
    assert len(sent(line, Leave)) == 1
    assert not [item for item in line.shown if isinstance(item, Error)]


def test_what_is_said_after_a_join_whose_answer_was_lost_is_shown_once() -> None:
    line = wire("lab")
    line.server.post("lab", "bob", "before")
    line.type("/join lab")
    line.server_reads()
    line.cut()
    line.server.post("lab", "bob", "after")
    line.dial()
    line.settle()
    assert [entry.text for entry in line.entries("lab")] == ["after"]
    assert Joined in map(type, line.shown)


def test_a_store_with_other_numbers_is_read_from_its_own_tail() -> None:
    line = wire("lab", join="lab")
    line.type("one", "two", "three")
    line.settle()
    line.server = FakeServer("lab")
    line.server.logs["lab"].member = True
    line.server.post("lab", "bob", "a new beginning")
    line.cut()
    line.dial()
    line.settle()
    line.server.post("lab", "bob", "and what follows")
    line.settle()
    assert [entry.text for entry in line.entries("lab")][3:] == ["and what follows"]


# Entries


def entry(number: int, text: str = "x", sender: str = "bob", **to: str) -> Entry:
    return Entry(number, 0, sender, text, **(to or {"channel": "lab"}))


def test_an_entry_that_was_had_is_dropped_and_one_that_is_missing_is_told_of() -> None:
    line = wire("lab", join="lab")
    line.shown.clear()
    line.state.receive([entry(1), entry(1), entry(2), entry(5), entry(2)])
    line.turn()
    assert line.shown == [entry(1), entry(2), Gap(first=3, last=4, channel="lab"), entry(5)]


def test_a_gap_moves_the_cursor_once() -> None:
    line = wire("lab", join="lab")
    line.shown.clear()
    gap = Gap(first=1, last=7, channel="lab")
    line.state.receive([gap, gap, entry(7), entry(8)])
    line.turn()
    assert line.shown == [gap, entry(8)]


def test_what_was_said_while_away_and_what_is_our_own_is_marked() -> None:
    line = wire("lab", join="lab")
    line.cut()
    line.server.post("lab", "bob", "you are away")
    line.dial()
    line.settle()
    line.state.receive([entry(2, sender="Alice"), entry(3)])
    items = [item for item in line.state.take().show if isinstance(item, Shown)]
    assert [(item.past, item.mine) for item in items] == [(False, True), (False, False)]
    state = State(Login(ME, None))
    state.receive([Welcome(name=ME, server="", token="", logs=[LogState(2, 1, "lab")]), entry(2), entry(3)])
    assert [item.past for item in state.take().show if isinstance(item, Shown)] == [False, True, False]


def test_acknowledgements_are_coalesced_and_come_after_what_they_acknowledge() -> None:
    line = wire("lab", join="lab")
    for number in range(1, 4):
        line.server.post("lab", "bob", str(number))
        line.server_sends()
        line.client_reads()
    assert [frame.number for frame in line.up if isinstance(frame, Seen)] == [1]
    line.settle()
    assert [frame.number for frame in sent(line, Seen) if isinstance(frame, Seen)] == [1, 3]


def test_leaving_acknowledges_what_was_shown_and_shows_nothing_more() -> None:
    line = wire("lab", join="lab")
    line.server.post("lab", "bob", "one")
    line.server_sends()
    line.client_reads()
    line.server.post("lab", "bob", "two")
    line.server_sends()
    line.client_reads()
    line.state.leave()
    line.turn()
    line.server.post("lab", "bob", "three")
    line.settle()
    assert isinstance(line.server.asked[-1], Bye)
    assert line.server.logs["lab"].seen == 2
    assert [entry.text for entry in line.entries("lab")] == ["one", "two"]
    before = line.state.over  # the name is free once the server has hung up, not before
    line.cut()
    assert (before, line.state.over) == (None, Over(clean=True))


def test_leaving_without_a_line_is_over_at_once() -> None:
    state = State(Login(ME, None))
    state.leave()
    assert state.over == Over(clean=True)


def test_everything_of_ours_must_have_come_back_before_all_is_settled() -> None:
    line = wire("lab", join="lab")
    line.type("hello")
    post = line.up.popleft()
    assert isinstance(post, Say)
    settled = [line.state.settled]
    for frame in (Stored(number=1, channel="lab", id=post.id, ref=post.ref), entry(1, sender=ME)):
        line.state.receive([frame])
        settled.append(line.state.settled)
    assert settled == [False, False, True]


# What is typed


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
def test_without_a_channel_there_is_nowhere_to_say_it(typed: str) -> None:
    line = wire()
    line.type(typed)
    assert line.sentences()[0] == "You are in no channel: /join lobby, for one."
    assert line.state.settled


def test_a_channel_that_we_are_not_in_is_refused_and_any_other_colon_is_text() -> None:
    line = wire("lab", "ops", join="lab")
    line.type("ops: over there", "12:30 lunch", "LAB: shouted", "see: there", "#lab: with a hash")
    line.settle()
    assert line.sentences() == ["You are not in ops: /join ops first.", "Not sent: ops: over there"]
    assert [entry.text for entry in line.entries("lab")] == ["12:30 lunch", "shouted", "see: there", "with a hash"]


def test_a_channel_that_was_made_since_is_known_when_it_is_addressed() -> None:
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
    line.type("/join ops", "/topic Tea time", "/topic LAB Tea time", "/topic attic is cold", "/topic -", "/topic lab")
    line.type("/topic Tea", "/topic attic", "/topic #attic", "/topic")
    line.settle()
    assert [(frame.channel, frame.text) for frame in line.server.asked if isinstance(frame, Topic)] == [
        ("ops", "Tea time"), ("LAB", "Tea time"), ("ops", "attic is cold"), ("ops", ""), ("lab", None),
        ("tea", None), ("ops", "Tea"), ("attic", None), ("attic", None), ("attic", None), ("ops", None),
    ]  # fmt: skip
    answers = [item for item in line.shown if isinstance(item, TopicIs | Error)]
    assert len(answers) == 9, "nobody sees the questions that come first: for Tea and attic"


def test_a_mistake_is_refused_here_and_the_text_is_not_lost() -> None:
    line = wire("lab", join="lab")
    line.type("/jion lab", "/msg bob", "x" * 20_000)
    refused = [item for item in line.shown if isinstance(item, Error)]
    assert [error.code for error in refused] == ["unknown-command", "bad-command", "too-long"]
    assert line.sentences()[-1].startswith("Not sent: xxx")
    assert line.state.settled


def test_a_refused_join_leads_back() -> None:
    line = wire("lab", join="lab")
    line.type("/join other")
    assert line.state.rooms.current == "other"
    join = line.up.popleft()
    assert isinstance(join, Join)
    line.state.receive([Error(code="too-many-channels", error="No.", ref=join.ref)])
    assert line.state.rooms.current == "lab"


def test_a_refused_post_shows_what_was_not_sent() -> None:
    line = wire("lab", join="lab")
    line.server.logs["lab"].member = False
    line.type("hello")
    line.settle()
    assert line.sentences() == ["You are not in it.", "Not sent: hello"]
    assert line.state.rooms.current == ""


def test_help_needs_no_server_and_exit_is_a_wish() -> None:
    state = State(Login(ME, None))
    state.typed("/help who")
    (item,) = state.take().show
    assert isinstance(item, Shown)
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


# Who we are


def login_errors(state: State, *codes: str) -> list[Frame]:
    """Refuse every `hello` with the next code; what was sent."""
    said: list[Frame] = []
    state.connected()
    for code in codes:
        hello = state.take().send[-1]
        assert isinstance(hello, Hello)
        said.append(hello)
        state.receive([Error(code=code, error=f"No: {code}.", ref=hello.ref)])
    return said


def test_a_registered_name_takes_its_password_and_a_wrong_one_is_not_tried_again() -> None:
    state = State(Login("alice", "wrong"))
    login_errors(state, "wrong-password")
    assert state.login.question == "password"
    state.answer("right")
    hello = state.take().send[-1]
    assert isinstance(hello, Hello)
    assert (hello.name, hello.password) == ("alice", "right")
    assert state.login.question is None


def test_without_its_password_another_name_can_be_taken() -> None:
    state = State(Login("alice", None))
    login_errors(state, "need-password")
    state.answer("")
    assert state.login.question == "name"
    state.answer("no good")
    assert state.login.question == "name"
    state.answer("bob")
    hello = state.take().send[-1]
    assert isinstance(hello, Hello)
    assert (hello.name, hello.password) == ("bob", None)


def test_a_question_is_put_once_and_silently_kept_over_a_lost_line() -> None:
    state = State(Login("alice", None))
    login_errors(state, "need-password")
    state.take()
    state.lost("login took too long")
    state.connected()
    login_errors(state, "need-password")
    assert [item for item in state.take().show if isinstance(item, Note)] == []
    assert state.login.question == "password"


def test_a_full_server_is_tried_again() -> None:
    state = State(Login("alice", None))
    login_errors(state, "server-full")
    step = state.take()
    assert step.drop
    assert state.login.question is None


def test_somebody_else_starts_from_nothing() -> None:
    line = wire("lab", join="lab")
    line.type("hello")
    line.settle()
    line.cut()
    login_errors(line.state, "name-taken")
    line.state.answer("alan")
    hello = line.state.take().send[-1]
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


def test_a_name_that_was_registered_takes_its_password_on_the_next_line() -> None:
    line = wire()
    line.type("/register sesame")
    line.state.receive([Registered(name=ME, ref=line.up[0].ref)])  # type: ignore[attr-defined]
    line.turn()
    line.cut()
    line.dial()
    hello = line.up[0]
    assert isinstance(hello, Hello)
    assert hello.password == "sesame"


# What the server may say


def test_something_that_does_not_speak_the_protocol_is_no_server() -> None:
    state = State(Login(ME, None), where="here:22")
    state.connected()
    state.receive([Malformed("bad-frame", "no JSON")])
    assert state.over == Over("here:22 does not speak Partyline's protocol.")


def test_of_a_newer_server_we_leave_out_what_we_do_not_know() -> None:
    line = wire()
    line.shown.clear()
    line.state.receive([Malformed("unknown-frame", "reaction"), Malformed("bad-frame", "?"), Pong()])
    line.turn()
    assert line.shown == []
    assert line.state.over is None


def test_an_error_without_ref_is_remembered() -> None:
    line = wire()
    line.state.receive([Error(code="internal", error="Something broke.")])
    assert line.state.unheard == "Something broke."


def test_events_are_shown_and_their_names_are_learned() -> None:
    line = wire()
    events = [Presence("bob", "join", "lab"), Delivered("carol", 1), Presence("\x1b[2J", "join", "l/b")]
    line.shown.clear()
    line.state.receive(events)
    line.turn()
    assert line.shown == events
    assert set(line.state.rooms.known.users.values()) == {"bob", ME}
    assert set(line.state.rooms.known.channels.values()) == {"lab"}
