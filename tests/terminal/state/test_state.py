"""The client's state without a socket: what it sends and displays, also when the connection breaks."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from doors import encode_refusal
from terminal.state.credentials import Credentials
from terminal.state.state import Ended, State
from terminal.state.step import Note, ShownFrame
from tests.support.examples import examples
from tests.support.terminal import ME, FakeServer, Wire, entry, sent, wire
from wire.frames import (
    Bye,
    ChannelList,
    Channels,
    Closing,
    Delivered,
    Error,
    Gap,
    Hello,
    Joined,
    Leave,
    Left,
    LogState,
    Malformed,
    Pong,
    Presence,
    Say,
    Seen,
    Stored,
    Welcome,
    Who,
)
from wire.jsonlines import JsonLines

# The connection


class AnyCut(RuleBasedStateMachine):
    """Wherever the connection breaks: every post is stored once, and every entry displayed once, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire(FakeServer("lab", "ops"), fetch_names=True)
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


AnyCut.TestCase.settings = settings(max_examples=examples(1), stateful_step_count=40, deadline=None)
test_any_cut = AnyCut.TestCase


def test_a_lost_connection_is_displayed_once_for_all_attempts() -> None:
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
        "Could not connect to here:7000 (Connection refused). Retrying.",
        "Lost the connection to here:7000 (gone). Reconnecting.",
        "Reconnected to here:7000 as alice.",
    ]


def test_each_server_is_told_of_once_in_an_absence_and_where_the_client_is_then() -> None:
    state = State(Credentials(ME, None))
    welcome = Welcome(name=ME, server="", token="", logs=[])
    for _ in range(2):
        state.lost("refused", where="a:7000", reached=False, then="b:7000")
        state.lost("refused", where="b:7000", reached=False)
    state.connected("b:7000")
    state.receive([welcome])
    state.lost("gone", where="b:7000", then="a:7000")
    state.lost("refused", where="a:7000", reached=False)
    state.connected("b:7000")
    state.receive([welcome])
    state.lost("gone", where="b:7000", then="a:7000")
    assert [item.text for item in state.next_step().show if isinstance(item, Note)] == [
        "Could not connect to a:7000 (refused). Trying b:7000.",
        "Could not connect to b:7000 (refused). Retrying.",
        "Connected to b:7000.",
        "Lost the connection to b:7000 (gone). Trying a:7000.",
        "Could not connect to a:7000 (refused). Retrying.",
        "Reconnected to b:7000 as alice.",
        "Lost the connection to b:7000 (gone). Trying a:7000.",
    ]
    assert state.failed_rounds == 3


def _warnings(state: State) -> int:
    """Return how often the next step warns that others can read a password."""
    return sum("unencrypted" in item.text for item in state.next_step().show if isinstance(item, Note))


def test_a_password_to_another_machine_without_tls_is_warned_of_once() -> None:
    state = State(Credentials(ME, "secret"))
    state.connected("127.0.0.1:7000")
    assert _warnings(state) == 0
    state.lost("gone")
    state.connected("b:7000", exposed=True)
    assert _warnings(state) == 1
    state.lost("gone")
    state.connected("b:7000", exposed=True)
    assert _warnings(state) == 0


def test_a_password_that_is_set_is_warned_of_too() -> None:
    state = State(Credentials(ME, None))
    state.connected(exposed=True)
    state.receive([Welcome(name=ME, server="", token="", logs=[])])
    assert _warnings(state) == 0
    state.typed("/register correct-horse")
    assert _warnings(state) == 1


def test_where_nobody_can_listen_in_nothing_is_said() -> None:
    state = State(Credentials(ME, "secret"))
    state.connected()
    state.receive([Welcome(name=ME, server="", token="", logs=[])])
    state.typed("/register correct-horse")
    assert _warnings(state) == 0


def test_the_reason_of_the_server_is_displayed() -> None:
    line = wire()
    line.down.append(Closing(reason="The server is going down.", code="closing"))
    line.client_reads()
    line.cut("the server closed the connection")
    assert line.sentences() == ["Lost the connection to here:7000 (The server is going down). Reconnecting."]
    assert line.state.ended is None


def test_replaced_ends_the_client() -> None:
    line = wire()
    line.down.append(Closing(reason="You have connected from elsewhere.", code="replaced"))
    line.client_reads()
    assert line.state.ended == Ended("You have connected from elsewhere.")


def test_lines_typed_offline_are_displayed_as_unsent_and_sent_later() -> None:
    line = wire("lab", join="lab")
    line.cut()
    line.type("one", "/msg bob two", "/who lab")
    assert line.shown[-3:] == ["one", "/msg bob two", "/who lab"]
    assert line.state.unsent == ["one", "two"]
    line.dial()
    line.settle()
    assert [entry.text for entry in line.entries("lab") + line.entries("@bob")] == ["one", "two"]
    assert line.state.unsent == []
    assert len(sent(line, Who)) == 1


def test_lines_typed_before_the_first_welcome_wait_for_it() -> None:
    line = Wire(FakeServer("lab"))
    line.type("/join lab", "hello", "lab: hello again", "bob: this is text")
    assert line.state.unsent == ["/join lab", "hello", "lab: hello again", "bob: this is text"]
    line.dial()
    line.settle()
    assert [entry.text for entry in line.entries("lab")] == ["hello", "hello again", "bob: this is text"]
    assert line.state.settled


def test_nothing_is_settled_before_the_first_welcome() -> None:
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


def test_entries_after_a_join_whose_answer_was_lost_are_displayed_once() -> None:
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


def test_a_channel_without_an_entry_since_its_join_resumes_at_the_join() -> None:
    """Without a number in `since`, the server would skip all but the last 500 entries."""
    line = wire("lab")
    line.server.post("lab", "bob", "before")
    line.type("/join lab")
    line.settle()
    line.cut()
    line.server.post("lab", "bob", "meanwhile")
    line.dial()
    hello = line.up[0]
    assert isinstance(hello, Hello)
    assert hello.since == {"lab": 1}
    line.settle()
    assert [entry.text for entry in line.entries("lab")] == ["meanwhile"]


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


def test_a_repeated_entry_is_dropped_and_a_missing_one_is_a_gap() -> None:
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


def test_past_and_own_entries_are_marked() -> None:
    line = wire("lab", join="lab")
    line.cut()
    line.server.post("lab", "bob", "you are away")
    line.dial()
    line.settle()
    line.state.receive([entry(2, sender="Alice"), entry(3)])
    items = [item for item in line.state.next_step().show if isinstance(item, ShownFrame)]
    assert [(item.past, item.mine) for item in items] == [(False, True), (False, False)]
    state = State(Credentials(ME, None))
    state.receive([Welcome(name=ME, server="", token="", logs=[LogState(2, 1, "lab")]), entry(2), entry(3)])
    assert [item.past for item in state.next_step().show if isinstance(item, ShownFrame)] == [False, True, False]


def test_acknowledgements_are_coalesced_and_follow_their_entries() -> None:
    line = wire("lab", join="lab")
    for number in range(1, 4):
        line.server.post("lab", "bob", str(number))
        line.server_sends()
        line.client_reads()
    assert [frame.number for frame in line.up if isinstance(frame, Seen)] == [1]
    line.settle()
    assert [frame.number for frame in sent(line, Seen) if isinstance(frame, Seen)] == [1, 3]


def test_leaving_acknowledges_displayed_entries_and_displays_no_more() -> None:
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
    before = line.state.ended  # the name is free once the server has closed the connection, not before
    line.cut()
    assert (before, line.state.ended) == (None, Ended(clean=True))


def test_leaving_offline_ends_at_once() -> None:
    state = State(Credentials(ME, None))
    state.leave()
    assert state.ended == Ended(clean=True)


def test_own_entries_must_come_back_before_all_is_settled() -> None:
    line = wire("lab", join="lab")
    line.type("hello")
    post = line.up.popleft()
    assert isinstance(post, Say)
    settled = [line.state.settled]
    for frame in (Stored(number=1, channel="lab", id=post.id, ref=post.ref), entry(1, sender=ME)):
        line.state.receive([frame])
        settled.append(line.state.settled)
    assert settled == [False, False, True]


# Frames from the server


def test_another_protocol_is_not_a_partyline_server() -> None:
    state = State(Credentials(ME, None))
    state.connected("here:22")
    state.receive([Malformed("bad-frame", "no JSON")])
    assert state.ended == Ended("here:22 is not a Partyline server.")


def test_a_full_server_is_a_partyline_server() -> None:
    """It sends the reason as text, too. The client said that this is not a Partyline server, and ended."""
    state = State(Credentials(ME, None))
    state.connected("here:7000")
    refusal = encode_refusal(Closing(reason="The server is full.", code="server-full"))
    state.receive(JsonLines(client=True).receive(refusal))
    assert state.ended is None
    state.lost("the server closed the connection", where="here:7000")
    (note,) = [item for item in state.next_step().show if isinstance(item, Note)]
    assert note.text == "here:7000 closed the connection (The server is full). Reconnecting."


def test_unknown_frames_of_a_newer_server_are_ignored() -> None:
    line = wire()
    line.shown.clear()
    line.state.receive([Malformed("unknown-frame", "reaction"), Malformed("bad-frame", "?"), Pong()])
    line.turn()
    assert line.shown == []
    assert line.state.ended is None


def test_an_error_without_ref_is_remembered() -> None:
    line = wire()
    line.state.receive([Error(code="internal", error="Something broke.")])
    assert line.state.unmatched_error == "Something broke."


def test_events_are_displayed_and_their_names_learned() -> None:
    line = wire()
    events = [Presence("bob", "join", "lab"), Delivered("carol", 1), Presence("\x1b[2J", "join", "l/b")]
    line.shown.clear()
    line.state.receive(events)
    line.turn()
    assert line.shown == events
    assert set(line.state.rooms.names.users.values()) == {"bob", ME}
    assert set(line.state.rooms.names.channels.values()) == {"lab"}


def _with_channels(*names: str, fetch_names: bool = True) -> Wire:
    line = Wire(FakeServer(*names), fetch_names=fetch_names)
    line.dial()
    line.settle()
    return line


def test_the_names_of_channels_are_fetched_page_by_page() -> None:
    names = [f"room{n}" for n in range(7)]
    line = _with_channels(*names)
    assert sorted(line.state.rooms.names.channels) == names
    asked = [frame.after for frame in line.server.asked if isinstance(frame, Channels)]
    assert asked == ["", "room1", "room3", "room5"]
    assert not [frame for frame in line.shown if isinstance(frame, ChannelList)]


def test_a_server_with_very_many_channels_is_asked_for_some_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terminal.state.state._MOST_NAMES", 4)
    line = _with_channels(*[f"room{n}" for n in range(9)])
    assert len(line.state.rooms.names.channels) == 4


def test_a_list_that_the_user_asks_for_is_one_page() -> None:
    line = _with_channels("lab", "ops", "zoo", fetch_names=False)
    line.type("/channels")
    line.settle()
    (shown,) = [frame for frame in line.shown if isinstance(frame, ChannelList)]
    assert ([info.name for info in shown.channels], shown.more) == (["lab", "ops"], "ops")
