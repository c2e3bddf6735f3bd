"""The client's conversation over MQTT without a broker: the welcome first, no more at a time than is acknowledged."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec
import pytest

from terminal.links.mqtt.conversation import MqttConversation
from terminal.links.mqtt.events import Message
from tests.support.terminal import ME, REPLY, TOPICS, entry
from wire.errors import PeerError
from wire.frames import (
    Bye,
    Closing,
    Error,
    Frame,
    Hello,
    Help,
    HelpText,
    Join,
    LogState,
    Ok,
    Ping,
    Pong,
    Presence,
    Say,
    Seen,
    Stored,
    UserInfo,
    Welcome,
)
from wire.jsonlines import JsonLines


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


def talk(*, since: dict[str, int] | None = None) -> tuple[MqttConversation, FakeBroker]:
    """A conversation that has just begun."""
    broker = FakeBroker()
    hello = Hello(name=ME, since=since or {}, ref=1)
    return MqttConversation(broker, TOPICS, hello, "1", itertools.count(1), now=0.0), broker


def said(correlation: bytes, frame: Frame) -> Message:
    """An answer as the server publishes it."""
    return Message(REPLY, msgspec.json.encode(frame), correlation=correlation)


def test_a_welcome_comes_before_what_was_kept_and_brings_the_channels() -> None:
    conversation, broker = talk()
    assert broker.filters == ["chat/to/alice/#", "chat/presence/+", "chat/server"]
    conversation.received(Message("chat/channels/lab", JsonLines.encode(entry(3)), packet_id=7), 0.0)
    conversation.received(Message("chat/to/alice/gap", b'{"channel": "lab", "first": 1, "last": 9}'), 0.0)
    assert conversation.take_frames() == []
    welcome = Welcome(name=ME, server="s", token="", logs=[LogState(tail=3, seen=2, channel="lab")])
    conversation.received(said(b"1", welcome), 0.0)
    assert conversation.take_frames() == [msgspec.structs.replace(welcome, ref=1), entry(3)]
    assert broker.filters[3:] == ["chat/channels/lab"]
    conversation.ask(Seen(number=3, channel="lab", ref=9), 0.0)
    assert broker.acknowledged == [7]
    conversation.acknowledged(4, None, 0.0)
    assert conversation.take_frames() == [Ok(ref=9)]


def test_the_broker_gets_no_more_than_it_takes_at_a_time_and_a_goodbye_waits_for_that() -> None:
    conversation, broker = talk()
    conversation.received(said(b"1", Welcome(name=ME, server="s", token="")), 0.0)
    for number in range(5):
        conversation.ask(Say(str(number), "lab", str(number), ref=number), 0.0)
    conversation.ask(Bye(ref=99), 0.0)
    conversation.go_on(0.0)
    assert len(broker.published) == FakeBroker.window
    for packet_id in range(1, 8):
        conversation.acknowledged(packet_id, None, 0.0)
        conversation.go_on(0.0)
    assert [topic.split("/")[3] for topic, _, _ in broker.published] == ["register", *["say"] * 5]
    assert conversation.finished
    assert conversation.take_frames()[-1] == Closing(reason="Goodbye.", ref=99)


def test_where_no_server_answers_the_line_is_given_up() -> None:
    conversation, _ = talk()
    assert conversation.patience(4.0) == 6.0
    conversation.go_on(9.0)
    with pytest.raises(TimeoutError, match="no Partyline server"):
        conversation.go_on(10.0)
    for message in (Message("chat/server", b"offline", retained=True), said(b"1", Error(code="internal", error="No."))):
        with pytest.raises(PeerError):
            talk()[0].received(message, 0.0)
    with pytest.raises(PeerError, match="forbids reading"):
        talk()[0].subscribed(1, [False, True, True], 0.0)


def test_some_things_need_no_server() -> None:
    conversation, _ = talk()
    for request in (Ping(payload=b"x", ref=1), Help(ref=2), Join("a/b", ref=3)):
        conversation.ask(request, 0.0)
    pong, help_text, refused = conversation.take_frames()
    assert pong == Pong(payload=b"x", ref=1)
    assert isinstance(help_text, HelpText)
    assert isinstance(refused, Error)
    assert refused.ref == 3


def test_who_comes_and_goes_is_told_of_those_who_share_a_channel() -> None:
    conversation, _ = talk()
    state = LogState(tail=0, seen=0, channel="lab")
    conversation.received(said(b"1", Welcome(name=ME, server="s", token="", logs=[state])), 0.0)
    conversation.received(Message("chat/channels/lab", JsonLines.encode(entry(1))), 0.0)
    conversation.take_frames()
    for name in ("bob", "mallory", ME):
        body = msgspec.json.encode({"user": name, "online": True})
        conversation.received(Message(f"chat/presence/{name}", body, retained=True), 0.0)
        conversation.received(Message(f"chat/presence/{name}", body), 0.0)
    assert conversation.take_frames() == [Presence("bob", "online")]


def test_an_answer_from_an_earlier_line_is_nobodys() -> None:
    conversation, _ = talk()
    conversation.received(said(b"0", Stored(number=1, channel="lab")), 0.0)
    conversation.received(said(b"0", UserInfo(name="bob", online=True)), 0.0)
    conversation.received(said(b"1", Welcome(name=ME, server="s", token="")), 0.0)
    assert len(conversation.take_frames()) == 1
