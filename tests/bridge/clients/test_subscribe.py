"""Subscriptions over a socket: what is granted, entries once each, and retained messages."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from reporting.formats import FORMATS
from server import Config, Server
from store import StoreError
from tests.support.clients import Json
from tests.support.fixtures import StartProcess, StartServer
from tests.support.mqtt import MqttLine, body
from tests.support.processes import Process, memory
from tests.support.reported import Reported
from tests.support.waiting import DEADLINE, eventually
from wire.frames import Msg
from wire.limits import Limits
from wire.mqtt import (
    V5,
    Disconnect,
    Properties,
    Publish,
    Reason,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)

Mqtt = Callable[..., MqttLine]

Connecting = Callable[..., Json]

_ALL = (Subscription("#"),)


def test_wildcards_match_what_the_user_may_read(
    server: Server, mqtt: Mqtt, alice: MqttLine, connect: Connecting
) -> None:
    everything = mqtt(server.address, "eve")
    assert everything.subscribe("#", "+/+/+/+/+", "chat/to/#", "chat/+/+/msg/+") == (1, 1, 1, 1)
    alice.do("say/lab", "in public")
    alice.do("msg/bob", "in private")
    alice.publish("chat/direct/bob/alice", "live")
    connect(server.address, "bob").request(Msg("eve", "for eve"))
    assert body(everything.message("chat/to/eve/msg/bob"))["text"] == "for eve"
    everything.hear("lab", "in public")
    topics = {packet.topic for packet in everything.messages()}
    assert topics == {
        "chat/server", "chat/presence/eve", "chat/presence/alice", "chat/presence/bob", "chat/channels/lab",
        "chat/channels/lab/text", "chat/to/eve/msg/bob",
    }  # fmt: skip
    assert not [packet for packet in everything.messages() if b"private" in packet.payload]


def test_overlapping_subscriptions_bring_an_entry_once(alice: MqttLine) -> None:
    alice.subscribe("chat/channels/+", "chat/channels/lab", "chat/#")
    alice.do("say/lab", "once")
    alice.hear("lab", "once")
    alice.do("say/lab", "the end")
    alice.hear("lab", "the end")
    assert alice.texts("lab") == ["once", "the end"]


def test_reasons_of_suback_and_unsuback(server: Server, mqtt: Mqtt, version: int) -> None:
    alice = mqtt(server.address, "alice", version=version)
    reasons = alice.subscribe(
        Subscription("chat/channels/lab", 0), Subscription("chat/channels/lab", 2),
        "chat/to/bob/#", "$share/g/chat/channels/lab", "$SYS/#", "chat/from/alice/#",
    )  # fmt: skip
    if version == V5:
        assert reasons == (
            0, 1, Reason.NOT_AUTHORIZED, Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, 1, Reason.NOT_AUTHORIZED
        )  # fmt: skip
        assert alice.unsubscribe("chat/channels/lab", "chat/channels/lab", "chat/to/bob/#") == (
            0, Reason.NO_SUBSCRIPTION_EXISTED, Reason.NO_SUBSCRIPTION_EXISTED,
        )  # fmt: skip
    else:
        assert reasons == (0, 1, 0x80, 0x80, 1, 0x80)


def test_subscription_identifiers_are_not_available(server: Server, mqtt: Mqtt) -> None:
    alice = mqtt(server.address, "alice")
    alice.send(Subscribe(1, (Subscription("#"),), Properties(subscription_identifier=(7,))))
    assert alice.expect(Disconnect).reason == Reason.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED


def test_the_number_of_filters_is_limited(server: Server, mqtt: Mqtt, version: int) -> None:
    alice, most = mqtt(server.address, "alice", version=version), Limits().filters
    names = [f"{n:x}" for n in range(2 * most)]
    assert alice.subscribe(*names[:most], qos=0).count(0) == most
    reasons = alice.subscribe(*names[most:], qos=0)
    assert set(reasons) == {Reason.QUOTA_EXCEEDED if version == V5 else 0x80}
    if version == V5:
        assert "A client has at most" in (alice.suback.properties.reason_string or "")
    alice.unsubscribe(*names[10:most])
    assert alice.subscribe(names[-1], qos=0) == (0,)
    alice.do("say/lab", "still here")


@pytest.mark.parametrize("kind", [Subscribe, Unsubscribe])
def test_a_packet_has_no_more_filters_than_a_client(server: Server, mqtt: Mqtt, kind: type[Any], version: int) -> None:
    """A packet of a megabyte may hold 200,000, which would take 30 MB until they are refused."""
    alice, most = mqtt(server.address, "alice", version=version), Limits().filters
    each = Subscription("a") if kind is Subscribe else "a"
    alice.send(kind(1, (each,) * (most + 1)))
    last = [item for item in alice.until_closed() if isinstance(item, Disconnect)]
    assert [item.reason for item in last] == ([Reason.QUOTA_EXCEEDED] if version == V5 else [])


def test_the_depth_and_length_of_a_filter_are_limited(server: Server, mqtt: Mqtt, version: int) -> None:
    """A filter of 65 KB with 32,000 levels took 8 MB of memory."""
    alice, limits = mqtt(server.address, "alice", version=version), Limits()
    deep, long = "/" * (limits.topic_levels - 1), "x" * limits.topic_bytes
    bad = Reason.TOPIC_FILTER_INVALID if version == V5 else 0x80
    assert alice.subscribe(deep, f"{deep}/", f"{deep[:-1]}/#", f"{deep}/#", long, f"{long}x", "é" * len(long)) == (
        1, bad, 1, bad, 1, bad, bad,
    )  # fmt: skip
    if version == V5:
        assert alice.suback.properties.reason_string == (
            f"A topic filter has at most {limits.topic_levels} levels and {limits.topic_bytes} bytes here."
        )
    alice.subscribe(*["+/" * 32_000 + "#"] * 10)
    alice.do("say/lab", "still here")


@pytest.mark.parametrize("topic_filter", ["chat/to/bob/\n\x1b[2J" + "\U0001f600" * 200, 'é\u202e"' * 900 + "/x" * 40])
def test_a_refused_filter_is_short_in_the_log(
    server: Server, mqtt: Mqtt, reported: Reported, topic_filter: str, version: int
) -> None:
    """And in printable ASCII, in both forms: 200 characters were written as 2,400."""
    alice = mqtt(server.address, "alice", version=version)
    assert alice.subscribe(topic_filter)[0] >= 0x80
    (record,) = [each for each in reported.records if each.levelno == logging.WARNING]
    for form in FORMATS.values():
        line = form(record)
        assert re.fullmatch(r"[ -~]+", line)
        assert len(line) < 500


def test_the_sentence_is_left_out_if_the_client_wants_none(server: Server, mqtt: Mqtt) -> None:
    """Request Problem Information (5 §3.1.2.11.7)."""
    alice = mqtt(server.address, "alice", properties=Properties(request_problem_information=0))
    assert alice.subscribe("/" * 100) == (Reason.TOPIC_FILTER_INVALID,)
    assert alice.suback.properties.reason_string is None


def test_the_memory_of_filters_is_limited(start_server: StartServer, mqtt: Mqtt) -> None:
    server = start_server(limits=Limits(filter_bytes=100_000))
    alice = mqtt(server.address, "alice")
    deep = [f"{n}{'/x' * 30}" for n in range(20)]
    reasons = alice.subscribe(*deep)
    granted = reasons.count(1)
    assert 5 < granted < 15
    assert set(reasons[granted:]) == {Reason.QUOTA_EXCEEDED}
    alice.unsubscribe(*deep)
    assert alice.subscribe(*deep) == reasons, "what is unsubscribed takes nothing"


@pytest.mark.parametrize(
    ("limits", "more"),
    [
        (
            {"filter_bytes_per_address": 1_000_000},
            (
                "; those of one address at most 1000000 and those of all clients at most 134217728,"
                " with those of kept sessions"
            ),
        ),
        ({"filter_bytes_per_address": 0}, "; those of all clients at most 134217728, with those of kept sessions"),
        ({"filter_bytes_per_address": 0, "all_filter_bytes": 0}, ""),
    ],
)
def test_the_refusal_of_a_filter_names_the_limits_that_there_are(
    start_server: StartServer, mqtt: Mqtt, limits: dict[str, int], more: str
) -> None:
    alice = mqtt(start_server(limits=Limits(filters=1, **limits)).address, "alice")
    assert alice.subscribe("one") == (1,)
    assert alice.subscribe("two") == (Reason.QUOTA_EXCEEDED,)
    assert alice.suback.properties.reason_string == (
        f"A client has at most 1 filters here, which take at most 3145728 bytes{more}."
    )


def test_the_memory_of_the_filters_of_an_address_is_limited(start_server: StartServer, mqtt: Mqtt) -> None:
    """190 guests on one address took more than 400 MB. What is unsubscribed, or has left, takes nothing."""
    server = start_server(limits=Limits(filter_bytes=100_000, filter_bytes_per_address=250_000))
    deep = [f"{n}{'/x' * 30}" for n in range(20)]
    most = mqtt(server.address, "alice").subscribe(*deep).count(1)
    bob = mqtt(server.address, "bob")
    assert bob.subscribe(*deep).count(1) == most
    carol = mqtt(server.address, "carol")
    reasons = carol.subscribe(*deep)
    assert 0 < reasons.count(1) < most
    assert set(reasons) == {1, Reason.QUOTA_EXCEEDED}
    assert "those of one address at most 250000" in (carol.suback.properties.reason_string or "")
    assert mqtt(server.address, "dora", source="127.0.0.2").subscribe(*deep).count(1) == most
    bob.unsubscribe(*deep)
    assert carol.subscribe(*deep).count(1) == most
    carol.disconnect()
    eventually(lambda: server.chat.directory.find("carol") is None, lambda: "carol is there")
    assert bob.subscribe(*deep).count(1) == most


def test_the_memory_of_all_filters_is_limited(start_server: StartServer, mqtt: Mqtt) -> None:
    server = start_server(limits=Limits(filter_bytes=100_000, all_filter_bytes=150_000))
    deep = [f"{n}{'/x' * 30}" for n in range(20)]
    most = mqtt(server.address, "alice").subscribe(*deep).count(1)
    assert 0 < mqtt(server.address, "bob", source="127.0.0.2").subscribe(*deep).count(1) < most


_DEEP = [f"{n}{'/x' * 30}" for n in range(20)]
_KEPT: dict[str, Any] = {"clean": False, "properties": Properties(session_expiry_interval=100)}


def _leave(server: Server, line: MqttLine) -> None:
    key = next(key for key in server._mqtt.registry._connected if key.startswith(f"{line.name}/"))
    line.disconnect()
    eventually(lambda: key in server._mqtt.registry._away, lambda: f"{line.name} is there")


def _taken(server: Server) -> int:
    """Return the bytes of memory that the filters of all connected clients take."""
    clients: Any = server._mqtt.registry._connected
    return sum(client._subscriptions._filters.bytes for client in clients.values())


def test_sessions_that_are_kept_come_back_with_no_more_memory_than_the_limit(
    start_server: StartServer, mqtt: Mqtt
) -> None:
    """200 guests who came one after the other took 600 MB when they came back. The first ones make room."""
    server = start_server(limits=Limits(filter_bytes=100_000, filter_bytes_per_address=250_000))
    granted: dict[str, int] = {}
    for at in range(6):
        line = mqtt(server.address, f"guest{at}", **_KEPT)
        granted[line.name] = line.subscribe(*_DEEP).count(1)
        _leave(server, line)
    most = granted["guest0"]
    assert list(granted.values()) == [most] * 6, "a guest who is away hinders nobody"
    lines = [mqtt(server.address, name, **_KEPT) for name in granted]
    assert [line.connack.session_present for line in lines] == [False] * 4 + [True] * 2
    assert 150_000 < _taken(server) <= 250_000
    for line in lines[4:]:
        assert line.unsubscribe(*_DEEP).count(0) == most
    assert lines[0].subscribe(*_DEEP).count(1) == most
    assert _taken(server) <= 250_000


@pytest.mark.parametrize("limit", ["filter_bytes_per_address", "all_filter_bytes"])
def test_a_kept_session_counts_while_its_client_is_away(start_server: StartServer, mqtt: Mqtt, limit: str) -> None:
    """That of a registered user stays, so that it comes back as it was; without room, new filters are refused."""
    server = start_server(limits=Limits(filter_bytes=100_000, **{limit: 120_000}))
    alice = mqtt(server.address, "alice", **_KEPT)
    server.chat.store.set_password("alice", "hash")
    most = alice.subscribe(*_DEEP).count(1)
    _leave(server, alice)
    bob, carol = mqtt(server.address, "bob"), mqtt(server.address, "carol", **_KEPT)
    few = bob.subscribe(*_DEEP).count(1)
    assert 0 < few < most
    assert "with those of kept sessions" in (bob.suback.properties.reason_string or "")
    bob.unsubscribe(*_DEEP)
    assert carol.subscribe(*_DEEP).count(1) == few
    _leave(server, carol)
    assert bob.subscribe(*_DEEP).count(1) == few, "carol is a guest"
    assert server.chat.store.client("alice/alice-line", 0) is not None
    assert server.chat.store.client("carol/carol-line", 0) is None
    assert set(server._mqtt.registry._away) == {"alice/alice-line"}


def test_a_session_that_has_ended_counts_no_longer(start_server: StartServer, mqtt: Mqtt) -> None:
    """After its time, after a clean start, after a DISCONNECT that ends it, and where it makes room for a session."""
    server = start_server(limits=Limits(filter_bytes=100_000, filter_bytes_per_address=120_000, sessions_per_user=1))
    budget = server._mqtt.filter_budget

    def come(expiry: int = 100, **fields: Any) -> MqttLine:
        line = mqtt(
            server.address, "alice", clean=False, properties=Properties(session_expiry_interval=expiry), **fields
        )
        line.subscribe(*_DEEP)
        return line

    def nothing_counts() -> None:
        eventually(lambda: budget._all == 0, lambda: f"{budget._all} bytes")

    _leave(server, come())
    kept = budget._all
    assert kept > 50_000
    _leave(server, come(client_id="other"))
    assert budget._all == kept, "one session for each user"
    assert set(server._mqtt.registry._away) == {"alice/other"}
    mqtt(server.address, "alice", client_id="other").disconnect()
    nothing_counts()
    come().disconnect(expiry=0)
    nothing_counts()
    come(expiry=1).disconnect()
    nothing_counts()
    assert (budget._kept, budget._ends, budget._ends_by_network, budget._by_network) == ({}, [], {}, {})


@pytest.mark.parametrize("failing", ["part_client", "save_client"])
def test_a_session_whose_store_call_has_failed_counts_no_longer(
    start_server: StartServer, mqtt: Mqtt, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """It is not kept as one that is away, or not kept at all; it counted until the server's next start."""
    server = start_server(limits=Limits(filter_bytes=100_000, filter_bytes_per_address=120_000))
    budget, store = server._mqtt.filter_budget, server.chat.store
    alice = mqtt(server.address, "alice", **_KEPT)
    alice.subscribe(*_DEEP)
    if failing == "save_client":
        _leave(server, alice)

    def fails(*_: object) -> bool:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(store, failing, fails)
    if failing == "part_client":
        alice.close()
    else:
        mqtt(server.address, "alice", **{**_KEPT, "clean": True}, refused=True)
    eventually(lambda: not budget._all, lambda: f"{budget._all} bytes")
    assert (budget._kept, budget._by_network) == ({}, {})


def test_a_session_that_is_back_from_another_address_counts_there(start_server: StartServer, mqtt: Mqtt) -> None:
    server = start_server(limits=Limits(filter_bytes=100_000, filter_bytes_per_address=120_000))
    alice = mqtt(server.address, "alice", **_KEPT)
    most = alice.subscribe(*_DEEP).count(1)
    _leave(server, alice)
    assert mqtt(server.address, "alice", source="127.0.0.2", **_KEPT).connack.session_present
    assert mqtt(server.address, "bob").subscribe(*_DEEP).count(1) == most
    assert 0 < mqtt(server.address, "carol", source="127.0.0.2").subscribe(*_DEEP).count(1) < most


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_kept_sessions_count_after_a_restart(start_process: StartProcess, tmp_path: Path, mqtt: Mqtt, how: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("limits: {filter_bytes: 100_000, filter_bytes_per_address: 120_000}")
    process = start_process("--config", str(config))
    alice = mqtt(process.address, "alice", **_KEPT)
    alice.do("register", '{"password": "secret123"}')
    most = alice.subscribe(*_DEEP).count(1)
    if how == "kill":
        process.kill()
    else:
        process.stop()
    process.start()
    bob = mqtt(process.address, "bob")
    assert 0 < bob.subscribe(*_DEEP).count(1) < most
    alice = mqtt(process.address, "alice", password=b"secret123", **_KEPT)
    assert alice.unsubscribe(*_DEEP).count(0) == most
    assert bob.subscribe(*_DEEP).count(1) == most


def test_long_filters_take_little_memory(process: Process, mqtt: Mqtt) -> None:
    alice = mqtt(process.address, "alice")
    before = memory(process.pid)
    for at in range(100):
        alice.subscribe(*[f"{at}/{n}" + "/+" * 31_000 for n in range(10)])
        alice.subscribe(*[f"{at}/{n}" + "/+" * 28 for n in range(10)])
    assert memory(process.pid) < before + (16 << 20)


def test_a_packet_gets_each_retained_message_once(server: Server, mqtt: Mqtt, connect: Connecting) -> None:
    """A SUBSCRIBE with 5,000 times `#` was answered by 19.7 MB."""
    for n in range(20):
        connect(server.address, f"user{n}")
    alice = mqtt(server.address, "alice")
    alice.subscribe(*["#", "+/#", "chat/presence/+", "chat/presence/user7", "chat/server"] * 400)
    alice.ping()
    topics = [packet.topic for packet in alice.messages()]
    assert len(topics) == len(set(topics)) == 20 + 2
    alice.subscribe("#")
    alice.ping()
    assert len(alice.messages()) == 2 * (20 + 2), "another packet gets them again ([MQTT-3.8.4-3])"


def test_a_filter_that_is_subscribed_to_again_costs_no_look_at_the_channels(
    server: Server, mqtt: Mqtt, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = mqtt(server.address, "alice")
    alice.subscribe("#")
    looks = Mock(return_value=[])
    monkeypatch.setattr(server.chat, "all_channels", looks)
    alice.subscribe("#")
    looks.assert_not_called()
    alice.subscribe("#", qos=0)
    looks.assert_called_once()  # the QoS has changed


def test_subscriptions_above_the_rate_wait_and_none_is_lost(start_server: StartServer, mqtt: Mqtt) -> None:
    """Each may cost a look at all channels: 13 bytes asked for that, as often as a client liked."""
    server = start_server(limits=Limits(subscriptions_per_second=20, subscriptions_burst=5, users_per_address=1))
    alice, bob = mqtt(server.address, "alice"), mqtt(server.address, "bob")
    start = time.monotonic()
    alice.send(*[Subscribe(n, _ALL) if n % 2 else Unsubscribe(n, ("#",)) for n in range(1, 22)])
    bob.do("say/lab", "bob is not held up")
    alice.expect(SubAck, lambda packet: packet.packet_id == 21)
    assert time.monotonic() - start >= 0.7, "21 packets, 5 of them at once, 20 a second"
    assert len([packet for packet in alice.received if isinstance(packet, SubAck | UnsubAck)]) == 21


def test_a_client_that_waits_does_not_hold_up_the_end(tmp_path: Path, mqtt: Mqtt) -> None:
    limits = Limits(subscriptions_per_second=1, subscriptions_burst=1)
    server = Server(Config(port=0, mqtt_port=0, data=str(tmp_path / "data"), limits=limits))
    alice = mqtt(server.address, "alice")
    alice.send(*[Subscribe(n, _ALL) for n in range(1, 200)])
    alice.expect(SubAck)
    start = time.monotonic()
    server.close()
    assert time.monotonic() - start < DEADLINE / 2
    alice.until_closed()


def test_a_long_topic_ends_the_connection(server: Server, mqtt: Mqtt, version: int) -> None:
    """64 topic aliases of 64 KB each would take 4 MB."""
    alice, most = mqtt(server.address, "alice", version=version), Limits().topic_bytes
    start = "chat/from/alice/say/"
    alice.publish(start + "x" * (most - len(start)), b"hello")
    alice.send(Publish(start + "x" * (most - len(start) + 1), b"hello", 1, packet_id=9))
    last = [item for item in alice.until_closed() if isinstance(item, Disconnect)]
    assert [item.reason for item in last] == ([Reason.TOPIC_NAME_INVALID] if version == V5 else [])


def test_the_number_of_user_properties_is_limited(server: Server, mqtt: Mqtt) -> None:
    alice, most = mqtt(server.address, "alice"), Limits().user_properties
    for count in (most, most + 1):
        properties = Properties(user_property=(("", ""),) * count)
        alice.send(Publish("chat/direct/bob/alice", b"hello", 1, packet_id=count, properties=properties))
    alice.settle(most, 1)
    assert alice.expect(Disconnect).reason == Reason.QUOTA_EXCEEDED


def test_presence_and_server_state_are_retained(server: Server, mqtt: Mqtt, connect: Connecting, version: int) -> None:
    connect(server.address, "bob")
    alice = mqtt(server.address, "alice", version=version)
    alice.subscribe("chat/presence/+", "chat/server", qos=0)
    for name, door in (("alice", "mqtt"), ("bob", "socket")):
        kept = alice.message(f"chat/presence/{name}")
        assert kept.retain
        assert (body(kept)["online"], body(kept)["doors"]) == (True, [door])
    state = alice.message("chat/server")
    assert (state.payload, state.retain) == (b"online", True)
    carol = connect(server.address, "carol")
    news = alice.message("chat/presence/carol")
    assert not news.retain, "a change is not sent as retained"
    carol.close()
    assert body(alice.message("chat/presence/carol"))["online"] is False
    alice.subscribe("chat/presence/carol", "chat/presence/nobody", "chat/presence/CAROL")
    gone = alice.message("chat/presence/carol")
    assert gone.retain
    assert body(gone)["online"] is False
    alice.ping()
    assert not [packet for packet in alice.inbox if isinstance(packet, Publish)]


def test_options_for_retained_messages(server: Server, mqtt: Mqtt) -> None:
    """Retain Handling and Retain As Published (5 §3.8.3.1)."""
    alice = mqtt(server.address, "alice")
    server_state = "chat/server"
    for handling, expected in ((0, 1), (0, 2), (1, 2), (2, 2)):
        alice.subscribe(Subscription(server_state, 1, retain_handling=handling))
        alice.ping()
        assert len(alice.messages(server_state)) == expected
    alice.unsubscribe(server_state)
    alice.subscribe(Subscription(server_state, 1, retain_handling=1))
    alice.ping()
    assert len(alice.messages(server_state)) == 3
    alice.subscribe(Subscription("chat/presence/+", 0, retain_as_published=True, retain_handling=2))
    mqtt(server.address, "bob")
    assert alice.message("chat/presence/bob").retain


def test_the_retain_flag_of_a_client_is_ignored(server: Server, mqtt: Mqtt, version: int) -> None:
    alice = mqtt(server.address, "alice", version=version)
    for topic in ("chat/from/alice/say/lab", "chat/direct/bob/alice"):
        alice.send(Publish(topic, b"kept?", 1, retain=True, packet_id=3))
        alice.settle(3, 1)
    bob = mqtt(server.address, "bob", version=version)
    bob.subscribe("#")
    alice.do("say/lab", "news")
    assert not bob.hear("lab", "news").retain
    bob.ping()
    assert {packet.topic.split("/")[1] for packet in bob.messages() if packet.retain} == {"server", "presence"}
    assert bob.texts("lab") == ["news"]


def test_the_last_presence_is_true(server: Server, mqtt: Mqtt) -> None:
    """Also of a user who connects and disconnects quickly."""
    watcher = mqtt(server.address, "watcher")
    watcher.subscribe("chat/presence/alice")
    for _ in range(20):
        mqtt(server.address, "alice").reset()
    eventually(lambda: server.chat.directory.find("alice") is None, lambda: "alice is still there")
    mqtt(server.address, "bob").publish("chat/direct/watcher/bob")
    watcher.ping()
    seen = [body(packet)["online"] for packet in watcher.messages("chat/presence/alice")]
    assert not seen[-1]
