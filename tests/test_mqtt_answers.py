"""What a client is told of what it did: receipts, errors, and answers where they are wanted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server import Server
from store import StoreError
from tests.conftest import StartServer
from tests.helpers import WatchedStore
from tests.helpers_mqtt import MqttLine, body
from wire.mqtt_codes import V5, Reason
from wire.mqtt_packets import Disconnect, Publish, Subscribe, Subscription
from wire.mqtt_properties import Properties

Mqtt = Callable[..., MqttLine]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_receipts(alice: MqttLine, qos: int) -> None:
    for n in range(1, 4):
        alice.do("say/lab", f"plain {n}", qos)
        stored = body(alice.message("chat/to/alice/stored"))
        assert {key: stored[key] for key in ("channel", "number")} == {"channel": "lab", "number": n}
        assert not str(stored.get("id", "")).startswith("/") or qos == 2
    for _ in range(2):
        alice.do("say/lab", '{"text": "once", "id": "mine"}', qos)
        stored = body(alice.message("chat/to/alice/stored"))
        assert (stored["id"], stored["number"]) == ("mine", 4), "the same number for the same id"


def test_errors_on_both_versions(alice: MqttLine, version: int) -> None:
    for what, payload, code, reason in (
        ("dance", b"", "unknown-command", Reason.TOPIC_NAME_INVALID),
        ("say/a b", b"x", "bad-name", Reason.TOPIC_NAME_INVALID),
        ("say/lab", b"\xff", "bad-frame", Reason.PAYLOAD_FORMAT_INVALID),
        ("say/lab", b"", "empty", Reason.IMPLEMENTATION_SPECIFIC_ERROR),
        ("say/lab", b"x" * 20_000, "too-long", Reason.QUOTA_EXCEEDED),
        ("msg/bob", b"  ", "empty", Reason.IMPLEMENTATION_SPECIFIC_ERROR),
        ("leave/lab2", b"", "no-such-channel", Reason.IMPLEMENTATION_SPECIFIC_ERROR),
        ("topic/lab3", b"", "no-such-channel", Reason.IMPLEMENTATION_SPECIFIC_ERROR),
    ):
        for qos in (0, 1, 2):
            answer = alice.do(what, payload, qos)
            error = alice.error()
            assert (error["code"], error["topic"]) == (code, f"chat/from/alice/{what}")
            if qos and version == V5:
                assert answer.reason == reason
                assert answer.properties.reason_string == error["error"]
            else:
                assert answer.reason == 0
    alice.do("say/lab", "fine")
    assert body(alice.message("chat/to/alice/stored"))["number"] == 1


def test_who_wants_no_words_gets_none(server: Server, mqtt: Mqtt) -> None:
    """Request Problem Information ([MQTT-3.1.2-29]), and a Maximum Packet Size that has no room for them."""
    for properties in (Properties(request_problem_information=0), Properties(maximum_packet_size=30)):
        line = mqtt(server.address, "alice", properties=properties)
        answer = line.do("dance")
        assert (answer.reason, answer.properties) == (Reason.TOPIC_NAME_INVALID, Properties())


def test_the_answer_goes_where_the_response_topic_says(server: Server, mqtt: Mqtt) -> None:
    alice = mqtt(server.address, "alice")
    alice.subscribe("chat/to/alice/#")
    for n, (what, payload) in enumerate(
        (("lookup/alice", ""), ("history/lab", ""), ("who", ""), ("channels", ""), ("say/lab", "x"), ("lookup/zoe", ""))
    ):
        alice.do("join/lab")
        alice.do(what, payload, response_topic=f"chat/to/alice/rpc/{n}", correlation_data=b"\x00\xff")
        answer = alice.message(f"chat/to/alice/rpc/{n}")
        assert answer.properties.correlation_data == b"\x00\xff"
        assert body(answer)
    alice.do("say/a b", "x", response_topic="chat/to/alice/rpc/error", correlation_data=b"7")
    assert body(alice.message("chat/to/alice/rpc/error"))["code"] == "bad-name"
    for elsewhere in ("chat/to/bob/rpc", "chat/channels/lab", "chat/direct/bob/alice", "chat/to/alicex/rpc"):
        alice.do("lookup/alice", response_topic=elsewhere, correlation_data=b"8")
        assert alice.message("chat/to/alice/lookup/alice").properties.correlation_data == b"8"
    quiet = mqtt(server.address, "quiet")
    quiet.subscribe("chat/to/quiet/error")
    quiet.do("lookup/zoe", response_topic="chat/to/quiet/rpc")
    assert quiet.error()["code"] == "no-such-user", "who does not listen there is told in the usual place"


def test_one_client_may_ask_and_another_of_the_same_user_listen(server: Server, mqtt: Mqtt, version: int) -> None:
    """As with mosquitto_pub and mosquitto_sub: what is below `chat/to/<me>/` is for the user, not for a connection."""
    mqtt(server.address, "dev").do("register", '{"password": "secret"}')
    more = {"password": b"secret", "version": version}
    listener = mqtt(server.address, "dev", client_id="sub", **more)
    listener.subscribe("chat/to/dev/#")
    asker = mqtt(server.address, "Dev", client_id="pub", **more)
    other = mqtt(server.address, "other")
    other.subscribe("#")
    for what in ("join/lab", "who", "channels", "lookup/DEV", "topic/lab", "leave/lab", "register"):
        asker.do(what)
        assert body(listener.message(f"chat/to/dev/{what}"))
    for qos in (0, 1, 2):
        for text in ("plain", '{"text": "with an id", "id": "7"}'):
            asker.do("say/lab", text, qos)
            assert body(listener.message("chat/to/dev/stored"))["channel"] == "lab"
    asker.do("say/a b", "x")
    assert listener.error()["code"] == "bad-name"
    asker.subscribe("chat/to/Dev/who")
    asker.do("who")
    asker.message("chat/to/Dev/who")
    listener.message("chat/to/dev/who")
    asker.ping()
    assert {packet.topic for packet in asker.messages()} == {"chat/to/Dev/who"}
    assert not [packet for packet in other.messages() if "/to/" in packet.topic]


def test_nobody_is_sent_what_they_did_not_subscribe_to(server: Server, mqtt: Mqtt, version: int) -> None:
    deaf = mqtt(server.address, "deaf", version=version)
    other = mqtt(server.address, "other")
    other.do("msg/deaf", "psst")
    deaf.do("say/lab", "hello")
    for what in ("join/lab", "who", "channels", "lookup/other", "history/lab", "dance", "register"):
        deaf.do(what)
    other.publish("chat/direct/deaf/other", "live")
    deaf.ping()
    assert deaf.messages() == []


def test_what_could_not_be_stored_is_not_acknowledged(
    start_server: StartServer, stores: list[WatchedStore], mqtt: Mqtt, version: int
) -> None:
    """MQTT 5 is told; 3.1.1 has no word for it, so the connection ends, and the client sends it again."""
    server = start_server()
    listener = mqtt(server.address, "listener")
    listener.subscribe("chat/channels/lab")
    alice = mqtt(server.address, "alice", version=version)
    alice.do("say/lab", "one")

    def full(method: str) -> None:
        if method == "append":
            raise StoreError("the disk is full")

    stores[-1].before = full
    for qos in (1, 2):
        packet_id = alice.fresh_id()
        alice.send(Publish("chat/from/alice/say/lab", b"lost?", qos, packet_id=packet_id))
        if version == V5:
            assert alice.settle(packet_id, qos).reason == Reason.IMPLEMENTATION_SPECIFIC_ERROR
        else:
            assert alice.until_closed() == []
            alice = mqtt(server.address, "alice", version=version)
    stores[-1].before = None
    alice.do("say/lab", "two")
    listener.hear("lab", "two")
    assert listener.texts("lab") == ["one", "two"]


def test_other_trouble_of_the_store_ends_the_connection_with_a_word(
    start_server: StartServer, stores: list[WatchedStore], mqtt: Mqtt, version: int
) -> None:
    server = start_server()
    alice = mqtt(server.address, "alice", version=version)
    alice.ping()

    def broken(method: str) -> None:
        if method in ("memberships", "join", "drop_client"):
            raise StoreError("the disk is full")

    stores[-1].before = broken
    if version == V5:
        assert alice.do("say/lab", "x").reason == Reason.IMPLEMENTATION_SPECIFIC_ERROR
    alice.send(Subscribe(1, (Subscription("#"),)))
    rest = alice.until_closed()
    if version == V5:
        assert isinstance(rest[-1], Disconnect)
        assert rest[-1].reason == Reason.UNSPECIFIED_ERROR
        assert "the disk is full" in (rest[-1].properties.reason_string or "")
    stores[-1].before = None
    mqtt(server.address, "alice", version=version).do("say/lab", "x")
