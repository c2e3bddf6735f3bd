"""Somebody who makes the server keep ever more: channels, private conversations, sessions. Each has a limit."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.support.clients import Json
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine
from tests.support.waiting import eventually
from wire.clock import now
from wire.frames import Error, Join, Joined, Leave, Msg, Register, Say, Stored
from wire.limits import Limits
from wire.mqtt import V5, V311, Properties

Connect = Callable[..., Json]
RATES = {"new_channels_per_hour": 0, "new_talks_per_hour": 0, "joins_per_minute": 0, "posts_per_second": 0}


def test_the_channels_that_a_user_has_created_are_limited(start_server: StartServer, connect: Connect) -> None:
    """Channels that exist count, with or without members; other users are not hindered."""
    server = start_server(limits=Limits(kept_channels=3, **RATES))
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for at in range(3):
        assert isinstance(alice.request(Join(f"den{at}")), Joined)
        alice.request(Leave(f"den{at}"))
    refused = alice.request(Join("den3"))
    assert (refused.code, refused.error) == (
        "too-many-channels", "3 channels that you have created still exist, which is the limit.",
    )  # fmt: skip
    assert isinstance(bob.request(Join("den3")), Joined)
    assert isinstance(alice.request(Join("den3")), Joined)
    server.chat.cleanup.sweep(now() + 10**12)
    assert isinstance(alice.request(Join("den4")), Joined), "the empty ones have left the store"


def test_the_channels_of_the_server_are_limited(start_server: StartServer, connect: Connect) -> None:
    server = start_server(limits=Limits(all_channels=2, **RATES))
    alice = connect(server.address, "alice")
    for name in ("one", "two"):
        assert isinstance(alice.request(Join(name)), Joined)
    refused = connect(server.address, "bob").request(Join("three"))
    assert (refused.code, refused.error) == ("too-many-channels", "The server has 2 channels, which is the limit.")
    assert isinstance(alice.request(Say("still", "one")), Stored)


def test_the_private_conversations_that_a_guest_has_begun_are_limited(
    start_server: StartServer, connect: Connect
) -> None:
    """Answers to others do not count, and a registered user has no limit."""
    server = start_server(limits=Limits(guest_talks=2, **RATES))
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for at in range(2):
        assert isinstance(alice.request(Msg(f"user{at}", "hi")), Stored)
    refused = alice.request(Msg("user2", "hi"))
    assert isinstance(refused, Error)
    assert (refused.code, "A guest may begin 2 private conversations" in refused.error) == ("too-many-talks", True)
    assert isinstance(alice.request(Msg("user1", "again")), Stored)
    assert isinstance(bob.request(Msg("alice", "hi")), Stored)
    assert isinstance(alice.request(Msg("bob", "answer")), Stored)
    alice.request(Register(password="secret123"))
    assert isinstance(alice.request(Msg("user2", "hi")), Stored)


def _kept(version: int) -> Properties:
    return Properties(session_expiry_interval=600 if version == V5 else None)


@pytest.mark.parametrize("version", [V311, V5])
def test_the_sessions_of_a_user_are_limited(
    start_server: StartServer, mqtt: Callable[..., MqttLine], version: int
) -> None:
    """A new one takes the place of the one whose client was away longest."""
    server = start_server(limits=Limits(sessions_per_user=3))

    def come_and_go(at: int) -> bool:
        line = mqtt(server.address, "oven", version=version, client_id=f"c{at}", clean=False, properties=_kept(version))
        present = line.connack.session_present
        line.subscribe("chat/channels/+")
        line.close()
        eventually(lambda: not server.chat.directory.is_there("oven"), lambda: "the oven is connected")
        eventually(lambda: _away(server, f"oven/c{at}"), lambda: f"{server.chat.store.clients('oven/')}")
        return bool(present)

    assert [come_and_go(at) for at in range(5)] == [False] * 5
    assert [client.key for client in server.chat.store.clients("oven/")] == ["oven/c2", "oven/c3", "oven/c4"]
    assert come_and_go(4)
    assert not come_and_go(0)


def _away(server: object, key: str) -> bool:
    client = server.chat.store.client(key, 0)  # type: ignore[attr-defined]
    return client is not None and client.until is not None


@pytest.mark.parametrize("version", [V311, V5])
def test_without_room_a_session_ends_with_its_connection(
    start_server: StartServer, mqtt: Callable[..., MqttLine], version: int, caplog: pytest.LogCaptureFixture
) -> None:
    """All others are of connected clients. MQTT 5 is told so; the client works."""
    server = start_server(limits=Limits(sessions=2))
    lines = [
        mqtt(server.address, f"oven{at}", version=version, clean=False, properties=_kept(version)) for at in range(3)
    ]
    if version == V5:
        assert [line.connack.properties.session_expiry_interval for line in lines] == [None, None, 0]
    assert len(server.chat.store.clients("")) == 2
    assert re.search(r"limit-reached.*oven2.*sessions", caplog.text)
    lines[2].subscribe("chat/channels/+")
    lines[2].publish("chat/from/oven2/say/lab", b"works", qos=1)
    lines[2].close()
    eventually(lambda: not server.chat.directory.is_there("oven2"), lambda: "the oven is connected")
    assert len(server.chat.store.clients("")) == 2
