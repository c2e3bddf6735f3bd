"""The mirror against a scripted broker: limits, redelivery, acknowledgements and refusals."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.mirror import BrokerConfig
from bridge.mirror.progress import MirrorProgress
from channels import Origin
from server import Config, Server
from store import StoreError
from tests.support.brokers.scripted import ScriptedBroker, Visit, broker, server, status, wait
from tests.support.clients import Json
from tests.support.examples import examples
from tests.support.fixtures import StartServer
from tests.support.mqtt import body
from tests.support.stores import WatchedStore
from tests.support.stores.filled import fill
from tests.support.waiting import eventually
from wire.frames import History, Join, Register, Say, Whois
from wire.limits import Limits
from wire.mqtt import V5, V311, PingReq, PubAck, Publish, Reason

__all__ = ["broker", "server"]
Connected = Callable[..., Json]
pytestmark = pytest.mark.usefixtures("quick")


def texts(visit: Visit, channel: str = "lab") -> list[str]:
    """Return the texts that were published in a channel as JSON, in order."""
    return [body(packet)["text"] for packet in visit.messages(f"chat/channels/{channel}")]


def acknowledged(visit: Visit, packet_id: int) -> None:
    """Wait until the packet is acknowledged."""
    visit.expect(PubAck, lambda packet: packet.packet_id == packet_id)


def said(packet: Publish) -> str:
    """Return the text of an entry of a channel, in either form."""
    return packet.payload.decode().partition(": ")[2] if packet.topic.endswith("/text") else str(body(packet)["text"])


def test_it_subscribes_before_it_publishes(server: Server, broker: ScriptedBroker) -> None:
    visit = broker.visit()
    hello = visit.connect
    assert (hello.version, hello.client_id, hello.clean) == (V5, "partyline-chat", False)
    assert hello.will is not None
    assert (hello.will.topic, hello.will.payload, hello.will.retain) == ("chat/server", b"offline", True)
    visit.accept()
    asked = visit.grant()
    assert [each.filter for each in asked.subscriptions] == ["chat/from/#", "chat/direct/+/+", "chat/presence/+"]
    assert visit.received[:2] == [hello, asked]
    assert visit.message("chat/server").payload == b"online"
    visit.pong()
    wait(server, lambda status: status.connected)


def test_it_falls_back_to_the_older_version(server: Server, broker: ScriptedBroker) -> None:
    broker.visit().refuse(Reason.UNSUPPORTED_PROTOCOL_VERSION)
    visit = broker.visit()
    assert visit.connect.version == V311
    visit.open()
    assert wait(server, lambda status: status.connected).version == "3.1.1"


def test_the_keep_alive_of_the_broker_is_used(server: Server, broker: ScriptedBroker) -> None:
    visit = broker.visit()
    visit.open(server_keep_alive=1)
    visit.expect(PingReq)  # it comes after half of the keep-alive


def test_entries_over_the_maximum_packet_size_are_left_out(
    server: Server, broker: ScriptedBroker, connect: Connected
) -> None:
    visit = broker.visit()
    visit.open(maximum_packet_size=400)
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    for text in ("short", "long " * 200, "short again"):
        alice.request(Say(text, "lab"))
    visit.message("chat/channels/lab", lambda packet: body(packet)["text"] == "short again")
    visit.message("chat/channels/lab/text", lambda packet: packet.payload.endswith(b"short again"))
    assert texts(visit) == ["short", "short again"]
    wait(server, lambda status: status.behind == 0)
    visit.bring("chat/from/oven/history/lab", "")
    page = body(visit.message("chat/to/oven/history/lab"))
    assert ([entry["number"] for entry in page["entries"]], page["more"]) == ([3], 3)
    visit.bring("chat/from/oven/history/lab", '{"before": 3}')
    assert body(visit.message("chat/to/oven/error"))["code"] == "too-long"
    assert max(len(packet.payload) for packet in visit.received if isinstance(packet, Publish)) < 400


def test_a_request_for_much_history_does_not_end_the_connection(server: Server, broker: ScriptedBroker) -> None:
    """The server hung up, for all users of the broker, when an answer had more bytes than may wait."""
    visit = broker.visit()
    visit.open()
    fill(server, 200)
    visit.bring("chat/from/oven/history/lab", '{"limit": 1000}')
    packet = visit.expect(Publish, lambda packet: packet.topic == "chat/to/oven/history/lab")
    assert len(packet.payload) < server.chat.limits.page_bytes + 1_000
    assert [entry["number"] for entry in body(packet)["entries"]] == [199, 200]
    visit.bring("chat/from/oven/lookup/filler", "")
    assert body(visit.message("chat/to/oven/lookup/filler"))["name"] == "filler"


def test_the_receive_maximum_is_respected(server: Server, broker: ScriptedBroker, connect: Connected) -> None:
    visit = broker.visit()
    visit.open(receive_maximum=6)
    visit.acknowledge = False
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    alice.send(*[Say(f"{n}", "lab") for n in range(49)])
    alice.request(Say("49", "lab"))
    flying: list[int] = []
    for _ in range(100):
        packet = visit.expect(Publish, lambda packet: packet.qos == 1)
        flying.append(packet.packet_id)
        assert len(flying) <= 6
        assert len(set(flying)) == len(flying)
        if len(flying) == 6:
            visit.ack(*flying)
            flying = []
    visit.ack(*flying)
    assert texts(visit) == [f"{n}" for n in range(50)]
    wait(server, lambda status: status.behind == 0)


def test_a_broker_that_takes_one_packet_at_a_time_gets_text_at_qos_0(
    server: Server, broker: ScriptedBroker, connect: Connected
) -> None:
    """An entry is two packets, and both could not be in flight."""
    visit = broker.visit()
    visit.open(receive_maximum=1)
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    alice.send(*[Say(f"{n}", "lab") for n in range(9)])
    alice.request(Say("9", "lab"))
    visit.message("chat/channels/lab/text", lambda packet: packet.payload == b"alice: 9")
    assert texts(visit) == [f"{n}" for n in range(10)]
    assert {packet.qos for packet in visit.messages("chat/channels/lab/text")} == {0}


def test_unacknowledged_entries_are_published_again_in_order(
    server: Server, broker: ScriptedBroker, connect: Connected
) -> None:
    first = broker.visit()
    first.open()
    first.acknowledge = False
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    for n in range(6):
        alice.request(Say(f"{n}", "lab"))
    sent = [first.expect(Publish, lambda packet: packet.qos == 1) for _ in range(12)]
    both = {n: [each.packet_id for each in sent if said(each) == f"{n}"] for n in range(6)}
    first.ack(*both[0], *both[1], *both[3])  # 2 is open, so 3 is published again, too
    wait(server, lambda status: status.behind == 4)
    first.close()
    wait(server, lambda status: not status.connected)
    alice.request(Say("6", "lab"))
    second = broker.visit()
    second.open()
    second.message("chat/channels/lab/text", lambda packet: packet.payload == b"alice: 6")
    assert texts(second) == ["2", "3", "4", "5", "6"]
    again = second.messages("chat/channels/lab")
    assert [packet.dup for packet in again] == [True, True, True, True, False]
    wait(server, lambda status: status.behind == 0)


def test_no_entry_is_left_out_however_long_the_broker_was_away(
    start_server: StartServer, broker: ScriptedBroker, connect: Connected
) -> None:
    """Clients of the server would get a gap instead."""
    server = start_server(broker=BrokerConfig(url=broker.url), limits=Limits(lag=10))
    visit = broker.visit()
    visit.open()
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    visit.close()
    wait(server, lambda status: not status.connected)
    alice.send(*[Say(f"{n}", "lab") for n in range(49)])
    alice.request(Say("49", "lab"))
    again = broker.newest()
    again.open(present=True)
    again.message("chat/channels/lab/text", lambda packet: packet.payload == b"alice: 49")
    assert texts(again) == [f"{n}" for n in range(50)]


def test_cursors_are_stored_while_the_connection_lasts(
    server: Server, broker: ScriptedBroker, connect: Connected
) -> None:
    """After `kill -9`, only what was acknowledged a moment before is published again."""
    visit = broker.visit()
    visit.open()
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    alice.request(Say("one", "lab"))
    visit.message("chat/channels/lab/text")
    log = server.chat.known_channel("lab")
    eventually(
        lambda: server.chat.store.client_cursors("/chat").get(log.row.id) == 1, lambda: "the cursor is not stored"
    )
    assert status(server).connected


def test_cursors_are_stored_when_the_connection_ends(
    server: Server, broker: ScriptedBroker, connect: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may end before they would be stored."""
    monkeypatch.setattr(MirrorProgress, "unstored", False)
    visit = broker.visit()
    visit.open()
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    alice.request(Say("one", "lab"))
    visit.message("chat/channels/lab/text")
    wait(server, lambda status: status.behind == 0)
    visit.close()
    log, store = server.chat.known_channel("lab"), server.chat.store
    eventually(lambda: store.client_cursors("/chat").get(log.row.id) == 1, lambda: "the cursor is not stored")


def test_cursors_survive_a_restart_of_the_server(broker: ScriptedBroker, tmp_path: Path) -> None:
    config = Config(port=0, mqtt_port=0, data=str(tmp_path / "data"), broker=BrokerConfig(url=broker.url))
    with closing(Server(config)) as server, Json(server.address, "alice") as alice:
        visit = broker.visit()
        visit.open()
        alice.request(Join("lab"))
        alice.request(Say("one", "lab"))
        visit.message("chat/channels/lab/text")
        wait(server, lambda status: status.behind == 0)
        visit.close()
        alice.request(Say("two", "lab"))
    with closing(Server(config)) as server:
        visit = broker.newest()
        visit.open()
        visit.message("chat/channels/lab/text")
        assert texts(visit) == ["two"]
        assert visit.messages("chat/channels/lab")[0].dup, "an earlier process may have sent it"
        wait(server, lambda status: status.behind == 0)


def test_a_message_is_acknowledged_when_it_is_stored(server: Server, broker: ScriptedBroker) -> None:
    visit = broker.visit()
    visit.open()
    packet_id = visit.bring("chat/from/oven/say/lab", "bread")
    acknowledged(visit, packet_id)
    log = server.chat.channel("lab")
    assert log is not None
    assert [entry.text for entry in server.chat.history(log, History(limit=10), 1 << 20).entries] == ["bread"]


def test_a_message_that_cannot_be_stored_is_not_acknowledged(
    server: Server, broker: ScriptedBroker, stores: list[WatchedStore]
) -> None:
    visit = broker.visit()
    visit.open()
    visit.bring("chat/from/oven/say/lab", "first")
    visit.expect(PubAck)
    broken = threading.Event()
    broken.set()

    def before(method: str) -> None:
        if method == "append" and broken.is_set():
            raise StoreError("The disk is full.")

    stores[0].before = before
    packet_id = visit.bring("chat/from/oven/say/lab", "second")
    visit.until_closed()
    assert PubAck(packet_id) not in visit.received
    broken.clear()
    again = broker.visit()
    again.open(present=True)
    again.send(Publish("chat/from/oven/say/lab", b"second", 1, dup=True, packet_id=packet_id))
    again.expect(PubAck)
    assert texts(again) or again.message("chat/channels/lab")


def test_a_message_of_a_user_who_cannot_be_stored_is_not_acknowledged(
    server: Server, broker: ScriptedBroker, stores: list[WatchedStore]
) -> None:
    """The store fails before there is a session that could answer."""

    def before(method: str) -> None:
        if method == "open_account":
            raise StoreError("The disk is full.")

    visit = broker.visit()
    visit.open()
    stores[0].before = before
    packet_id = visit.bring("chat/from/oven/say/lab", "bread")
    visit.until_closed()
    assert PubAck(packet_id) not in visit.received
    assert "Could not store messages from the broker" in wait(server, lambda status: not status.connected).error
    stores[0].before = None
    again = broker.newest()
    again.open(present=True)
    again.send(Publish("chat/from/oven/say/lab", b"bread", 1, dup=True, packet_id=packet_id))
    acknowledged(again, packet_id)


def test_only_retained_presence_is_corrected(server: Server, broker: ScriptedBroker) -> None:
    visit = broker.visit()
    visit.accept()
    visit.grant()
    said = b'{"user": "%s", "online": true}'
    visit.send(Publish("chat/presence/live", said % b"live", 0))
    visit.send(Publish("chat/presence/old", said % b"old", 0, retain=True))
    assert not body(visit.message("chat/presence/old"))["online"]
    assert not visit.messages("chat/presence/live")


@pytest.mark.parametrize("version", [V5, V311])
def test_a_retained_message_is_not_a_request(server: Server, broker: ScriptedBroker, version: int) -> None:
    visit = broker.visit()
    if version == V311:
        visit.refuse(Reason.UNSUPPORTED_PROTOCOL_VERSION)
        visit = broker.visit()
    visit.open()
    for packet_id, topic in enumerate(("chat/from/oven/say/lab", "chat/direct/alice/oven"), 1):
        visit.send(Publish(topic, b"an hour ago", 1, retain=True, packet_id=packet_id))
        acknowledged(visit, packet_id)
    assert server.chat.channel("lab") is None


@pytest.mark.parametrize("version", [V5, V311])
def test_refusals_are_published_and_counted(server: Server, broker: ScriptedBroker, version: int) -> None:
    visit = broker.visit()
    if version == V311:
        visit.refuse(Reason.UNSUPPORTED_PROTOCOL_VERSION)
        visit = broker.visit()
    visit.open()
    for at, (topic, payload, code) in enumerate(
        (
            ("say/lab", b"\xff\xfe", "bad-frame"),
            ("fly/lab", b"", "unknown-command"),
            ("say/la b", b"x", "bad-name"),
            ("say/lab", b"x" * 20_000, "too-long"),
            ("say/lab", b"x" * 5_000_000, "too-long"),
            ("say/lab", b"x" * 9_000_000, "too-long"),
            ("say/lab", b" ", "empty"),
            ("join", b"", "bad-name"),
        ),
        1,
    ):
        packet_id = visit.bring(f"chat/from/oven/{topic}", payload)
        error = body(visit.message("chat/to/oven/error"))
        assert (error["code"], error["topic"]) == (code, f"chat/from/oven/{topic}")
        acknowledged(visit, packet_id)
        assert (status(server).refused, status(server).connected) == (at, True)
    for name in ("@oven", "o ven", "", "x" * 33, "öven"):
        packet_id = visit.bring(f"chat/from/{name}/say/lab", b"hello")
        acknowledged(visit, packet_id)
    assert status(server).refused == 13
    told = {packet.topic for packet in visit.messages() if packet.topic.endswith("/error")}
    assert told == {"chat/to/oven/error"}, "a name that is not valid is in no topic"
    assert [user.name for user in server.chat.directory.users()] == ["oven"]


_LEVELS = st.sampled_from(["oven", "Oven", "", "say", "msg", "lab", "@lab", "register", "gone", "who", "who "])
_PAYLOADS = st.binary(max_size=20) | st.sampled_from(
    [b'{"text": "\\ud800"}', b'{"text": 1}', b'{"text": "x", "id": ""}', b'{"since": -1}', b'{"limit": 1e9}', b"{" * 99]
)


def test_no_message_ends_the_connection(server: Server, broker: ScriptedBroker) -> None:
    visit = broker.visit()
    visit.open()
    wait(server, lambda status: status.connected)

    @settings(max_examples=examples(1))
    @given(st.lists(st.tuples(st.lists(_LEVELS, max_size=4), _PAYLOADS), max_size=12))
    def goes_on(messages: list[tuple[list[str], bytes]]) -> None:
        for levels, payload in messages:
            acknowledged(visit, visit.bring("/".join(["chat", "from", *levels]), payload))
        assert status(server).connected

    goes_on()
    assert status(server).received > 50


def test_a_name_in_use_is_refused(server: Server, broker: ScriptedBroker, connect: Connected) -> None:
    visit = broker.visit()
    visit.open()
    alice, carol = connect(server.address, "alice"), connect(server.address, "carol")
    carol.request(Register("open-sesame"))
    for name, code in (("alice", "name-taken"), ("ALICE", "name-taken"), ("carol", "need-password")):
        visit.bring(f"chat/from/{name}/say/lab", "it is me")
        assert body(visit.message(f"chat/to/{name}/error"))["code"] == code
    for password, code in (("wrong", "wrong-password"), ("", "need-password")):
        visit.bring("chat/from/carol/register", json.dumps({"password": password}) if password else "")
        assert body(visit.message("chat/to/carol/error"))["code"] == code
    visit.bring("chat/from/carol/register", '{"password": "open-sesame"}')
    assert body(visit.message("chat/to/carol/register"))["name"] == "carol"
    visit.bring("chat/from/CAROL/say/lab", "I am the same")
    assert body(visit.message("chat/to/CAROL/error"))["code"] == "need-password"
    visit.bring("chat/from/CAROL/register", '{"password": "open-sesame"}')
    assert body(visit.message("chat/to/CAROL/register"))["name"] == "carol"
    visit.bring("chat/from/carol/say/lab", "I was the same")
    assert body(visit.message("chat/to/carol/error"))["code"] == "need-password"
    assert alice.request(Whois("carol")).doors == ["broker", "socket"]


def test_a_private_log_of_two_users_on_the_broker(server: Server, broker: ScriptedBroker) -> None:
    visit = broker.visit()
    visit.open()
    visit.acknowledge = False
    visit.bring("chat/from/alice/register", "")
    visit.bring("chat/from/bob/register", "")
    visit.bring("chat/from/alice/msg/bob", "hello")
    mine, theirs = visit.message("chat/to/alice/msg/bob"), visit.message("chat/to/bob/msg/alice")
    assert mine.packet_id != theirs.packet_id
    assert (body(mine)["text"], body(theirs)["text"]) == ("hello", "hello")
    store = server.chat.store
    row = server.chat.private_log("alice", "bob", Origin("alice", None)).row
    visit.ack(theirs.packet_id)
    visit.ack(mine.packet_id)
    eventually(lambda: store.cursor(row, "alice") == store.cursor(row, "bob") == 1, lambda: "the cursors stay")
