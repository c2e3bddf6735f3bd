"""Files over another broker: three users by three transports, and a user who asks for more than it reads."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from bridge.mirror import BrokerConfig
from tests.support.brokers.scripted import ScriptedBroker
from tests.support.brokers.site import Site
from tests.support.clients import Json
from tests.support.files import DATA, FINE, INIT, SHA, fetch, file, fill, listening, offer, reason
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine, body
from wire.frames import Entry, Fetched, Have, Join, Ranges, Taken
from wire.mqtt import PubAck

Connect = Callable[..., Json]
Mqtt = Callable[..., MqttLine]


def fetched(line: MqttLine, id: str) -> bytes:
    """Fetch all of a file, range by range."""
    size: int = file(line, id, "have")["size"]
    data = b""
    while len(data) < size:
        line.do(f"file/{id}/get", json.dumps({"offset": len(data), "length": size - len(data)}))
        data += line.message(f"chat/to/{line.name}/file/{id}/{len(data)}").payload
    return data


def test_three_users_by_three_transports(site: Site, connect: Connect, mqtt: Mqtt) -> None:
    """Each offers a file in the channel and fetches those of the others; each sender is told who has fetched it."""
    alice = connect(site.server.address, "alice")
    alice.request(Join("lab"))
    lamp = listening(mqtt(site.server.address, "lamp"))
    lamp.do("join/lab")
    oven = site.line("oven", "chat/channels/lab")
    oven.ask("join/lab")

    from_alice = offer(alice, user="", channel="lab")
    fill(alice, from_alice)
    for line in (lamp, oven):
        assert body(line.message("chat/channels/lab", lambda packet: b'"file"' in packet.payload))["file"] == from_alice
        assert fetched(line, from_alice) == DATA
        assert reason(file(line, from_alice, "taken")) == FINE
        assert alice.expect(Fetched) == Fetched(from_alice, "x.bin", line.name)

    for sender, other in ((lamp, oven), (oven, lamp)):
        first = file(sender, "own", "init", {**INIT, "to": "#lab"})
        assert reason(first) == FINE
        for offset in (200_000, 0, 100_000):
            assert reason(file(sender, "own", str(offset), DATA[offset : offset + 100_000])) == FINE
        assert reason(file(sender, "own", "300000", DATA[300_000:])) == FINE
        assert reason(file(sender, "own", f"fin/{len(DATA)}/{SHA}")) == FINE
        id = first["file"]
        while (entry := alice.expect(Entry)).file != id:
            pass
        assert entry.sender == sender.name
        assert fetch(alice, id) == DATA
        alice.request(Taken(file=id))
        assert body(sender.message(f"chat/to/{sender.name}/fetched"))["user"] == "alice"
        assert fetched(other, id) == DATA


def test_a_private_offer_to_and_from_the_broker(site: Site, connect: Connect) -> None:
    """Only the two of them get it; the server keeps it for a user who is away."""
    bob = connect(site.server.address, "bob")
    oven = site.line("oven")
    first = file(oven, "log", "init", INIT)
    file(oven, "log", "0", DATA)
    assert reason(file(oven, "log", f"fin/{len(DATA)}")) == FINE
    id = first["file"]
    assert bob.expect(Entry).file == id
    assert fetch(bob, id) == DATA
    assert reason(file(site.line("eve"), id, "have")) == (128, "filemeta_not_found")
    back = offer(bob, user="fan")  # a name that was never used
    fill(bob, back)
    state = bob.request(Have(file=back))
    assert isinstance(state, Ranges)
    fan = site.line("fan")
    fan.do("register")
    assert body(fan.message("chat/to/fan/msg/bob"))["file"] == back
    assert fetched(fan, back) == DATA


def test_a_user_asks_for_more_than_the_broker_takes(
    quick: None, start_server: StartServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mirror waits for the broker, however much one user requests at once; everyone gets their answers."""
    broker = ScriptedBroker()
    server = start_server(broker=BrokerConfig(url=broker.url))
    visit = broker.visit()
    visit.open()
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    data = bytes(256) * 1024  # one chunk
    id = offer(alice, user="", channel="lab", size=len(data))
    fill(alice, id, data)
    visit.bring("chat/from/oven/join/lab", "")
    asked = [
        visit.bring(f"chat/from/oven/file/{id}/get", json.dumps({"offset": 0, "length": len(data)})) for _ in range(80)
    ]  # 20 MiB of answers, which nobody reads yet
    chunks = [visit.message(f"chat/to/oven/file/{id}/0") for _ in asked]
    assert {chunk.payload for chunk in chunks} == {data}
    taken = {visit.expect(PubAck).packet_id for _ in range(len(asked) + 1)}
    assert taken.issuperset(asked)
    assert server.chat.mirror_status is not None
    assert server.chat.mirror_status().connected
    broker.close()
