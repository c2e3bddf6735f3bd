"""Wills: when they are published, what they may ask, and delayed wills; in both versions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from bridge.clients.wills import Wills
from server import Server
from tests.support.mqtt import MqttLine, body, watch
from tests.support.processes import Process
from tests.support.waiting import DEADLINE
from wire.mqtt import V5, Disconnect, Properties, Reason, Will

Mqtt = Callable[..., MqttLine]


def lost(mqtt: Mqtt, server: Server, name: str, topic: str, payload: bytes, **fields: object) -> MqttLine:
    """Connect a client with a will."""
    delay = fields.pop("delay", None)
    properties = Properties(will_delay_interval=delay) if delay else Properties()  # type: ignore[arg-type]
    return mqtt(server.address, name, will=Will(topic, payload, properties=properties), **fields)


def test_a_lost_connection_publishes_the_will(server: Server, mqtt: Mqtt, version: int) -> None:
    watcher = watch(server, mqtt)
    watcher.do("join/lab")
    lost(mqtt, server, "alice", "chat/from/alice/say/lab", b"lost", version=version).reset()
    assert body(watcher.hear("lab", "lost"))["sender"] == "alice"
    watcher.subscribe("chat/channels/alarms")
    lost(mqtt, server, "alan", "chat/from/alan/say/alarms", b"in a new channel", version=version).reset()
    assert body(watcher.hear("alarms", "in a new channel"))["number"] == 1
    lost(mqtt, server, "bob", "chat/from/bob/msg/watcher", b'{"text": "so long", "id": "w"}', version=version).reset()
    assert body(watcher.message("chat/to/watcher/msg/bob"))["text"] == "so long"
    lost(mqtt, server, "carol", "chat/direct/watcher/carol", b"\x00", version=version).reset()
    assert watcher.message("chat/direct/watcher/carol").payload == b"\x00"
    lost(mqtt, server, "dave", "chat/from/dave/gone", b"", version=version).reset()
    watcher.message("chat/presence/dave", lambda packet: not body(packet)["online"])
    silent = lost(mqtt, server, "erin", "chat/from/erin/say/lab", b"silent", version=version, keep_alive=1)
    watcher.hear("lab", "silent")
    silent.until_closed()
    broken = lost(mqtt, server, "frank", "chat/from/frank/say/lab", b"broken", version=version)
    broken.send_bytes(b"\xff\xff\xff\xff\xff")
    watcher.hear("lab", "broken")


def delayed(server: Server) -> int:
    """Return how many wills wait."""
    wills = server._mqtt.wills
    assert isinstance(wills, Wills)
    return len(wills._delayed)


def test_disconnect_and_gone_drop_the_will(server: Server, mqtt: Mqtt, version: int) -> None:
    watcher = watch(server, mqtt)
    watcher.do("join/lab")
    lost(mqtt, server, "alice", "chat/from/alice/say/lab", b"lost", version=version).disconnect()
    gone = lost(mqtt, server, "bob", "chat/from/bob/say/lab", b"lost", version=version)
    gone.do("gone")
    gone.until_closed()
    if version == V5:
        lost(mqtt, server, "carol", "chat/from/carol/say/lab", b"wanted").disconnect(
            Reason.DISCONNECT_WITH_WILL_MESSAGE
        )
        watcher.hear("lab", "wanted")
        lost(mqtt, server, "dave", "chat/from/dave/say/lab", b"in trouble").disconnect(Reason.UNSPECIFIED_ERROR)
        watcher.hear("lab", "in trouble")
    watcher.do("say/lab", "the end")
    watcher.hear("lab", "the end")
    assert "lost" not in watcher.texts("lab")


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("chat/from/bob/say/lab", b"I am bob"),
        ("chat/channels/lab", b"I am the server"),
        ("chat/to/bob/msg/alice", b"x"),
        ("chat/server", b"offline"),
        ("chat/presence/bob", b"x"),
        ("chat/direct/bob/carol", b"x"),
        ("tele/sonoff/LWT", b"Offline"),
        ("chat/from/alice/say/a b", b"x"),
        ("chat/from/alice/say/lab", b"\xff"),
        ("chat/from/alice/say/lab", b""),
        ("chat/from/alice/say/lab", b"x" * 20_000),
        ("chat/from/alice/leave/lab", b""),
        ("chat/from/alice/register", b'{"password": "mine now"}'),
    ],
)
def test_an_invalid_will_is_refused(server: Server, mqtt: Mqtt, version: int, topic: str, payload: bytes) -> None:
    line = mqtt(server.address, "alice", version=version, will=Will(topic, payload), refused=True)
    assert line.connack.reason == Reason.NOT_AUTHORIZED
    assert "The will: " in (line.connack.properties.reason_string or "The will: ")


def test_a_delayed_will(server: Server, mqtt: Mqtt) -> None:
    """It is published when it is due; dropped if its client connects before; published at once at a clean start."""
    watcher = watch(server, mqtt)
    watcher.do("join/lab")
    keep = Properties(session_expiry_interval=100)
    topic = "chat/from/alice/say/lab"
    lost(mqtt, server, "alice", topic, b"after a second", delay=1, properties=keep).reset()
    watcher.hear("lab", "after a second")
    lost(mqtt, server, "alice", topic, b"never", delay=50, properties=keep).reset()
    watcher.message("chat/presence/alice", lambda packet: not body(packet)["online"])
    back = mqtt(server.address, "alice", clean=False, properties=keep)
    assert back.connack.session_present
    back.disconnect()
    lost(mqtt, server, "alice", topic, b"at a clean start", delay=50, properties=keep).reset()
    mqtt(server.address, "alice").disconnect()
    watcher.hear("lab", "at a clean start")
    lost(mqtt, server, "alice", topic, b"at the end of the session", delay=50).reset()
    watcher.hear("lab", "at the end of the session")
    assert "never" not in watcher.texts("lab")
    assert not delayed(server)


def test_the_will_of_a_connection_that_is_taken_over(server: Server, mqtt: Mqtt) -> None:
    watcher = watch(server, mqtt)
    watcher.do("join/lab")
    keep = Properties(session_expiry_interval=100)
    topic = "chat/from/alice/say/lab"
    first = lost(mqtt, server, "alice", topic, b"lost", properties=keep)
    second = lost(mqtt, server, "alice", topic, b"never", delay=50, properties=keep, clean=False)
    watcher.hear("lab", "lost")
    third = lost(mqtt, server, "alice", topic, b"over", delay=50, properties=keep, clean=False)
    fourth = mqtt(server.address, "alice")
    watcher.hear("lab", "over")
    for line in (first, second, third):
        line.until_closed()
    fourth.ping()
    assert watcher.texts("lab") == ["lost", "over"]
    assert not delayed(server)


@pytest.mark.parametrize("clean", [False, True])
def test_a_delayed_will_that_comes_late_in_a_take_over(
    server: Server, mqtt: Mqtt, monkeypatch: pytest.MonkeyPatch, clean: bool
) -> None:
    """The old connection is about to delay its will when the new one takes it over: the will is dropped, or due."""
    watcher = watch(server, mqtt)
    watcher.do("join/lab")
    keep = Properties(session_expiry_interval=100)
    old = lost(mqtt, server, "alice", "chat/from/alice/say/lab", b"over", delay=50, properties=keep)
    registry, wills = server._mqtt.registry, server._mqtt.wills
    add, parting, lost_now = registry.add, registry.parting, wills.lost
    added, delaying, connected, late = [threading.Event() for _ in range(4)]

    def add_and_wait(*args: Any) -> Any:
        found = add(*args)
        added.set()
        assert delaying.wait(DEADLINE)
        return found

    def wait_and_part(*args: Any) -> Any:
        assert added.wait(DEADLINE)
        return parting(*args)

    def wait_and_delay(*args: Any) -> Any:
        delaying.set()
        assert connected.wait(DEADLINE)
        try:
            return lost_now(*args)
        finally:
            late.set()

    monkeypatch.setattr(registry, "add", add_and_wait)
    monkeypatch.setattr(registry, "parting", wait_and_part)
    monkeypatch.setattr(wills, "lost", wait_and_delay)
    new = mqtt(server.address, "alice", clean=clean, properties=keep)
    connected.set()
    assert late.wait(DEADLINE)
    assert not delayed(server)
    if clean:
        watcher.hear("lab", "over")
    old.until_closed()
    new.do("say/lab", "the end")
    watcher.hear("lab", "the end")
    assert watcher.texts("lab") == (["over", "the end"] if clean else ["the end"])


def test_the_end_of_the_server_publishes_no_will(process: Process, mqtt: Mqtt, version: int) -> None:
    watcher = mqtt(process.address, "watcher", version=version)
    watcher.subscribe("#")
    watcher.do("join/lab")
    mqtt(process.address, "alice", version=version, will=Will("chat/from/alice/say/lab", b"lost"))
    assert process.stop() == 0
    rest = watcher.until_closed()
    assert watcher.messages("chat/server")[-1].payload == b"offline"
    assert watcher.texts("lab") == []
    if version == V5:
        assert [item.reason for item in rest if isinstance(item, Disconnect)] == [Reason.SERVER_SHUTTING_DOWN]
    process.start()
    again = mqtt(process.address, "watcher")
    again.subscribe("chat/server", "chat/channels/lab")
    assert again.message("chat/server").payload == b"online"
