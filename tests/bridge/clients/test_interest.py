"""A login, a departure, a live message and a new channel cost the clients that they concern, not all that are there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.clients.interest import EVERY, Interest, InterestIndex
from bridge.clients.session import MqttSession
from server import Server
from tests.support.clients import Json
from tests.support.mqtt import MqttLine
from tests.support.waiting import eventually
from wire.frames import Join

Mqtt = Callable[..., MqttLine]
_STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.sampled_from(["x", "y", EVERY])), max_size=40)


@given(steps=_STEPS, ended=st.sampled_from("abc"))
def test_an_index_finds_who_has_a_filter_for_a_name(steps: list[tuple[bool, str, str]], ended: str) -> None:
    index: InterestIndex[str] = InterestIndex()
    interests = {client: Interest(index, client) for client in "abc"}
    filters: list[tuple[str, str]] = []
    for subscribes, client, name in steps:
        if subscribes:
            interests[client].subscribed(name)
            filters.append((client, name))
        elif (client, name) in filters:
            interests[client].unsubscribed(name)
            filters.remove((client, name))
    interests[ended].end()
    filters = [each for each in filters if each[0] != ended]
    for name in "xyz":
        assert sorted(index.of(name)) == sorted({client for client, wanted in filters if wanted in (name, EVERY)})
    for client in "abc":
        interests[client].end()
    assert not index._by_name


def test_a_filter_that_matches_no_name_is_not_counted() -> None:
    index: InterestIndex[str] = InterestIndex()
    interest = Interest(index, "a")
    interest.subscribed("")
    interest.unsubscribed("")
    assert not index._by_name


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The clients that the server asks for a subscription, each with the topic or channel in question."""
    found: list[tuple[str, str]] = []
    send, made = MqttSession.send_message, MqttSession.channel_made

    def send_message(self: MqttSession, topic: str, payload: bytes, **options: bool) -> None:
        found.append((self.me, topic))
        send(self, topic, payload, **options)  # type: ignore[arg-type]

    def channel_made(self: MqttSession, log: object) -> None:
        found.append((self.me, "a new channel"))
        made(self, log)  # type: ignore[arg-type]

    monkeypatch.setattr(MqttSession, "send_message", send_message)
    monkeypatch.setattr(MqttSession, "channel_made", channel_made)
    return found


def test_a_login_and_a_departure_ask_only_who_reads_that_presence(
    server: Server, mqtt: Mqtt, connect: Callable[..., Json], asked: list[tuple[str, str]]
) -> None:
    for n in range(20):
        mqtt(server.address, f"idle{n}").subscribe(f"chat/to/idle{n}/#", "chat/channels/lab")
    every, one, other = (mqtt(server.address, name) for name in ("every", "one", "other"))
    every.subscribe("chat/presence/+")
    one.subscribe("chat/presence/alice", "+/presence/alice")
    other.subscribe("chat/presence/bob")
    for watcher in (every, one):
        watcher.ping()  # it has all retained messages; one that is made while alice logs in would be about her
    asked.clear()
    with connect(server.address, "alice"):
        for watcher in (every, one):
            assert b'"online":true' in watcher.message("chat/presence/alice").payload
    for watcher in (every, one):
        assert b'"online":false' in watcher.message("chat/presence/alice").payload
    one.unsubscribe("chat/presence/alice")
    with connect(server.address, "alice"):
        for watcher in (every, one):
            assert b'"online":true' in watcher.message("chat/presence/alice").payload
    every.message("chat/presence/alice")
    assert {name for name, _ in asked} == {"every", "one"}


def test_a_new_channel_asks_only_who_reads_it(
    server: Server, mqtt: Mqtt, connect: Callable[..., Json], asked: list[tuple[str, str]]
) -> None:
    for n in range(20):
        mqtt(server.address, f"idle{n}").subscribe(f"chat/to/idle{n}/#", "chat/presence/nobody", "chat/channels/other")
    mqtt(server.address, "every").subscribe("chat/#")
    mqtt(server.address, "one").subscribe("chat/channels/den/text")
    alice = connect(server.address, "alice")
    asked.clear()
    alice.request(Join("den"))
    assert sorted(asked) == [("every", "a new channel"), ("one", "a new channel")]


def test_a_client_that_has_left_is_in_no_index(server: Server, mqtt: Mqtt) -> None:
    watcher = mqtt(server.address, "watcher")
    watcher.subscribe("#", "chat/presence/bob", "chat/channels/lab")
    registry = server._mqtt.registry
    assert len(registry.presence.of("bob")) == len(registry.channels.of("lab")) == 1
    watcher.disconnect()
    watcher.until_closed()
    eventually(
        lambda: not (registry.presence._by_name or registry.channels._by_name or registry._by_user),
        lambda: f"{registry.presence._by_name} {registry.channels._by_name} {registry._by_user}",
    )
