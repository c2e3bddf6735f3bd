"""Limits of the embedded broker: keep-alive, packets, retained messages, messages for who is away; and its log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bridge.embedded import BrokerSupervisor
from bridge.embedded.retained import MESSAGE, RetainedLimit
from store import open_store
from tests.support.brokers.access import free_port
from tests.support.clients import Json
from tests.support.fixtures import StartProcess
from tests.support.mqtt import MqttLine
from tests.support.processes import JSON_LOG, LogLines
from tests.support.waiting import DEADLINE
from wire.frames import Register
from wire.limits import Limits
from wire.mqtt import V311, Publish, Will

LIMITS = Limits(payload=10_000, retained_per_user=3 * (MESSAGE + 20), retained=5 * (MESSAGE + 20), queued=10)
Enter = Callable[..., MqttLine]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerSupervisor]:
    """A running broker with LIMITS for all tests of this module; each test uses topics of its own."""
    data = tmp_path_factory.mktemp("embedded") / "data"
    open_store(data).close()
    made = BrokerSupervisor("127.0.0.1", 0, data, "chat", limits=LIMITS)
    made.start()
    assert made.wait_until_ready(DEADLINE)
    yield made
    made.close()


@pytest.fixture
def enter(broker: BrokerSupervisor, mqtt: Callable[..., MqttLine]) -> Enter:
    """Connect by name."""
    address = urlsplit(broker.url).netloc.rpartition("@")[2]
    return lambda name, **fields: mqtt(address, name, version=V311, **fields)


def test_a_device_that_loses_power_triggers_its_will(enter: Enter) -> None:
    lamp = enter("lamp")
    lamp.subscribe("power/#")
    enter("oven", keep_alive=1, will=Will("power/oven", b"off"))
    enter("fan", keep_alive=600, will=Will("power/fan", b"off"))
    assert lamp.message("power/oven").payload == b"off"
    lamp.ping()
    assert not lamp.messages("power/fan")


def test_a_part_of_a_packet_is_no_sign_of_life(enter: Enter) -> None:
    """A header that is followed by nothing; and a device that sends its pings stays."""
    lamp = enter("lamp")
    lamp.subscribe("part/#")
    oven = enter("oven", keep_alive=1, will=Will("part/oven", b"off"))
    fan = enter("fan", keep_alive=1, will=Will("part/fan", b"off"))
    oven.send_bytes(b"\x30\x20\x00")
    while not lamp.messages("part/oven"):
        fan.ping()
        lamp.ping()
    assert not lamp.messages("part/fan")


def test_a_packet_above_the_limit_ends_the_connection(enter: Enter) -> None:
    """At its header: nothing of it is kept. One below the limit arrives whole."""
    lamp = enter("lamp")
    lamp.subscribe("size/#")
    oven = enter("oven", will=Will("size/will", b"off"))
    oven.send(Publish("size/x", b"x" * 9_900))
    assert len(lamp.message("size/x").payload) == 9_900
    oven.send_bytes(b"\x30\xff\xff\xff\x7f")
    assert lamp.message("size/will").payload == b"off"
    oven.until_closed()


def test_retained_messages_have_a_limit_for_each_user_and_for_all(enter: Enter) -> None:
    lamp, ann, ben = enter("lamp"), enter("ann"), enter("ben")
    lamp.subscribe("kept/#")
    for line in (ann, ben):
        for n in range(5):
            line.send(Publish(f"kept/{line.name}/{n}", b"x", 1, retain=True, packet_id=n + 1))
            assert lamp.message(f"kept/{line.name}/{n}").payload == b"x", "who is there gets it in any case"

    def kept() -> list[str]:
        reader = enter("reader")
        reader.subscribe("kept/#")
        reader.ping()
        reader.send(Publish("kept/end", b""))
        reader.message("kept/end")
        topics = [each.topic for each in reader.received if isinstance(each, Publish) and each.retain]
        reader.close()
        return sorted(topics)

    assert kept() == [*[f"kept/ann/{n}" for n in range(3)], *[f"kept/ben/{n}" for n in range(2)]]
    ann.send(Publish("kept/ann/0", b"", 1, retain=True, packet_id=9))
    lamp.message("kept/ann/0", lambda packet: packet.payload == b"")
    ben.send(Publish("kept/ben/2", b"x", 1, retain=True, packet_id=9))
    lamp.message("kept/ben/2")
    assert kept() == ["kept/ann/1", "kept/ann/2", *[f"kept/ben/{n}" for n in range(3)]]


def test_the_bytes_of_retained_messages_follow_what_is_retained() -> None:
    limit = RetainedLimit(2_000, 3_000)
    assert limit.take("ann", "a", 500)
    assert not limit.take("ann", "b", 1_000)
    assert limit.take("ann", "a", 1_400), "in place of the earlier one"
    assert not limit.take("ben", "b", 1_000), "above the limit of all"
    assert limit.take("ben", "a", 100), "another user's takes its place"
    assert limit.take("ann", "b", 1_000)
    limit.drop("a")
    limit.drop("a")
    limit.drop("b")
    assert (limit._total, dict(limit._by_user), limit._by_topic) == (0, {}, {})


def test_a_client_that_is_away_gets_a_bounded_number_of_messages(enter: Enter) -> None:
    oven = enter("oven", clean=False, client_id="away")
    oven.subscribe("away/#", qos=1)
    oven.close()
    ann = enter("ann")
    for n in range(50):
        ann.publish(f"away/{n}", b"x")
    again = enter("oven", clean=False, client_id="away")
    ann.publish("away/end", b"x")
    again.message("away/end")
    assert len([each for each in again.received if isinstance(each, Publish)]) <= LIMITS.queued + 1


def test_its_log(start_process: StartProcess, mqtt: Callable[..., MqttLine], tmp_path: Path) -> None:
    """The same lines as of the server's own doors, in the same form, on the same stream."""
    port = free_port()
    process = start_process(*JSON_LOG, "--broker", f"embedded://127.0.0.1:{port}")
    log, address = LogLines(process), f"127.0.0.1:{port}"
    log.wait("broker-notice", broker=address)
    log.wait("broker-ready", broker=address)
    log.wait("mirror-connected", broker=address)
    here = {"address": "127.0.0.1", "protocol": "embedded"}
    with Json(process.address, "ann") as ann:
        ann.request(Register("open sesame, please"))
    mqtt(address, "ann", version=V311, password=b"a guess", refused=True)
    log.wait("wrong-password", user="ann", level="warning", **here)
    oven = mqtt(address, "oven", version=V311, client_id="one", keep_alive=1)
    log.wait("login", user="oven", client="one", **here)
    log.wait("cut-off", user="oven", reason="too-slow", **here)
    log.wait("logout", user="oven", **here)
    oven.close()
    mqtt(address, "oven", version=V311, will=Will("chat/from/ann/say/lab", b"x"), refused=True)
    log.wait("refused-will", user="oven", **here)
    with Json(address) as stranger:
        stranger.send_bytes(b"GET / HTTP/1.1\r\n\r\n")
        log.wait("cut-off", reason="malformed", **here)
    assert process.stop() == 0
    assert "guess" not in process.log
    assert "sesame" not in process.log
    assert all(json.loads(line) for line in process.log.splitlines())
