"""Users on another broker: presence, kept messages, live messages, names and passwords."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.mirror import BrokerConfig
from tests.support.brokers import StartBroker
from tests.support.brokers.site import Site
from tests.support.clients import Json, Text
from tests.support.fixtures import StartProcess, StartServer
from tests.support.mqtt import MqttLine, body
from tests.support.waiting import eventually
from wire.errors import WRONG_PASSWORD
from wire.frames import Delivered, Entry, Join, Msg, Presence, Register, Say, Seen, Who, Whois
from wire.mqtt import PubAck, Publish, Will

Connect = Callable[..., Json]
Dial = Callable[..., Text]
ON_MOSQUITTO = pytest.mark.parametrize("broker_kind", ["mosquitto"])  # for tests that need only one broker


def online(wanted: bool) -> Callable[[object], bool]:
    """Return a function that checks for presence in that state."""
    return lambda said: isinstance(said, dict) and said["online"] is wanted


def test_presence_and_addresses(site: Site, connect: Connect, dial: Dial) -> None:
    alice = connect(site.server.address, "alice")
    oven = site.line("oven", "chat/presence/+")
    answer = oven.ask("register")
    assert (answer["name"], answer.get("registered", False)) == ("oven", False)
    assert body(oven.message("chat/presence/oven"))["doors"] == ["broker"]
    info = alice.request(Whois("oven"))
    assert (info.online, info.doors, info.address) == (True, ["broker"], site.broker.address)
    assert [one.name for one in alice.request(Who()).members] == ["alice", "oven"]
    assert f"oven is online, a guest, by broker from {site.broker.address}" in _typed(
        dial, site, "/whois oven", "oven is"
    )
    assert "connected" in _typed(dial, site, "/status", site.broker.address)
    found = oven.ask("lookup/alice")
    assert (found["online"], found["doors"]) == (True, ["socket"])
    oven.do("gone")
    assert not body(oven.message("chat/presence/oven", lambda packet: not body(packet)["online"]))["online"]
    assert not alice.request(Whois("oven")).online


def _typed(dial: Dial, site: Site, line: str, part: str) -> str:
    person = dial(site.server.address, "typist")
    person.send(line)
    found = person.expect(part)
    person.send("exit")
    person.until_closed()
    return found


def test_a_will_ends_the_session(site: Site, connect: Connect) -> None:
    alice = connect(site.server.address, "alice")
    alice.request(Join("lab"))
    oven = site.line("oven", will=Will("chat/from/oven/gone", b"", 1))
    oven.ask("register")
    oven.ask("join/lab")
    oven.reset()
    alice.expect(Presence, lambda frame: (frame.user, frame.what) == ("oven", "offline"))


def test_a_message_without_register_is_enough(site: Site, connect: Connect) -> None:
    alice = connect(site.server.address, "alice")
    alice.request(Join("lab"))
    oven = site.line("oven", "chat/channels/+/text")
    oven.do("say/lab", "bread is done")
    assert alice.expect(Entry).text == "bread is done"
    assert oven.message("chat/channels/lab/text").payload == b"oven: bread is done"
    oven.do("say/lab", '{"text": "again", "id": "a1"}')
    assert body(oven.message("chat/to/oven/stored")) == {"id": "a1", "channel": "lab", "number": 2}
    oven.do("say/lab", '{"text": "again", "id": "a1"}')
    assert body(oven.message("chat/to/oven/stored"))["number"] == 2
    assert alice.request(Whois("oven")).online


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_quality_of_service(site: Site, connect: Connect, qos: int) -> None:
    alice = connect(site.server.address, "alice")
    alice.request(Join("lab"))
    oven = site.line("oven")
    for n in range(20):
        oven.do("say/lab", f"{n}", qos)
    alice.expect(Entry, lambda entry: entry.text == "19")
    assert [entry.text for entry in alice.of(Entry)] == [f"{n}" for n in range(20)]


def test_kept_messages_come_after_register(site: Site, connect: Connect) -> None:
    alice = connect(site.server.address, "alice")
    for n in range(30):
        alice.request(Msg("oven", f"kept {n}"))
    oven = site.line("oven")
    oven.do("register")
    oven.message("chat/to/oven/msg/alice", lambda packet: body(packet)["text"] == "kept 29")
    said = [body(packet) for packet in oven.messages("chat/to/oven/msg/alice")]
    assert [each["number"] for each in said] == list(range(1, 31))
    alice.expect(Delivered, lambda frame: (frame.user, frame.number) == ("oven", 30))
    alice.request(Msg("oven", "live"))
    oven.message("chat/to/oven/msg/alice", lambda packet: body(packet)["text"] == "live")
    oven.do("gone")
    oven.do("register")
    oven.message("chat/to/oven/register")
    oven.ask("status")
    assert len(oven.messages("chat/to/oven/msg/alice")) == 31, "nothing comes twice"


@ON_MOSQUITTO
def test_history_and_seen(site: Site, connect: Connect) -> None:
    alice = connect(site.server.address, "alice")
    alice.request(Join("lab"))
    for n in range(5):
        alice.request(Say(f"{n}", "lab"))
    alice.request(Msg("oven", "psst"))
    oven = site.line("oven")
    page = oven.ask("history/lab", '{"since": 1, "limit": 2}')
    assert [entry["text"] for entry in page["entries"]] == ["1", "2"]
    assert [entry["text"] for entry in oven.ask("history/@alice")["entries"]] == ["psst"]
    alice.expect(Delivered)
    oven.ask("join/lab")
    oven.ask("seen/lab", "5")
    assert alice.request(Seen(number=5, channel="lab"))


def test_live_messages_both_ways_without_echo(site: Site, mqtt: Callable[..., MqttLine], version: int) -> None:
    inside = mqtt(site.server.address, "inside", version=version)
    inside.subscribe("chat/direct/inside/+")
    outside = site.line("outside", "chat/direct/outside/+")
    outside.ask("register")
    for n in range(5):
        inside.publish("chat/direct/outside/inside", "same", 1)
        outside.message("chat/direct/outside/inside")
        outside.publish("chat/direct/inside/outside", f"{n}")
        assert inside.message("chat/direct/inside/outside").payload == f"{n}".encode()
    inside.ping()
    outside.ask("status")
    assert len(inside.messages()) == 5
    assert len(outside.messages("chat/direct/outside/inside")) == 5


@ON_MOSQUITTO
def test_a_live_message_for_a_user_here_and_on_the_broker_comes_once_to_each(
    site: Site, mqtt: Callable[..., MqttLine], connect: Connect
) -> None:
    with Json(site.server.address, "both") as both:
        both.request(Register("open-sesame"))
    here = mqtt(site.server.address, "both", password=b"open-sesame")
    here.subscribe("chat/direct/both/+")
    there = site.line("both", "chat/direct/both/+", client_id="there")
    there.ask("register", '{"password": "open-sesame"}')
    sender = mqtt(site.server.address, "sender")
    for n in range(3):
        sender.publish("chat/direct/both/sender", f"{n}")
        assert there.message("chat/direct/both/sender").payload == b"%d" % n
    there.ask("status")
    here.ping()
    assert len(here.messages("chat/direct/both/sender")) == 3
    assert len(there.messages("chat/direct/both/sender")) == 3


@ON_MOSQUITTO
def test_a_live_message_in_another_name_is_refused(site: Site, mqtt: Callable[..., MqttLine], connect: Connect) -> None:
    connect(site.server.address, "alice")
    inside = mqtt(site.server.address, "inside")
    inside.subscribe("chat/direct/inside/+")
    thief = site.line("thief")
    refused = site.status.refused
    thief.publish("chat/direct/inside/alice", "it is me")
    site.wait(lambda status: status.refused == refused + 1)
    thief.publish("chat/direct/inside/thief", "it is I")
    assert inside.message("").payload == b"it is I"


@ON_MOSQUITTO
def test_registered_names_need_their_password(site: Site, connect: Connect) -> None:
    with Json(site.server.address, "carol") as carol:
        carol.request(Register("open-sesame"))
    line = site.line("carol")
    line.do("say/lab", "it is me")
    assert line.error()["code"] == "need-password"
    line.do("register")
    assert line.error()["code"] == "need-password"
    line.do("register", '{"password": "wrong"}')
    error = line.error()
    assert (error["code"], error["error"]) == ("wrong-password", WRONG_PASSWORD)
    assert line.ask("register", '{"password": "open-sesame"}')["registered"]
    line.do("say/lab", "it is really me")
    eventually(lambda: site.server.chat.channel("lab") is not None, lambda: "it was not said")
    line.do("gone")
    line.do("say/lab", "it was me")
    assert line.error()["code"] == "need-password"
    log = site.server.chat.channel("lab")
    assert log is not None
    assert log.tail == 1


@ON_MOSQUITTO
def test_a_name_is_registered_from_the_broker(site: Site, connect: Connect) -> None:
    line = site.line("dora")
    assert "registered" not in line.ask("register")
    line.do("register", '{"password": "open-sesame"}')
    assert body(line.message("chat/to/dora/register")) == {"name": "dora"}
    line.do("say/lab", '{"text": "still me", "id": "1"}')
    line.message("chat/to/dora/stored")
    assert connect(site.server.address, "dora", password="open-sesame").welcome.registered


@ON_MOSQUITTO
def test_a_guest_name_is_used_once(site: Site, connect: Connect) -> None:
    alice = connect(site.server.address, "alice")
    line = site.line("alice")
    line.do("register")
    assert line.error()["code"] == "name-taken"
    alice.close()
    eventually(lambda: site.server.chat.directory.find("alice") is None, lambda: "alice is there")
    assert line.ask("register")["name"] == "alice"
    with pytest.raises(AssertionError, match="taken"):
        Json(site.server.address, "alice")


@ON_MOSQUITTO
def test_a_trusted_broker_proves_the_name(
    site: Site, start_server: StartServer, tmp_path: Path, connect: Connect
) -> None:
    config = BrokerConfig(url=site.broker.url, trusted=True)
    server = start_server(broker=config, root="other", data=str(tmp_path / "other"))
    other = Site(server, site.broker, site.line)
    other.up()
    with Json(server.address, "carol") as carol:
        carol.request(Register("open-sesame"))
    line = site.line("carol", "other/to/carol/#", "other/to/CAROL/#")
    line.publish("other/from/CAROL/register", "")
    assert body(line.message("other/to/CAROL/error"))["code"] == "need-password"
    line.publish("other/from/carol/register", "")
    assert body(line.message("other/to/carol/register"))["registered"]


@pytest.mark.parametrize("broker_kind", ["mosquitto", "nats"])
def test_announced_users_are_present_after_a_restart(
    start_broker: StartBroker, broker_kind: str, start_process: StartProcess, mqtt: Callable[..., MqttLine]
) -> None:
    broker = start_broker(broker_kind)
    line = mqtt(broker.address, "oven", version=broker.version)
    # Before the server comes: nats-server loses a retained message that is published as somebody subscribes.
    line.subscribe("chat/to/oven/#", "chat/presence/+", "chat/server")
    process = start_process("--broker", broker.url)
    line.message("chat/server", lambda packet: packet.payload == b"online")
    line.ask("register")
    with Json(process.address, "alice") as alice:
        alice.request(Join("lab"))
        line.message("chat/presence/alice", lambda packet: body(packet)["online"])
        process.restart()
    line.message("chat/presence/alice", lambda packet: not body(packet)["online"])
    with Json(process.address, "bob") as bob:
        assert bob.request(Whois("oven")).doors == ["broker"]
        bob.request(Msg("oven", "you are still there"))
        line.message("chat/to/oven/msg/bob")
        assert process.stop() == 0
    line.message("chat/server", lambda packet: packet.payload == b"offline")


def test_presence_is_retained_by_the_broker(site: Site) -> None:
    with Json(site.server.address, "alice"):
        assert site.retained("chat/presence/alice", online(True))["doors"] == ["socket"]
        assert site.retained("chat/server") == "online"
        watcher = site.line("watcher", "chat/presence/alice")
    # First live: while NATS takes a message in, a new subscriber may get the retained one before it.
    watcher.message("chat/presence/alice", lambda packet: not body(packet)["online"])
    assert site.retained("chat/presence/alice", online(False))


def test_presence_from_before_is_corrected(
    quick: None, fluent: None, broker_kind: str, start_broker: StartBroker, start_server: StartServer,
    mqtt: Callable[..., MqttLine],
) -> None:  # fmt: skip
    broker = start_broker(broker_kind)
    ghost = mqtt(broker.address, "ghost", version=broker.version)
    for name in ("alice", "ghost"):
        said = json.dumps({"user": name, "online": True, "doors": ["socket"], "since": 1}).encode()
        ghost.send(Publish(f"chat/presence/{name}", said, 1, retain=True, packet_id=ghost.fresh_id()))
        ghost.expect(PubAck)
    server = start_server(broker=BrokerConfig(url=broker.url))
    with Json(server.address, "alice"):
        site = Site(server, broker, mqtt)
        site.up()
        assert site.retained("chat/presence/ghost", online(False))["since"] > 1
        assert site.retained("chat/presence/alice", online(True))["since"] > 1
