"""The client over MQTT without a broker: frames and topics, which answer is whose, and entries in order."""

from __future__ import annotations

import contextlib
import itertools
import queue
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.topics import VERBS, Gone, Here, Topics
from client import main
from terminal import mqtt_line, mqtt_link
from terminal.address import MqttAddress, parse_url
from terminal.dialler import Down, Event, Received, Up
from terminal.mqtt_frames import _FORMS, answer, ask, event
from terminal.mqtt_line import MqttLine, Refusal
from terminal.mqtt_link import MqttLink, _error
from terminal.mqtt_logs import Logs
from terminal.mqtt_questions import Questions
from terminal.mqtt_talk import Message, Talk
from tests.helpers import DEADLINE
from wire import file_frames
from wire.errors import LocalError, PeerError, Refused
from wire.frames import (
    REQUESTS,
    Bye,
    Channels,
    Closing,
    Delivered,
    Entry,
    Error,
    Frame,
    Gap,
    Hello,
    Help,
    HelpText,
    History,
    Join,
    Joined,
    Leave,
    LogState,
    Msg,
    Ok,
    Page,
    Ping,
    Pong,
    Presence,
    Register,
    Request,
    Say,
    Seen,
    Status,
    Stored,
    Topic,
    UserInfo,
    Welcome,
    Who,
    Whois,
)
from wire.jsonlines import JsonLines
from wire.mqtt import MqttPackets, encode
from wire.mqtt_codes import V5, V311, Reason
from wire.mqtt_packets import ConnAck, Connect, Disconnect

TOPICS = Topics()
ME = "alice"
REPLY = "chat/to/alice/reply/1"

SOME: list[Request] = [
    Here(),
    Gone(),
    Join("Lab"),
    Leave("lab"),
    Say("hello", "lab", "id-1"),
    Say('{"text": "not mine", "id": "x"}', "lab", "id-1"),
    Say("no id ü\n", "lab"),
    Msg("bob", "hi", "id-2"),
    Who(),
    Who("lab"),
    Channels(),
    Whois("bob"),
    History(channel="lab", after=3, limit=20),
    History(user="bob", before=7),
    Topic("lab"),
    Topic("lab", "Soldering"),
    Topic("lab", ""),
    Register("sesame ü"),
    file_frames.Files(),
    Seen(number=7, channel="lab"),
    Seen(number=1, user="bob"),
    Status(),
]

# Requests and topics


@pytest.mark.parametrize("request_", SOME, ids=lambda request: repr(request)[:40])
def test_what_is_asked_is_what_the_server_understands(request_: Request) -> None:
    topic, payload = ask(TOPICS, request_, ME)
    assert TOPICS.request(topic, payload, ME) == request_


def test_every_request_can_be_asked_and_every_verb_is_used() -> None:
    by_the_link: set[object] = {Hello, Ping, Help, Bye, *file_frames.REQUESTS} - {file_frames.Files}
    assert {*REQUESTS} - by_the_link | {Here, Gone} == {*_FORMS} == {type(request) for request in SOME}
    assert {form.verb for form in _FORMS.values()} == {*VERBS}


@settings(max_examples=50)
@given(st.text(), st.text(max_size=64))
def test_any_text_comes_through(text: str, id: str) -> None:
    text = text.encode(errors="replace").decode()
    request = Say(text, "lab", "1" + id.encode(errors="replace").decode()[:63])
    assert TOPICS.request(*ask(TOPICS, request, ME), ME) == request


@pytest.mark.parametrize(
    "request_", [Join("a/b"), Join("+"), Join(""), Whois("#"), Msg("a b", "x"), History(), Who("$SYS"), Seen(number=1)]
)
def test_a_name_that_is_no_level_of_a_topic_is_refused(request_: Request) -> None:
    with pytest.raises(Refused):
        ask(TOPICS, request_, ME)


# Answers and events


def test_an_answer_is_what_was_asked_for_or_an_error_with_the_ref() -> None:
    assert answer(Join("lab", ref=5), b'{"channel": "Lab", "tail": 3, "members": 1, "new": true}') == Joined(
        channel="Lab", tail=3, members=1, ref=5
    )
    error = answer(Join("lab", ref=6), b'{"topic": "t", "code": "bad-name", "error": "No."}')
    assert error == Error(code="bad-name", error="No.", ref=6)
    for payload in (b"", b"[]", b"{}", b"\xff", b'{"channel": 1}', b"[" * 100_000):
        assert answer(Join("lab"), payload) is None


ENTRY = Entry(7, 1, "bob", "hi", "Lab")
DIRECT = Entry(1, 1, "bob", "hi", to="alice")


@pytest.mark.parametrize(
    ("topic", "payload", "frame"),
    [
        ("chat/channels/Lab", JsonLines.encode(ENTRY), ENTRY),
        ("chat/channels/lab/text", b"bob: hi", None),
        ("chat/channels/ops", JsonLines.encode(ENTRY), None),
        ("chat/to/alice/msg/bob", JsonLines.encode(DIRECT), DIRECT),
        ("chat/to/alice/msg/mallory", JsonLines.encode(DIRECT), None),
        ("chat/to/alice/delivered", b'{"user": "bob", "number": 3}', Delivered("bob", 3)),
        ("chat/to/alice/gap", b'{"channel": "lab", "first": 1, "last": 9}', Gap(first=1, last=9, channel="lab")),
        ("chat/presence/bob", b'{"user": "bob", "online": true, "doors": ["mqtt"]}', Presence("bob", "online")),
        ("chat/presence/bob", b'{"user": "bob", "online": false}', Presence("bob", "offline")),
        ("chat/presence/bob", b"", None),
        ("chat/channels/lab", b"\xff{", None),
        ("chat/to/alice/file/7", b"\x00\x01", None),
        ("chat/to/bob/delivered", b'{"user": "bob", "number": 3}', None),
        ("elsewhere", b"{}", None),
    ],
)
def test_an_event_is_what_its_topic_says(topic: str, payload: bytes, frame: Frame | None) -> None:
    assert event(TOPICS, topic, payload, ME) == frame


def questions(*requests: Request) -> Questions:
    """Questions of one line, already published."""
    made = Questions(TOPICS, ME, REPLY, itertools.count(1))
    for packet_id, request in enumerate(requests, 1):
        made.sent(made.ask(request, now=0.0), packet_id)
    return made


def found(made: Questions, place: str, payload: str, correlation: bytes | None = None) -> object:
    """The `ref` of the question that a message answers."""
    answered = made.answered(f"chat/to/alice/{place}", correlation, payload.encode(), now=1.0)
    return answered and answered[1].ref


def test_correlation_data_tells_whose_answer_it_is() -> None:
    made = questions(Join("lab", ref=1), Join("lab", ref=2), Who(ref=3))
    joined = '{"channel": "lab", "tail": 0}'
    assert found(made, "reply/1", joined, b"2") == 2
    assert found(made, "reply/1", joined, b"2") is None, "once"
    assert found(made, "reply/2", joined, b"1") is None, "another client's"
    assert found(made, "reply/1", joined, b"9") is None
    assert found(made, "reply/1", '{"members": []}', b"3") == 3
    assert found(made, "reply/1", joined, b"1") == 1


def test_without_it_the_topic_does() -> None:
    posts = Say("a", "lab", "i", ref=1), Say("b", "lab", "j", ref=2), Msg("bob", "c", "k", ref=3)
    made = questions(*posts, Join("lab", ref=4), Join("lab", ref=5), Who(ref=6), Who("lab", ref=7), Whois("bob", ref=8))
    assert found(made, "stored", '{"id": "j", "number": 1, "channel": "lab"}') == 2
    assert found(made, "stored", '{"id": "x", "number": 1, "channel": "lab"}') is None
    assert found(made, "error", '{"id": "k", "code": "bad-name", "error": "No."}') == 3
    assert found(made, "error", '{"topic": "chat/from/alice/join/lab", "code": "bad-name", "error": "No."}') == 4
    assert found(made, "join/Lab", '{"channel": "Lab", "tail": 1}') == 5
    assert found(made, "who/lab", '{"members": [], "channel": "lab"}') == 7
    assert found(made, "who", '{"members": []}') == 6
    assert found(made, "lookup/bob", '{"name": "bob", "online": false}') == 8
    assert found(made, "stored", '{"id": "i", "number": 1, "channel": "lab"}') == 1
    assert found(made, "stored", "[]") is None


def test_a_broker_that_refuses_without_a_word_is_taken_at_its_acknowledgement() -> None:
    made = questions(Say("a", "lab", "i", ref=1))
    assert made.taken(1, "not authorized", now=0.0) is None
    assert made.overdue(now=0.5) == []
    ((_, error),) = made.overdue(now=1.5)
    assert (error.ref, "not authorized" in str(error)) == (1, True)
    assert made.overdue(now=100.0) == []


def test_a_line_on_which_nothing_is_answered_is_given_up_but_not_one_that_is_slow() -> None:
    made = questions(*[Say("a", "lab", str(number), ref=number) for number in range(3)])
    assert found(made, "stored", '{"id": "0", "number": 1, "channel": "lab"}') == 0  # at 1 s
    assert made.overdue(now=60.5) == []
    with pytest.raises(TimeoutError):
        made.overdue(now=61.5)


# Logs


def entry(number: int, channel: str = "lab") -> Entry:
    return Entry(number, 1, "bob", str(number), channel)


@given(st.data())
def test_whatever_the_broker_loses_repeats_or_mixes_up_goes_on_once_and_in_order(data: st.DataObject) -> None:
    """Some entries come by subscription, in any order and more than once; history, page by page, has the rest."""
    tail, start = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 5))
    tail = max(tail, start)
    came = data.draw(st.lists(st.sampled_from(range(1, tail + 1)), max_size=40)) if tail else []
    logs = Logs(ME)
    logs.begin([LogState(tail=tail, seen=start, channel="lab")], {})
    logs.want("lab")
    shown: list[Entry] = []
    for packet_id, number in enumerate(came, 1):
        logs.arrived(packet_id)
        shown += logs.take(entry(number), packet_id)
    while wanted := logs.histories():
        (question,) = wanted
        after = question.after or 0
        limit = data.draw(st.integers(1, 7))
        page = [entry(number) for number in range(after + 1, min(after + limit, tail) + 1)]
        shown += logs.page(question, Page(entries=page, tail=tail, channel="lab"))
    assert [each.number for each in shown] == list(range(start + 1, tail + 1))
    logs.see(Seen(number=tail, channel="lab"))
    assert logs.acknowledgements() == list(range(1, len(came) + 1))


def test_what_nobody_has_any_more_does_not_hold_up_the_rest() -> None:
    logs = Logs(ME)
    logs.begin([LogState(tail=9, seen=3, channel="lab")], {"lab": 5})
    assert logs.take(entry(8), 0) == []
    (question,) = logs.histories()
    assert logs.page(question, None) == [entry(8)]
    assert logs.histories() == []


def test_too_much_that_was_missed_is_left_out_unless_since_is_known() -> None:
    states = [LogState(tail=2_000, seen=3, channel="lab"), LogState(tail=2_000, seen=3, user="bob")]
    logs = Logs(ME)
    assert logs.begin(states, {"@bob": 10}) == [Gap(first=4, last=1_500, channel="lab")]
    logs.want("lab")
    logs.want("@bob")
    assert [question.after for question in logs.histories()] == [1_500, 10]


def test_what_was_not_seen_is_not_acknowledged_and_acknowledgements_keep_the_order_of_arrival() -> None:
    logs = Logs(ME)
    logs.begin([LogState(tail=0, seen=0, channel=channel) for channel in ("lab", "ops")], {})
    for packet_id, each in enumerate([entry(1), entry(1, "ops"), entry(2), entry(1, "left")], 1):
        logs.arrived(packet_id)
        logs.take(each, packet_id)
    assert logs.acknowledgements() == []
    logs.see(Seen(number=2, channel="ops"))
    assert logs.acknowledgements() == []
    logs.see(Seen(number=1, channel="lab"))
    assert logs.acknowledgements() == [1, 2]
    logs.see(Seen(number=2, channel="lab"))
    assert logs.acknowledgements() == [3, 4]


# The conversation


class FakeBroker:
    """Puts down what it is told to do."""

    window = 3

    def __init__(self) -> None:
        self.ids = itertools.count(1)
        self.published: list[tuple[str, bytes, bytes]] = []
        self.filters: list[str] = []
        self.acknowledged: list[int] = []

    def publish(self, topic: str, payload: bytes, reply: str, correlation: bytes) -> int:
        assert reply == REPLY
        self.published.append((topic, payload, correlation))
        return next(self.ids)

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> int:
        self.filters += [topic_filter for topic_filter, _ in filters]
        return next(self.ids)

    def unsubscribe(self, filters: Sequence[str]) -> None:
        for topic_filter in filters:
            self.filters.remove(topic_filter)

    def acknowledge(self, packet_id: int) -> None:
        self.acknowledged.append(packet_id)


def talk(*, since: dict[str, int] | None = None) -> tuple[Talk, FakeBroker]:
    """A conversation that has just begun."""
    broker = FakeBroker()
    hello = Hello(name=ME, since=since or {}, ref=1)
    return Talk(broker, TOPICS, hello, "reply/1", itertools.count(1), now=0.0), broker


def said(correlation: bytes, frame: Frame) -> Message:
    """An answer as the server publishes it."""
    return Message(REPLY, msgspec.json.encode(frame), correlation=correlation)


def test_a_welcome_comes_before_what_was_kept_and_brings_the_channels() -> None:
    conversation, broker = talk()
    assert broker.filters == ["chat/to/alice/#", "chat/presence/+", "chat/server"]
    conversation.heard(Message("chat/channels/lab", JsonLines.encode(entry(3)), packet_id=7), 0.0)
    conversation.heard(Message("chat/to/alice/gap", b'{"channel": "lab", "first": 1, "last": 9}'), 0.0)
    assert conversation.take() == []
    welcome = Welcome(name=ME, server="s", token="", logs=[LogState(tail=3, seen=2, channel="lab")])
    conversation.heard(said(b"1", welcome), 0.0)
    assert conversation.take() == [msgspec.structs.replace(welcome, ref=1), entry(3)]
    assert broker.filters[3:] == ["chat/channels/lab"]
    conversation.ask(Seen(number=3, channel="lab", ref=9), 0.0)
    assert broker.acknowledged == [7]
    conversation.taken(4, None, 0.0)
    assert conversation.take() == [Ok(ref=9)]


def test_the_broker_gets_no_more_than_it_takes_at_a_time_and_a_goodbye_waits_for_that() -> None:
    conversation, broker = talk()
    conversation.heard(said(b"1", Welcome(name=ME, server="s", token="")), 0.0)
    for number in range(5):
        conversation.ask(Say(str(number), "lab", str(number), ref=number), 0.0)
    conversation.ask(Bye(ref=99), 0.0)
    conversation.go_on(0.0)
    assert len(broker.published) == FakeBroker.window
    for packet_id in range(1, 8):
        conversation.taken(packet_id, None, 0.0)
        conversation.go_on(0.0)
    assert [topic.split("/")[3] for topic, _, _ in broker.published] == ["register", *["say"] * 5]
    assert conversation.finished
    assert conversation.take()[-1] == Closing(reason="Goodbye.", ref=99)


def test_where_no_server_answers_the_line_is_given_up() -> None:
    conversation, _ = talk()
    assert conversation.patience(4.0) == 6.0
    conversation.go_on(9.0)
    with pytest.raises(TimeoutError, match="nobody answers"):
        conversation.go_on(10.0)
    for message in (Message("chat/server", b"offline", retained=True), said(b"1", Error(code="internal", error="No."))):
        with pytest.raises(PeerError):
            talk()[0].heard(message, 0.0)
    with pytest.raises(PeerError, match="may not read"):
        talk()[0].subscribed(1, [False, True, True], 0.0)


def test_some_things_need_no_server() -> None:
    conversation, _ = talk()
    for request in (Ping(payload=b"x", ref=1), Help(ref=2), Join("a/b", ref=3)):
        conversation.ask(request, 0.0)
    pong, help_text, refused = conversation.take()
    assert pong == Pong(payload=b"x", ref=1)
    assert isinstance(help_text, HelpText)
    assert isinstance(refused, Error)
    assert refused.ref == 3


def test_who_comes_and_goes_is_told_of_those_who_share_a_channel() -> None:
    conversation, _ = talk()
    state = LogState(tail=0, seen=0, channel="lab")
    conversation.heard(said(b"1", Welcome(name=ME, server="s", token="", logs=[state])), 0.0)
    conversation.heard(Message("chat/channels/lab", JsonLines.encode(entry(1))), 0.0)
    conversation.take()
    for name in ("bob", "mallory", ME):
        body = msgspec.json.encode({"user": name, "online": True})
        conversation.heard(Message(f"chat/presence/{name}", body, retained=True), 0.0)
        conversation.heard(Message(f"chat/presence/{name}", body), 0.0)
    assert conversation.take() == [Presence("bob", "online")]


def test_an_answer_from_an_earlier_line_is_nobodys() -> None:
    conversation, _ = talk()
    conversation.heard(said(b"0", Stored(number=1, channel="lab")), 0.0)
    conversation.heard(said(b"0", UserInfo(name="bob", online=True)), 0.0)
    conversation.heard(said(b"1", Welcome(name=ME, server="s", token="")), 0.0)
    assert len(conversation.take()) == 1


# Getting there


@pytest.mark.parametrize(
    ("code", "sentence", "password", "expected"),
    [
        (0x86, "", None, "need-password"),
        (0x86, "alice is registered, and that is not the password.", "x", "wrong-password"),
        (0x87, "alice is taken: somebody is connected under that name.", None, "name-taken"),
        (0x87, "", "x", "wrong-password"),
        (0x89, "", None, "not-allowed"),
    ],
)
def test_a_refused_connect_is_the_answer_to_hello(
    code: int, sentence: str, password: str | None, expected: str
) -> None:
    error = _error(Refusal(code, sentence), Hello(name=ME, password=password, ref=3))
    assert (error.code, error.ref) == (expected, 3)
    assert error.error


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("mqtt://host", MqttAddress("host", 1883)),
        ("mqtt://", MqttAddress("127.0.0.1", 1883)),
        ("mqtts://host/", MqttAddress("host", 8883, tls=True)),
        ("mqtt://alice@[::1]:7000", MqttAddress("::1", 7000, "alice")),
        ("mqtt://alice:a%40b%3A@host/lab/chat", MqttAddress("host", 1883, "alice", "a@b:", "lab/chat")),
        ("host:7000", None),
    ],
)
def test_a_url_names_a_broker(text: str, address: MqttAddress | None) -> None:
    assert parse_url(text) == address


@pytest.mark.parametrize(
    "text",
    ["http://host", "mqtt://alice:secret@host:x", "mqtt://alice:secret@[::1", "mqtt://host/a+", "mqtt://host/?q"],
)
def test_a_bad_url_is_one_sentence_without_the_password(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LocalError):
        parse_url(text)
    assert main([text]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "secret" not in said


def test_certificates_that_cannot_be_read_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    for options in (["mqtts://h", "--ca", "/nowhere"], ["mqtts://h", "--ca", str(tmp_path / "none.pem")]):
        assert main([*options, "--name", ME]) == 2
    assert main(["mqtt://h", "--ca", "/nowhere", "--name", ME]) == 2
    assert capsys.readouterr().err.count("\n") == 3


class Far:
    """A listening socket, and a link that dials it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mqtt_link, "_ANSWER", 0.1)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.events: queue.Queue[Event] = queue.Queue()
        self.link = MqttLink(MqttAddress(*self.listener.getsockname()), None, self._deliver)

    def _deliver(self, event: Event) -> None:
        if isinstance(event, Up):
            self.link.send([Hello(name=ME, ref=1)])
        self.events.put(event)

    def expect(self, kind: type[Event]) -> Event:
        event = self.events.get(timeout=DEADLINE)
        assert isinstance(event, kind), event
        return event

    def accept(self) -> tuple[socket.socket, Connect]:
        connection, _ = self.listener.accept()
        connection.settimeout(DEADLINE)
        (packet,) = MqttPackets().receive(connection.recv(1000))
        assert isinstance(packet, Connect)
        return connection, packet


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    far = Far(monkeypatch)
    far.link.start()
    yield far
    far.link.stop()
    far.listener.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "partyline-link"]


def test_a_broker_that_says_nothing_to_mqtt_5_is_asked_in_3_1_1(far: Far) -> None:
    far.expect(Up)
    first, packet = far.accept()
    with first:
        assert (packet.version, packet.username, packet.clean, packet.keep_alive) == (V5, ME, False, 30)
        assert packet.will is not None
        assert packet.will.topic == "chat/from/alice/gone"
        assert far.expect(Down) == Down("no answer to CONNECT")
    far.expect(Up)
    second, again = far.accept()
    with second:
        assert (again.version, again.client_id, again.clean) == (V311, packet.client_id, True)


def test_refused_and_taken_over_are_told_and_the_line_goes_on_with_the_next_hello(far: Far) -> None:
    far.expect(Up)
    first, packet = far.accept()
    with first:
        first.sendall(encode(ConnAck(Reason.BAD_USER_NAME_OR_PASSWORD), V5))
        refused = far.expect(Received)
        assert isinstance(refused, Received)
        assert [(frame.code, frame.ref) for frame in refused.frames if isinstance(frame, Error)] == [
            ("need-password", 1)
        ]
    far.link.send([Hello(name=ME, password="sesame", ref=2)])
    second, packet = far.accept()
    with second:
        assert packet.password == b"sesame"
        second.sendall(encode(ConnAck(Reason.SUCCESS), V5) + encode(Disconnect(Reason.SESSION_TAKEN_OVER), V5))
        ended = far.expect(Received)
        assert isinstance(ended, Received)
        assert [frame.code for frame in ended.frames if isinstance(frame, Closing)] == ["replaced"]
        far.expect(Down)


@pytest.mark.parametrize(("garbage", "reason"), [(b"\x00\x00", "that is no MQTT"), (b"", "the server has hung up")])
def test_what_is_no_broker_ends_the_line_and_not_the_link(far: Far, garbage: bytes, reason: str) -> None:
    for _ in range(2):
        far.expect(Up)
        connection, _ = far.accept()
        with connection:
            connection.sendall(garbage)
        assert far.expect(Down) == Down(reason)


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_no_bytes_make_the_connection_do_anything_but_end_or_go_on(data: bytes) -> None:
    """Paho may stumble over them; then the line is given up, as after an OSError."""
    near, away = socket.socketpair()
    with near, away, socket.create_server(("127.0.0.1", 0)) as listener:
        line = MqttLine("id", mqtt_line.V5, None)
        line.connect("127.0.0.1", listener.getsockname()[1], ME, None, "gone")
        broker, _ = listener.accept()
        with broker:
            broker.sendall(encode(ConnAck(Reason.SUCCESS), V5) + data)
        happened: list[object] = []
        with contextlib.suppress(Exception):
            while not any(isinstance(each, mqtt_line.Ended) for each in happened):
                happened += line.turn(near, DEADLINE)
        line.close()
        assert mqtt_line.LetIn() in happened
