"""Files over MQTT: the commands of EMQX and ours, in any order and size, with clients at every door."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from server import Server
from tests.support.clients import Json
from tests.support.files import DATA, FINE, INIT, SHA, fetch, file, fill, listening, offer, reason
from tests.support.fixtures import StartProcess, StartServer
from tests.support.mqtt import MqttLine, body
from wire.frames import Entry, Fetched, Join, Taken
from wire.limits import Limits

Mqtt = Callable[..., MqttLine]
Connect = Callable[..., Json]


def test_a_device_sends_a_file(server: Server, connect: Connect, mqtt: Mqtt, version: int) -> None:
    """In segments of any order and size, some of them twice; a person in a terminal fetches the file."""
    bob = connect(server.address, "bob")
    oven = listening(mqtt(server.address, "oven", version=version))
    first = file(oven, "log-1", "init", INIT)
    assert reason(first) == FINE
    assert reason(file(oven, "log-1", "init", INIT)) == FINE
    assert reason(file(oven, "log-1", "init", {**INIT, "size": 5})) == (128, "filemeta_conflict")
    assert reason(file(oven, "log-1", f"fin/{len(DATA)}/{SHA}")) == (128, "incomplete")
    segment = DATA[100_000:200_000]
    assert reason(file(oven, "log-1", f"100000/{SHA}", segment)) == (128, "checksum_mismatch")
    for _ in range(2):
        assert reason(file(oven, "log-1", f"100000/{hashlib.sha256(segment).hexdigest()}", segment)) == FINE
    assert file(oven, "log-1", "have")["have"] == [[100_000, 200_000]]
    assert reason(file(oven, "log-1", "200000", DATA[200_000:] + b"x")) == (128, "invalid_offset")
    assert reason(file(oven, "log-1", "200000", DATA[200_000:])) == FINE
    assert reason(file(oven, "log-1", "0", DATA[:100_001])) == FINE
    assert reason(file(oven, "log-1", "fin/5")) == (128, "invalid_offset")
    assert reason(file(oven, "log-1", f"fin/{len(DATA)}")) == FINE
    assert reason(file(oven, "log-1", f"fin/{len(DATA)}/{SHA}")) == FINE
    id = first["file"]
    assert bob.expect(Entry).file == id
    assert fetch(bob, id) == DATA
    bob.request(Taken(file=id))
    assert body(oven.message("chat/to/oven/fetched")) == {"file": id, "name": "x.bin", "user": "bob"}
    assert oven.ask("files")["files"][0]["fetched"] == ["bob"]
    assert reason(file(oven, "log-1", "abort")) == FINE
    assert reason(file(oven, "log-1", "have")) == (131, "gone")


def test_a_device_fetches_a_file(server: Server, connect: Connect, mqtt: Mqtt, version: int) -> None:
    """By ranges, as raw bytes; while the file is uploaded, the device is told when it has more bytes."""
    alice = connect(server.address, "alice")
    lamp = listening(mqtt(server.address, "lamp", version=version))
    id = offer(alice, user="lamp")
    assert body(lamp.message("chat/to/lamp/msg/alice"))["file"] == id
    lamp.do(f"file/{id}/get", '{"offset":0,"length":9}')
    assert lamp.message(f"chat/to/lamp/file/{id}/0").payload == b""
    fill(alice, id, DATA)
    assert body(lamp.message(f"chat/to/lamp/file/{id}")) == {"more": True}
    state = file(lamp, id, "have")
    assert (state["size"], state["sha256"], state["done"]) == (len(DATA), SHA, True)
    got = b""
    while len(got) < len(DATA):
        lamp.do(f"file/{id}/get", json.dumps({"offset": len(got), "length": len(DATA) - len(got)}))
        got += lamp.message(f"chat/to/lamp/file/{id}/{len(got)}").payload
    assert got == DATA
    assert file(lamp, id, "sum", {"offset": 0, "length": 9})["sha256"] == hashlib.sha256(DATA[:9]).hexdigest()
    assert reason(file(lamp, id, "taken")) == FINE
    assert alice.expect(Fetched).user == "lamp"
    assert reason(file(lamp, id, "get", {"offset": len(DATA), "length": 1})) == (128, "invalid_offset")
    assert reason(file(lamp, id, "0", b"x")) == (135, "not_authorized")
    assert reason(file(lamp, "zzzz", "have")) == (128, "filemeta_not_found")


def test_a_file_for_a_channel_by_each_door(server: Server, connect: Connect, mqtt: Mqtt) -> None:
    """The offer joins the channel; a stranger learns nothing; an answer that is too large is an error."""
    alice, carol = connect(server.address, "alice"), listening(mqtt(server.address, "carol"))
    alice.request(Join("lab"))
    assert reason(file(carol, "c", "init", {**INIT, "to": "#lab"})) == FINE
    assert reason(file(carol, "c", "0", DATA)) == FINE
    assert reason(file(carol, "c", f"fin/{len(DATA)}")) == FINE
    id = alice.expect(Entry).file
    assert id is not None
    assert fetch(alice, id) == DATA
    dave = listening(mqtt(server.address, "dave"))
    assert reason(file(dave, id, "have")) == reason(file(dave, "c", "have")) == (128, "filemeta_not_found")
    dave.do("join/lab")
    small = listening(mqtt(server.address, "erin"))
    small.do("join/lab")
    small.do(f"file/{id}/get", '{"offset":0,"length":100}')
    assert small.message(f"chat/to/erin/file/{id}/0").payload == DATA[:100]


def test_quota_and_size(start_server: StartServer, mqtt: Mqtt) -> None:
    """The PUBACK has the reason of MQTT, too. A quota counts bytes that have come, and a reserve."""
    server = start_server(limits=Limits(file_size=100_000, files_per_user=180_000))
    oven = listening(mqtt(server.address, "oven"))
    assert reason(file(oven, "a", "init", {**INIT, "size": 100_001})) == (131, "file_too_large")
    for id in ("a", "b"):
        assert reason(file(oven, id, "init", {**INIT, "size": 100_000})) == FINE
    assert reason(file(oven, "a", "0", DATA[:80_000])) == FINE
    assert reason(file(oven, "b", "0", DATA[:10])) == (151, "quota_exceeded")
    assert oven.do("file/b/0", DATA[:10]).reason == 151
    assert reason(file(oven, "b", "abort")) == FINE
    assert reason(file(oven, "a", "80000", DATA[80_000:100_000])) == FINE


def test_after_kill_9_a_device_goes_on(start_process: StartProcess, mqtt: Mqtt) -> None:
    """The server has every segment that it has acknowledged."""
    process = start_process()
    oven = listening(mqtt(process.address, "oven"))
    file(oven, "a", "init", INIT)
    assert oven.do("file/a/50000", DATA[50_000:90_000]).reason == 0
    process.restart()
    oven = listening(mqtt(process.address, "oven"))
    assert file(oven, "a", "init", INIT)["have"] == [[50_000, 90_000]]
    assert oven.do("file/a/0", DATA[:50_000]).reason == 0
    assert oven.do("file/a/90000", DATA[90_000:], qos=2).reason == 0
    assert reason(file(oven, "a", f"fin/{len(DATA)}")) == FINE
