"""CONNECT over a socket: names, passwords, take-over and keep-alive, in both versions where they agree."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from channels import take_name
from server import Server
from tests.support.clients import Json, Text
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine, body, watch
from tests.support.stores import WatchedStore
from tests.support.waiting import DEADLINE, eventually
from wire.errors import Refused
from wire.frames import Presence, Register
from wire.limits import Limits
from wire.mqtt import V5, V311, Auth, ConnAck, Connect, Disconnect, PingReq, Properties, Publish, Reason

Mqtt = Callable[..., MqttLine]
Connecting = Callable[..., Json]


# Names


def test_the_user_name_is_the_name(server: Server, mqtt: Mqtt, connect: Connecting, version: int) -> None:
    alice = mqtt(server.address, "alice", version=version)
    assert not alice.connack.session_present
    person = connect(server.address, "bob")
    alice.do("say/lab", "hello")
    assert server.chat.whois("alice").doors == ["mqtt"]
    assert person.request(Register("secret-word")).name == "bob"


def test_a_name_that_is_registered_amid_a_login_takes_its_password(
    server: Server, mqtt: Mqtt, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of `mosquitto_pub` that registers a name, and `mosquitto_sub` that starts at once with the password."""
    looks: list[bool] = []

    def registered_meanwhile(*arguments: Any, proven: bool) -> None:
        looks.append(proven)
        if len(looks) == 1:
            with Json(server.address, "oven") as oven:
                oven.request(Register("breadcrumbs"))
        take_name(*arguments, proven=proven)

    monkeypatch.setattr("bridge.clients.connect.take_name", registered_meanwhile)
    mqtt(server.address, "oven", version=version, password=b"breadcrumbs").do("say/lab", "here")
    assert looks[0] is False
    assert looks[-1] is True


def test_an_invalid_name_and_a_taken_name_are_refused(
    server: Server, mqtt: Mqtt, connect: Connecting, version: int
) -> None:
    connect(server.address, "bob")
    mqtt(server.address, "carol")
    for name, reason in (
        ("a/b", Reason.BAD_USER_NAME_OR_PASSWORD),
        ("+", Reason.BAD_USER_NAME_OR_PASSWORD),
        ("x" * 33, Reason.BAD_USER_NAME_OR_PASSWORD),
        ("", Reason.BAD_USER_NAME_OR_PASSWORD),
        ("bob", Reason.NOT_AUTHORIZED),
        ("BOB", Reason.NOT_AUTHORIZED),
    ):
        line = mqtt(server.address, name, version=version, refused=True, client_id="c")
        assert line.connack.reason == reason, name
        assert bool(line.connack.properties.reason_string) is (version == V5)
        assert line.until_closed() == []
    other = mqtt(server.address, "carol", version=version, refused=True, client_id="another")
    assert other.connack.reason == Reason.NOT_AUTHORIZED


def test_a_registered_name_takes_its_password(server: Server, mqtt: Mqtt, connect: Connecting, version: int) -> None:
    with connect(server.address, "alice") as person:
        person.request(Register("secret-word"))
    for password in (None, b"", b"wrong", b"x" * 30_000, b"\xff"):
        if password is None or version == V5 or password:
            line = mqtt(server.address, "alice", version=version, refused=True, password=password)
            assert line.connack.reason == Reason.BAD_USER_NAME_OR_PASSWORD
    mqtt(server.address, "Alice", version=version, password=b"secret-word").do("say/lab", "it is me")


def test_registering_by_mqtt(server: Server, mqtt: Mqtt, connect: Connecting, version: int) -> None:
    alice = mqtt(server.address, "alice", version=version)
    alice.subscribe("chat/to/alice/#")
    assert alice.ask("register")["name"] == "alice"
    assert "registered" not in alice.ask("register")
    alice.do("register", '{"password": "x"}')
    assert alice.error()["code"] == "bad-password"
    assert alice.ask("register", '{"password": "secret-word"}') == {"name": "alice"}
    assert alice.ask("register")["registered"] is True
    alice.do("register", '{"password": "another"}')
    assert alice.error()["code"] == "not-allowed", "whoever took over a connection must not take over the name"
    alice.disconnect()
    assert mqtt(server.address, "alice", version=version, refused=True).connack.reason
    mqtt(server.address, "alice", version=version, password=b"secret-word")
    connect(server.address, "alice", password="secret-word")


def test_a_guest_has_its_client_id_as_its_name(server: Server, mqtt: Mqtt, connect: Connecting, version: int) -> None:
    watcher = watch(server, mqtt, "chat/presence/+")
    mqtt(server.address, client_id="sensor-7", version=version)
    watcher.message("chat/presence/sensor-7")
    connect(server.address, "bob")
    with connect(server.address, "carol") as carol:
        carol.request(Register("secret-word"))
    watcher.message("chat/presence/carol", lambda packet: not body(packet)["online"])
    for client_id in ("bob", "Carol", "with/slash", "mosq pub", "x" * 33, "ü"):
        guest = mqtt(server.address, client_id=client_id, version=version)
        name = body(watcher.message("", lambda packet: packet.topic.startswith("chat/presence/guest-")))["user"]
        guest.name = name
        assert guest.do("say/lab", "hello").reason == 0


def test_the_server_assigns_a_client_id(server: Server, mqtt: Mqtt) -> None:
    five = mqtt(server.address, client_id="")
    assigned = five.connack.properties.assigned_client_identifier
    assert assigned
    assert mqtt(server.address, client_id="").connack.properties.assigned_client_identifier != assigned
    mqtt(server.address, client_id="", version=V311)
    refused = mqtt(server.address, client_id="", clean=False, version=V311, refused=True)
    assert refused.connack.reason == Reason.CLIENT_IDENTIFIER_NOT_VALID


def test_a_client_id_is_limited_in_length(server: Server, mqtt: Mqtt, version: int) -> None:
    mqtt(server.address, "alice", client_id="x" * 256, version=version)
    line = mqtt(server.address, "bob", client_id="x" * 257, version=version, refused=True)
    assert line.connack.reason == Reason.CLIENT_IDENTIFIER_NOT_VALID


def test_topics_have_the_name_as_the_client_writes_it(server: Server, mqtt: Mqtt, connect: Connecting) -> None:
    """The chat shows the name as it was first written."""
    connect(server.address, "Alice").close()
    eventually(lambda: server.chat.directory.find("alice") is None, lambda: "Alice is still there")
    alice, bob = mqtt(server.address, "alice"), mqtt(server.address, "bob")
    alice.subscribe("chat/to/alice/#", "chat/direct/alice/+", "chat/channels/+")
    bob.do("msg/ALICE", "psst")
    assert body(alice.message("chat/to/alice/msg/bob"))["to"] == "Alice"
    alice.do("say/lab", '{"text": "hello", "id": "1"}')
    assert body(alice.message("chat/to/alice/stored"))["id"] == "1"
    assert body(alice.message("chat/channels/lab"))["sender"] == "Alice"
    bob.publish("chat/direct/aLiCe/bob", "live")
    assert alice.message("chat/direct/alice/bob").payload == b"live"
    assert alice.ask("lookup/BOB")["name"] == "bob"


def test_properties_of_a_connack(server: Server, mqtt: Mqtt) -> None:
    told = mqtt(server.address, "alice", properties=Properties(request_response_information=1)).connack.properties
    assert told.response_information == "chat/to/alice"
    assert told.maximum_packet_size == Limits().payload
    assert told.topic_alias_maximum == 64
    assert (told.shared_subscription_available, told.subscription_identifier_available) == (0, 0)
    assert dict(told.user_property)["name"] == "alice"
    assert told.assigned_client_identifier is None
    plain = mqtt(server.address, "bob").connack.properties
    assert plain.response_information is None
    small = mqtt(server.address, "carol", properties=Properties(maximum_packet_size=40)).connack
    assert small.properties.user_property == ()


def test_other_authentication_methods_are_refused(server: Server, mqtt: Mqtt) -> None:
    line = mqtt(server.address, "alice", refused=True, properties=Properties(authentication_method="SCRAM"))
    assert line.connack.reason == Reason.BAD_AUTHENTICATION_METHOD
    bob = mqtt(server.address, "bob")
    bob.send(Auth(Reason.RE_AUTHENTICATE, Properties(authentication_method="SCRAM")))
    assert bob.expect(Disconnect).reason == Reason.PROTOCOL_ERROR


def test_a_second_connect_ends_the_connection(server: Server, mqtt: Mqtt, version: int) -> None:
    alice = mqtt(server.address, "alice", version=version)
    alice.send(Connect(version=version, client_id="x", username="bob"))
    ends = alice.until_closed()
    if version == V5:
        assert isinstance(ends[0], Disconnect)
        assert ends[0].reason == Reason.PROTOCOL_ERROR
    else:
        assert ends == []
    mqtt(server.address, "alice", version=version)


# Take-over


def test_a_client_that_connects_again_takes_its_connection_over(server: Server, mqtt: Mqtt, version: int) -> None:
    watcher = watch(server, mqtt, "chat/presence/alice", "chat/channels/lab")
    old = mqtt(server.address, "alice", version=version)
    old.do("say/lab", "from the first")
    new = mqtt(server.address, "alice", version=version)
    ends = old.until_closed()
    if version == V5:
        assert [item.reason for item in ends if isinstance(item, Disconnect)] == [Reason.SESSION_TAKEN_OVER]
    new.do("say/lab", "from the second")
    watcher.hear("lab", "from the second")
    assert len(watcher.messages("chat/presence/alice")) == 1, "alice was online all the time"
    new.disconnect()
    watcher.message("chat/presence/alice", lambda packet: not body(packet)["online"])


def test_a_client_that_connects_again_while_its_first_login_goes_on_takes_it_over(
    server: Server, stores: list[WatchedStore], mqtt: Mqtt, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not had its CONNACK in time: a slow server reads both CONNECTs at once."""
    again = mqtt(server.address, "alice", connect=False, version=version)
    decided = threading.Event()  # the second connection waits for the first, or was refused the name
    registry = server._mqtt.registry
    logging_in = registry.logging_in

    def waiting(*client: str) -> AbstractContextManager[None]:
        if client in registry._logging_in:
            decided.set()
        return logging_in(*client)

    def taking(*arguments: Any, **named: Any) -> object:
        try:
            return take_name(*arguments, **named)
        except Refused:
            decided.set()
            raise

    def before(method: str) -> None:
        """The first has the name, and is about to read its channels."""
        if method == "memberships":
            stores[0].before = None
            again.send(Connect(version=version, username="alice", client_id="alice-line"))
            assert decided.wait(DEADLINE)

    monkeypatch.setattr(registry, "logging_in", waiting)
    monkeypatch.setattr("bridge.clients.connect.take_name", taking)
    stores[0].before = before
    first = mqtt(server.address, "alice", version=version)
    assert again.expect(ConnAck).reason == Reason.SUCCESS
    first.until_closed()
    again.do("say/lab", "hello")


def test_a_login_waits_for_a_client_that_has_just_hung_up(server: Server, mqtt: Mqtt, version: int) -> None:
    """mosquitto_pub exits before the server has seen the end of its connection, and has a new client id each time."""
    for n in range(20):
        line = MqttLine(server.address, "oven", version=version, client_id=f"mosq-{n}")
        line.do("say/lab", f"{n}")
        line.send(Disconnect())
        line.close()
    held = mqtt(server.address, "oven", version=version, client_id="stays")
    assert mqtt(server.address, "oven", version=version, refused=True).connack.reason == Reason.NOT_AUTHORIZED
    elsewhere = mqtt(server.address, "oven", version=version, refused=True, source="127.0.0.2")
    assert elsewhere.connack.reason == Reason.NOT_AUTHORIZED
    held.ping()


def test_a_guest_at_another_address_is_another_guest(server: Server, mqtt: Mqtt, version: int) -> None:
    """Everybody can see a guest's name, so name and client id prove nothing."""
    alice = mqtt(server.address, "alice", client_id="phone", version=version)
    thief = mqtt(server.address, "alice", client_id="phone", version=version, source="127.0.0.2", refused=True)
    assert thief.connack.reason == Reason.NOT_AUTHORIZED
    sensor = mqtt(server.address, client_id="sensor", version=version)
    other = mqtt(server.address, client_id="sensor", version=version, source="127.0.0.2")
    other.name = sensor.name = "sensor"
    other.subscribe("chat/channels/lab")
    if version == V5:
        assert other.do("say/lab", "I am the sensor").reason == Reason.NOT_AUTHORIZED
    else:
        other.do("say/lab", "I am the sensor")
    sensor.do("say/lab", "I am")
    other.hear("lab", "I am")
    assert other.texts("lab") == ["I am"]
    alice.do("say/lab", "still here")


def test_two_users_may_have_the_same_client_id(server: Server, mqtt: Mqtt, version: int) -> None:
    alice = mqtt(server.address, "alice", client_id="phone", version=version, clean=False)
    bob = mqtt(server.address, "bob", client_id="phone", version=version, clean=False)
    assert not bob.connack.session_present
    for line in (alice, bob):
        line.ping()
        line.do("say/lab", "here")


def test_a_registered_user_has_many_clients(server: Server, mqtt: Mqtt, version: int) -> None:
    mqtt(server.address, "alice").do("register", '{"password": "secret-word"}')
    phone = mqtt(server.address, "alice", client_id="phone", password=b"secret-word", version=version)
    desk = mqtt(server.address, "alice", client_id="desk", password=b"secret-word", version=version, source="127.0.0.2")
    for line in (phone, desk):
        line.subscribe("chat/to/alice/msg/+")
    mqtt(server.address, "bob").do("msg/alice", "psst")
    for line in (phone, desk):
        assert body(line.message("chat/to/alice/msg/bob"))["text"] == "psst"
    again = mqtt(server.address, "alice", client_id="desk", password=b"secret-word", version=version)
    desk.until_closed()
    for line in (phone, again):
        line.ping()
    assert mqtt(server.address, "alice", client_id="desk", version=version, refused=True).connack.reason
    again.ping()


# Keep-alive and the time to log in


def test_a_client_may_be_silent_for_one_and_a_half_times_its_keep_alive(
    server: Server, mqtt: Mqtt, version: int
) -> None:
    silent = mqtt(server.address, "silent", keep_alive=2, version=version)
    start = time.monotonic()
    lively = mqtt(server.address, "lively", keep_alive=2, version=version)
    patient = mqtt(server.address, "patient", version=version)
    silent.socket.settimeout(0.5)
    ends = b""
    while not silent.ended:
        assert time.monotonic() - start < DEADLINE, "silence does not end a connection"
        try:
            data = silent.socket.recv(100)
            ends, silent.ended = ends + data, not data
        except TimeoutError:
            lively.send(PingReq())
    assert time.monotonic() - start > 2.9
    assert (bytes([Reason.KEEP_ALIVE_TIMEOUT]) in ends) is (version == V5)
    for line in (lively, patient):
        line.ping()


def test_connect_must_come_in_time(start_server: StartServer, mqtt: Mqtt) -> None:
    """The whole packet: a byte now and then is not enough."""
    server = start_server(limits=Limits(login_seconds=1))
    line = mqtt(server.address, connect=False)
    line.send_bytes(b"\x10\x7f\x00\x04MQTT\x05")
    line.socket.settimeout(0.3)
    start = time.monotonic()
    while not line.ended:
        assert time.monotonic() - start < DEADLINE, "a byte now and then keeps a connection without a CONNECT"
        try:
            line.ended = not line.socket.recv(100)
        except TimeoutError:
            line.send_bytes(b"x")
        except ConnectionError:
            line.ended = True


# Presence


def test_people_see_mqtt_clients_come_and_go(
    server: Server, mqtt: Mqtt, connect: Connecting, dial: Callable[..., Text], version: int
) -> None:
    bob = connect(server.address, "bob")
    alice = mqtt(server.address, "alice", version=version)
    alice.do("join/lab")
    nc = dial(server.address, "carol")
    nc.send("/join lab")
    nc.expect("You are in lab")
    alice.reset()
    nc.expect("alice is away")
    mqtt(server.address, "alice", version=version)
    nc.expect("alice is here")
    nc.send("/who", "/whois alice")
    assert "alice, bob, carol" in nc.expect("Online")
    assert " by mqtt from 127.0.0.1" in nc.expect("alice is online")
    assert bob.of(Presence) == [], "bob shares no channel with the two"


def test_connack_comes_first(server: Server, mqtt: Mqtt, version: int) -> None:
    """The server sends nothing before the CONNACK, whatever others do and whatever waits for the client."""
    alice = mqtt(server.address, "alice", version=version, clean=False, properties=_keep(version))
    alice.subscribe("#")
    alice.disconnect(expiry=None)
    bob = mqtt(server.address, "bob")
    for n in range(10):
        bob.do("msg/alice", f"{n}")
        bob.do(f"join/channel{n}")
        again = mqtt(server.address, "alice", version=version, clean=False, properties=_keep(version))
        assert again.connack.session_present
        assert isinstance(again.received[0], ConnAck)
        again.message("chat/to/alice/msg/bob")
        again.disconnect()


def _keep(version: int) -> Properties:
    return Properties(session_expiry_interval=100) if version == V5 else Properties()


def test_packets_after_a_disconnect_are_ignored(server: Server, mqtt: Mqtt, version: int) -> None:
    """Also those that come in the same piece of bytes."""
    alice = mqtt(server.address, "alice", version=version)
    alice.do("say/lab", "hello")
    posts = [
        Publish("chat/from/alice/say/lab", text, 1, packet_id=n) for n, text in ((1, b"still"), (2, b"not any more"))
    ]
    alice.send(posts[0], Disconnect(), posts[1])
    alice.until_closed()
    bob = mqtt(server.address, "bob", version=version)
    bob.subscribe("chat/to/bob/#")
    assert [entry["text"] for entry in bob.ask("history/lab")["entries"]] == ["hello", "still"]
