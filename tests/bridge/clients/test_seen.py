"""How far a person has seen a channel or a talk, as a program tells it that shows it to them: `from/<me>/seen/…`."""

from __future__ import annotations

from collections.abc import Callable

from server import Server
from tests.support.clients import Json
from tests.support.mqtt import MqttLine
from wire.frames import Delivered, Msg

Mqtt = Callable[..., MqttLine]
Connecting = Callable[..., Json]


def test_seen_by_who_listens_elsewhere(server: Server, mqtt: Mqtt, version: int) -> None:
    """A program may learn from history, or from another connection, what it shows: it need not be subscribed."""
    alice = mqtt(server.address, "alice", version=version)
    for n in range(3):
        alice.do("say/lab", f"{n}")
    alice.subscribe("chat/to/alice/seen/+", "chat/to/alice/error")
    assert alice.ask("seen/lab", "2") == {}
    assert server.chat.store.cursor(server.chat.known_channel("lab").row, "alice") == 2
    assert alice.ask("seen/lab", "900") == {}
    assert server.chat.store.cursor(server.chat.known_channel("lab").row, "alice") == 3
    assert alice.ask("seen/lab", "1") == {}
    assert server.chat.store.cursor(server.chat.known_channel("lab").row, "alice") == 3


def test_seen_tells_the_other_of_a_talk(server: Server, mqtt: Mqtt, connect: Connecting, version: int) -> None:
    bob = connect(server.address, "bob")
    bob.request(Msg("alice", "psst"))
    alice = mqtt(server.address, "alice", version=version)
    alice.subscribe("chat/to/alice/seen/+")
    assert alice.ask("seen/@bob", "1") == {}
    assert bob.expect(Delivered).number == 1


def test_seen_of_what_there_is_not(server: Server, mqtt: Mqtt, version: int) -> None:
    alice, bob = mqtt(server.address, "alice", version=version), mqtt(server.address, "bob")
    bob.do("say/lab", "not for members alone, but alice is none")
    alice.subscribe("chat/to/alice/error")
    for what, code in (("lab", "not-a-member"), ("den", "no-such-channel"), ("@bob", "no-such-user")):
        alice.do(f"seen/{what}", "1")
        assert alice.error()["code"] == code
