"""`from/<me>/seen/…`: a program tells up to which number its user has seen a channel or a conversation."""

from __future__ import annotations

from collections.abc import Callable

from server import Server
from tests.support.clients import Json
from tests.support.mqtt import MqttLine
from wire.frames import Delivered, Msg

Mqtt = Callable[..., MqttLine]
Connecting = Callable[..., Json]


def test_seen_without_a_subscription(server: Server, mqtt: Mqtt, version: int) -> None:
    """A program may show entries that it has from the history or from another connection."""
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


def test_seen_is_told_to_the_other_user_of_a_conversation(
    server: Server, mqtt: Mqtt, connect: Connecting, version: int
) -> None:
    bob = connect(server.address, "bob")
    bob.request(Msg("alice", "psst"))
    alice = mqtt(server.address, "alice", version=version)
    alice.subscribe("chat/to/alice/seen/+")
    assert alice.ask("seen/@bob", "1") == {}
    assert bob.expect(Delivered).number == 1


def test_seen_of_an_unknown_log_is_refused(server: Server, mqtt: Mqtt, version: int) -> None:
    alice, bob = mqtt(server.address, "alice", version=version), mqtt(server.address, "bob")
    bob.do("say/lab", "alice is not a member")
    alice.subscribe("chat/to/alice/error")
    for what, code in (("lab", "not-a-member"), ("den", "no-such-channel"), ("@bob", "no-such-user")):
        alice.do(f"seen/{what}", "1")
        assert alice.error()["code"] == code
