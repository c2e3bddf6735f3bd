"""Kept sessions: missed entries come in order, also after the server was killed; and sessions expire."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.clients.encoding import PublishEncoding
from bridge.clients.session_state import SessionState
from bridge.clients.subscriptions import Subscriptions
from bridge.clients.wills import Wills
from channels import Log
from server import Server
from store import Client, open_store
from tests.support.clients import Json
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine, body
from tests.support.processes import Process, written
from tests.support.waiting import DEADLINE, eventually
from wire.clock import now
from wire.frames import Join, Msg, Ping, Say
from wire.limits import Limits
from wire.mqtt import V5, V311, Disconnect, Properties, Publish, Reason, Subscription

Mqtt = Callable[..., MqttLine]
Connecting = Callable[..., Json]


def keep(version: int, seconds: int = 1_000, **fields: Any) -> dict[str, Any]:
    """Return the fields of a CONNECT that restores the session and has it kept."""
    properties = Properties(session_expiry_interval=seconds, **fields) if version == V5 else Properties()
    return {"version": version, "clean": False, "properties": properties}


def numbers(line: MqttLine, channel: str = "lab") -> list[tuple[int, bool]]:
    """Return the numbers of a channel's entries that came, each with True if it was sent as a duplicate."""
    return [(body(packet)["number"], packet.dup) for packet in line.messages(f"chat/channels/{channel}")]


def fill(server: Server | Process, connect: Connecting, *texts: str, channel: str = "lab") -> None:
    """Post these texts as another user, who then disconnects."""
    with connect(server.address, "filler") as filler:
        filler.request(Join(channel))
        filler.send(*[Say(text, channel) for text in texts[:-1]])
        filler.request(Say(texts[-1], channel))


@pytest.fixture
def filler(server: Server, connect: Connecting) -> Json:
    """A user who posts while the client is away."""
    line = connect(server.address, "filler")
    line.request(Join("lab"))
    return line


@pytest.mark.parametrize("member", [False, True], ids=["listener", "member"])
def test_missed_entries_come_in_order(server: Server, mqtt: Mqtt, filler: Json, version: int, member: bool) -> None:
    """To members and to clients that only listen, and also of channels that are new."""
    alice = mqtt(server.address, "alice", **keep(version))
    assert not alice.connack.session_present
    alice.subscribe("chat/channels/+", "chat/channels/attic/text")
    if member:
        alice.do("say/lab", "here")
    filler.request(Say("live", "lab"))
    alice.hear("lab", "live")
    alice.ping()
    alice.disconnect()
    filler.send(*[Say(f"{n}", "lab") for n in range(1_200)])
    filler.request(Join("attic"))
    filler.request(Say("in a new channel", "attic"))
    back = mqtt(server.address, "alice", **keep(version))
    assert back.connack.session_present
    back.hear("attic", "in a new channel")
    back.hear("lab", "1199")
    assert back.texts("lab") == [f"{n}" for n in range(1_200)]
    assert not any(dup for _, dup in numbers(back)), "none was sent before"
    assert back.message("chat/channels/attic/text").payload == b"filler: in a new channel"
    assert not back.messages("chat/to/alice/gap")
    filler.request(Say("live again", "lab"))
    back.hear("lab", "live again")


def test_unacknowledged_entries_come_again_first(server: Server, mqtt: Mqtt, filler: Json, version: int) -> None:
    alice = mqtt(server.address, "alice", **keep(version), acknowledge=False)
    alice.subscribe("chat/channels/lab", "chat/channels/lab/text")
    filler.send(*[Say(f"{n}", "lab") for n in range(1, 11)])
    alice.hear("lab", "10")
    alice.message("chat/channels/lab/text", lambda packet: packet.payload == b"filler: 10")
    first = {body(packet)["number"]: packet.packet_id for packet in alice.messages("chat/channels/lab")}
    texts = {int(packet.payload[8:]): packet.packet_id for packet in alice.messages("chat/channels/lab/text")}
    assert not set(first.values()) & set(texts.values())
    alice.ack(*[first[n] for n in range(1, 11)], *[texts[n] for n in range(1, 5)])
    alice.ping()
    alice.reset()
    eventually(lambda: server.chat.directory.find("alice") is None, lambda: "alice is still there")
    filler.request(Say("11", "lab"))
    back = mqtt(server.address, "alice", **keep(version))
    back.hear("lab", "11")
    assert numbers(back) == [(n, n < 11) for n in range(5, 12)], (
        "from the last entry whose both forms were acknowledged"
    )
    assert [packet.packet_id for packet in back.messages("chat/channels/lab")][:6] == [first[n] for n in range(5, 11)]


def test_an_early_acknowledgement_counts_after_those_before_it(
    server: Server, mqtt: Mqtt, filler: Json, version: int
) -> None:
    alice = mqtt(server.address, "alice", **keep(version), acknowledge=False)
    alice.subscribe("chat/channels/lab")
    filler.send(*[Say(f"{n}", "lab") for n in range(1, 7)])
    alice.hear("lab", "6")
    ids = [packet.packet_id for packet in alice.messages("chat/channels/lab")]
    alice.ack(ids[1], ids[2], ids[0], ids[4], ids[5], 999)
    alice.ping()
    alice.reset()
    eventually(lambda: server.chat.directory.find("alice") is None, lambda: "alice is still there")
    back = mqtt(server.address, "alice", **keep(version))
    back.hear("lab", "6")
    assert numbers(back) == [(4, True), (5, True), (6, True)]


def test_a_clean_start_ends_the_session(server: Server, mqtt: Mqtt, filler: Json, version: int) -> None:
    alice = mqtt(server.address, "alice", **keep(version))
    alice.subscribe("chat/channels/lab")
    alice.disconnect()
    filler.request(Say("lost", "lab"))
    clean = mqtt(server.address, "alice", version=version)
    assert not clean.connack.session_present
    filler.request(Say("not subscribed", "lab"))
    clean.ping()
    clean.disconnect()
    third = mqtt(server.address, "alice", **keep(version))
    assert not third.connack.session_present
    third.ping()
    for line in (clean, third):
        assert line.messages() == []


def test_a_session_belongs_to_one_client_of_one_user(server: Server, mqtt: Mqtt, filler: Json, version: int) -> None:
    alice = mqtt(server.address, "alice", client_id="phone", **keep(version))
    alice.subscribe("chat/channels/lab")
    alice.disconnect()
    assert not mqtt(server.address, "alice", client_id="desk", **keep(version)).connack.session_present
    assert not mqtt(server.address, "bob", client_id="phone", **keep(version)).connack.session_present


def test_an_unsubscribe_is_stored(server: Server, mqtt: Mqtt, filler: Json, version: int) -> None:
    alice = mqtt(server.address, "alice", **keep(version))
    alice.subscribe("chat/channels/lab", "chat/channels/hall", "chat/channels/+/text")
    alice.unsubscribe("chat/channels/lab", "chat/channels/+/text")
    alice.disconnect()
    filler.request(Join("hall"))
    filler.request(Say("unheard", "lab"))
    filler.request(Say("heard", "hall"))
    back = mqtt(server.address, "alice", **keep(version))
    back.hear("hall", "heard")
    assert {packet.topic for packet in back.messages()} == {"chat/channels/hall"}
    back.subscribe("chat/channels/lab")
    filler.request(Say("heard again", "lab"))
    back.hear("lab", "heard again")
    assert back.texts("lab") == ["heard again"]


def test_qos_0_is_for_connected_clients(server: Server, mqtt: Mqtt, filler: Json, version: int) -> None:
    """Missed entries do not come; a client that changes to QoS 1 does not get again what came at QoS 0."""
    alice = mqtt(server.address, "alice", **keep(version))
    alice.subscribe("chat/channels/lab", qos=0)
    filler.request(Say("1", "lab"))
    alice.hear("lab", "1")
    alice.disconnect()
    filler.request(Say("2", "lab"))
    alice = mqtt(server.address, "alice", **keep(version))
    filler.request(Say("3", "lab"))
    alice.hear("lab", "3")
    alice.subscribe("chat/channels/lab", qos=1)
    alice.disconnect()
    filler.request(Say("4", "lab"))
    back = mqtt(server.address, "alice", **keep(version))
    back.hear("lab", "4")
    assert numbers(back) == [(4, False)]


def test_an_acknowledged_private_message_is_read_for_all_clients_of_its_user(
    server: Server, mqtt: Mqtt, filler: Json, version: int
) -> None:
    """The cursor of a private conversation belongs to the user."""
    alice = mqtt(server.address, "alice", **keep(version))
    alice.subscribe("chat/to/alice/#")
    alice.disconnect()
    for n in range(3):
        filler.request(Msg("alice", f"{n}"))
    back = mqtt(server.address, "alice", **keep(version), acknowledge=False)
    for n in range(3):
        packet = back.message("chat/to/alice/msg/filler")
        assert body(packet)["text"] == f"{n}"
        if n < 2:
            back.ack(packet.packet_id)
    back.ping()
    back.reset()
    eventually(lambda: server.chat.directory.find("alice") is None, lambda: "alice is still there")
    third = mqtt(server.address, "alice", **keep(version))
    assert body(third.message("chat/to/alice/msg/filler"))["text"] == "2"


def test_a_client_that_missed_too_much_is_told_of_a_gap(
    start_server: StartServer, mqtt: Mqtt, connect: Connecting, version: int
) -> None:
    server = start_server(limits=Limits(lag=200, missed=50))
    alice = mqtt(server.address, "alice", **keep(version))
    alice.subscribe("chat/channels/lab", "chat/to/alice/#")
    alice.disconnect()
    fill(server, connect, *[f"{n}" for n in range(1, 301)])
    with connect(server.address, "writer") as writer:
        for n in range(60):
            writer.request(Msg("alice", f"{n}"))
    back = mqtt(server.address, "alice", **keep(version))
    back.hear("lab", "300")
    back.message("chat/to/alice/msg/writer", lambda packet: body(packet)["text"] == "59")
    assert [number for number, _ in numbers(back)] == list(range(251, 301))
    gaps = [body(packet) for packet in back.messages("chat/to/alice/gap")]
    assert gaps == [{"channel": "lab", "first": 1, "last": 250}], "all private messages come"
    back.ping()
    back.disconnect()
    last = mqtt(server.address, "alice", **keep(version))
    last.ping()
    assert last.messages("chat/channels/lab") == []


def test_a_member_without_a_subscription_is_told_of_no_gap(
    server: Server, mqtt: Mqtt, filler: Json, version: int
) -> None:
    """A client that has not subscribed to a channel does not read it, though its user is a member."""
    alice = mqtt(server.address, "alice", **keep(version))
    alice.do("join/lab")
    alice.subscribe("chat/to/alice/#")
    alice.disconnect()
    filler.send(*[Say("x", "lab") for _ in range(700)])
    filler.request(Say("y", "lab"))
    back = mqtt(server.address, "alice", **keep(version))
    back.ask("who")
    assert back.messages("chat/to/alice/gap") == []


# Expiry


def test_a_session_expires(server: Server, mqtt: Mqtt, filler: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = mqtt(server.address, "alice", **keep(V5, 60))
    alice.subscribe("chat/channels/lab")
    alice.disconnect()
    for later, present in ((59_000, True), (61_000, False)):
        monkeypatch.setattr("wire.clock.now", lambda later=later: now() + later)
        back = mqtt(server.address, "alice", **keep(V5, 60))
        assert back.connack.session_present is present
        monkeypatch.undo()
        if present:
            back.disconnect()
    assert "alice/alice-line" not in server._mqtt.registry._away


@pytest.mark.parametrize(
    ("at_connect", "at_the_end", "present"),
    [(0, None, False), (100, None, True), (100, 0, False), (100, 200, True), (0xFFFFFFFF, None, True)],
)
def test_connect_and_disconnect_set_the_expiry(
    server: Server, mqtt: Mqtt, at_connect: int, at_the_end: int | None, present: bool
) -> None:
    mqtt(server.address, "alice", **keep(V5, at_connect)).disconnect(expiry=at_the_end)
    assert mqtt(server.address, "alice", **keep(V5)).connack.session_present is present


@pytest.mark.parametrize(
    ("asked", "told"), [(0, None), (86_400, None), (86_401, 86_400), (0xFFFFFFFF, 86_400)], ids=lambda each: f"{each}"
)
def test_the_expiry_is_limited(start_server: StartServer, mqtt: Mqtt, asked: int, told: int | None) -> None:
    """A client that asks for more is told the limit ([MQTT-3.2.2-21]); one of 3.1.1 gets it without being told."""
    server = start_server(limits=Limits(session_days=1))
    alice = mqtt(server.address, "alice", **keep(V5, asked))
    assert alice.connack.properties.session_expiry_interval == told
    alice.disconnect(expiry=0xFFFFFFFF if asked else None)
    mqtt(server.address, "bob", **keep(V311)).disconnect()
    eventually(lambda: not server._mqtt.registry._connected, lambda: "somebody is connected")
    kept = {each.key: each.expiry for each in server.chat.store.clients("")}
    assert kept == {"bob/bob-line": 86_400, **({"alice/alice-line": 86_400} if asked else {})}


def test_disconnect_cannot_keep_a_session_that_ends_with_its_connection(server: Server, mqtt: Mqtt) -> None:
    alice = mqtt(server.address, "alice", **keep(V5, 0))
    alice.send(Disconnect(0, Properties(session_expiry_interval=100)))
    assert alice.expect(Disconnect).reason == Reason.PROTOCOL_ERROR


def test_an_old_connection_does_not_overwrite_the_session_of_a_new_one(
    server: Server, mqtt: Mqtt, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old connection drops its session while the new one stores its own: the new one waits."""
    alice = mqtt(server.address, "alice", version=version)
    ending, back_already, order = threading.Event(), threading.Event(), list[str]()
    close, add = SessionState.close, server._mqtt.registry.add

    def close_slowly(ended: SessionState, *, posted_once: bool, elsewhere: bool) -> None:
        ending.set()
        back_already.wait(DEADLINE)
        close(ended, posted_once=posted_once, elsewhere=elsewhere)
        order.append("ended")

    def add_noted(*arguments: Any, **fields: Any) -> Any:
        back_already.set()
        added = add(*arguments, **fields)
        order.append("begun")
        return added

    monkeypatch.setattr(SessionState, "close", close_slowly)
    monkeypatch.setattr(server._mqtt.registry, "add", add_noted)
    alice.send(Disconnect())
    assert ending.wait(DEADLINE)
    mqtt(server.address, "alice", **keep(version))
    assert order == ["ended", "begun"]
    assert server.chat.store.client("alice/alice-line", 0) is not None
    assert not server._mqtt.registry._parting


def test_the_registry_forgets_expired_sessions(server: Server, mqtt: Mqtt) -> None:
    """And clients that never had one."""
    registry = server._mqtt.registry
    for n in range(50):
        mqtt(server.address, "alice", client_id=f"clean{n}").disconnect()
        mqtt(server.address, "alice", client_id=f"kept{n}", **keep(V5, 1)).disconnect()
    eventually(lambda: not registry._away, lambda: f"{len(registry._away)} sessions are still remembered")
    assert isinstance(server._mqtt.wills, Wills)
    assert not server._mqtt.wills._delayed
    eventually(lambda: not registry._connected, lambda: f"{len(registry._connected)} are connected")
    eventually(lambda: not server.chat.store.clients(""), lambda: "clients are still in the store")
    assert not server._mqtt._timer._calls
    assert len(server._mqtt._timer._due) < 200


# Over a restart of the server


def test_a_session_of_before_a_restart_expires(start_server: StartServer, tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    for key, seconds in (("alice/phone", 1), ("bob/phone", 1_000)):
        store.save_client(Client(key, seconds, now() + seconds * 1_000, ""))
    store.close()
    kept = start_server().chat.store.clients
    eventually(lambda: [each.key for each in kept("")] == ["bob/phone"], lambda: f"kept are {kept('')}")


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_session_outlives_a_restart(
    process: Process, mqtt: Mqtt, connect: Connecting, version: int, how: str
) -> None:
    alice = mqtt(process.address, "alice", **keep(version), acknowledge=False)
    alice.subscribe("chat/channels/+", "chat/to/alice/#")
    filler = connect(process.address, "filler")
    filler.request(Join("lab"))
    filler.send(*[Say(f"{n}", "lab") for n in range(1, 6)])
    filler.request(Msg("alice", "psst"))
    alice.hear("lab", "5")
    got = alice.messages("chat/channels/lab")
    alice.ack(*[packet.packet_id for packet in got[:3]])
    alice.ping()
    filler.request(Ping())  # a commit that was under way has stored the acknowledgements, too
    if how == "kill":
        process.kill()
    else:
        assert process.stop() == 0
    process.start()
    fill(process, connect, "6", "7")
    back = mqtt(process.address, "alice", **keep(version))
    assert back.connack.session_present
    back.hear("lab", "7")
    assert body(back.message("chat/to/alice/msg/filler"))["text"] == "psst"
    assert [number for number, _ in numbers(back)] == [4, 5, 6, 7]
    assert all(dup for number, dup in numbers(back) if number < 6)
    assert "Traceback" not in process.log


def test_a_subscribe_writes_what_it_brings(process: Process, mqtt: Mqtt, version: int) -> None:
    """Each one stored the whole session: 8 MB of packets wrote 250 MB."""
    alice = mqtt(process.address, "alice", **keep(version))
    alice.subscribe(*[f"site/{n}/{'x' * 200}" for n in range(1_000)])
    before = written(process.pid)
    for _ in range(50):
        assert alice.subscribe("site/one/more") == (1,)
        alice.unsubscribe("site/one/more")
    assert written(process.pid) - before < 100 * (32 << 10), "some pages for each packet; they were 250 KB"
    before = written(process.pid)
    alice.disconnect()
    alice = mqtt(process.address, "alice", **keep(version))
    assert alice.connack.session_present
    assert written(process.pid) - before < 128 << 10, "to come and go writes no filter"


def test_the_options_of_a_subscription_outlive_a_restart(process: Process, mqtt: Mqtt, version: int) -> None:
    """Also after it was replaced, and a filter that is unsubscribed in the same connection does not come back."""
    alice = mqtt(process.address, "alice", **keep(version))
    alice.subscribe("chat/channels/lab", "chat/channels/hall", "chat/channels/attic", qos=1)
    alice.subscribe("chat/channels/lab", qos=0)
    alice.unsubscribe("chat/channels/attic")
    process.restart()
    alice = mqtt(process.address, "alice", **keep(version))
    poster = mqtt(process.address, "poster")
    for name in ("attic", "lab", "hall"):
        poster.do(f"say/{name}", name)
    assert (alice.hear("lab", "lab").qos, alice.hear("hall", "hall").qos) == (0, 1)
    alice.ping()
    assert not alice.messages("chat/channels/attic")


def test_qos_2_over_a_restart(process: Process, mqtt: Mqtt, version: int) -> None:
    alice = mqtt(process.address, "alice", **keep(version))
    alice.do("join/lab")
    alice.send(Publish("chat/from/alice/say/lab", b"once", 2, packet_id=5))
    alice.ping()
    process.restart()
    back = mqtt(process.address, "alice", **keep(version))
    back.subscribe("chat/to/alice/#")
    back.send(Publish("chat/from/alice/say/lab", b"once", 2, dup=True, packet_id=5))
    back.settle(5, 2)
    assert [entry["text"] for entry in back.ask("history/lab")["entries"]] == ["once"]


def test_no_local_over_a_lost_connection(server: Server, mqtt: Mqtt, filler: Json) -> None:
    alice = mqtt(server.address, "alice", **keep(V5))
    alice.subscribe(Subscription("chat/channels/lab", 1, no_local=True))
    alice.do("say/lab", "mine")
    filler.request(Say("theirs", "lab"))
    alice.hear("lab", "theirs")
    alice.do("say/lab", "mine, too")
    alice.ping()
    alice.disconnect()
    filler.request(Say("theirs, too", "lab"))
    back = mqtt(server.address, "alice", **keep(V5))
    back.hear("lab", "theirs, too")
    assert (alice.texts("lab"), back.texts("lab")) == (["theirs"], ["theirs, too"])


def test_a_client_that_comes_back_looks_at_the_channels_that_it_reads(
    server: Server, mqtt: Mqtt, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked at every channel of the server, to go on in those that its filters match."""
    poster = mqtt(server.address, "poster")
    for n in range(30):
        poster.do(f"say/room{n}", "hello")
    with mqtt(server.address, "alice", **keep(version)) as alice:
        alice.subscribe("chat/channels/room7", "chat/channels/room8/text", "chat/to/alice/#")
    looked_at: list[str] = []
    encoding_of = Subscriptions.encoding_of

    def noted(self: Subscriptions, log: Log) -> PublishEncoding | None:
        looked_at.append(log.row.name)
        return encoding_of(self, log)

    monkeypatch.setattr(Subscriptions, "encoding_of", noted)
    with mqtt(server.address, "alice", **keep(version)) as alice:
        alice.ping()
        assert set(looked_at) == {"room7", "room8"}
        poster.do("say/room7", "you are back")
        alice.hear("room7", "you are back")
