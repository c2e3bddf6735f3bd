"""Subscriptions over a socket: what is granted, entries once each, and retained messages."""

from __future__ import annotations

from collections.abc import Callable

from server import Server
from tests.support.clients import Json
from tests.support.mqtt import MqttLine, body
from tests.support.waiting import eventually
from wire.frames import Msg
from wire.mqtt import V5, Disconnect, Properties, Publish, Reason, Subscribe, Subscription

Mqtt = Callable[..., MqttLine]

Connecting = Callable[..., Json]


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


def test_a_large_subscribe_is_quick(server: Server, mqtt: Mqtt, version: int) -> None:
    """A packet of a megabyte: filters over the limit are refused at almost no cost."""
    alice = mqtt(server.address, "alice", version=version)
    filters = [Subscription(f"{n:x}", 0) for n in range(120_000)]
    reasons = alice.subscribe(*filters)
    assert reasons.count(0) == 5_000
    assert len(reasons) == 120_000
    many = [f"{n:x}" for n in range(120_000)]
    alice.unsubscribe(*many[4_000:])
    alice.do("say/lab", "still here")


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
