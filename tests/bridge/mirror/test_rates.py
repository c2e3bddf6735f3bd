"""Rate limits of users on another broker: each for itself, nobody waits, and an outage costs nobody a message."""

from __future__ import annotations

from functools import partial

import pytest

from bridge.mirror import BrokerConfig
from server import Server
from tests.support.brokers.scripted import ScriptedBroker, Visit, broker, status
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine, body
from wire.limits import Limits
from wire.mqtt import PubAck, Publish

__all__ = ["broker"]  # a fixture

_POSTS = Limits(posts_per_second=1, posts_burst=5, live_per_second=5)


@pytest.fixture
def server(start_server: StartServer, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server with few posts a second, whose buckets do not fill, and which has been connected all the time."""
    monkeypatch.setattr("channels.rates.meter.time.monotonic", lambda: 1_000.0)
    monkeypatch.setattr("bridge.mirror.session._LONGEST", 0.0)
    return start_server(broker=BrokerConfig(url=broker.url), limits=_POSTS)


def opened(broker: ScriptedBroker) -> Visit:
    visit = broker.visit()
    visit.open()
    return visit


def bring(visit: Visit, name: str, count: int) -> None:
    """Have a user post so often; returns when everything is acknowledged."""
    for packet_id in [visit.bring(f"chat/from/{name}/say/lab", f"{name} {n}") for n in range(count)]:
        visit.expect(PubAck, partial(_acknowledges, packet_id))


def _acknowledges(packet_id: int, packet: PubAck) -> bool:
    return packet.packet_id == packet_id


def test_each_user_has_a_limit_and_is_told(server: Server, broker: ScriptedBroker) -> None:
    visit = opened(broker)
    bring(visit, "oven", 20)
    bring(visit, "kiln", 3)
    errors = [body(packet) for packet in visit.messages("chat/to/oven/error")]
    assert len(errors) == 15
    assert {error["code"] for error in errors} == {"rate-limited"}
    assert errors[0]["error"] == "You post faster than the server accepts. Try again in 1 second."
    assert visit.messages("chat/to/kiln/error") == []
    texts = [entry.text for entry in server.chat.store.read(server.chat.known_channel("lab").row, 0, 100)]
    assert texts == [*[f"oven {n}" for n in range(5)], *[f"kiln {n}" for n in range(3)]]
    assert status(server).refused == 15


def test_long_posts_of_a_user_have_a_limit_of_their_own(
    start_server: StartServer, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.rates.meter.time.monotonic", lambda: 1_000.0)
    start_server(broker=BrokerConfig(url=broker.url), limits=Limits(post_bytes_per_second=100, post_bytes_burst=2_000))
    visit = opened(broker)
    for size in (3_024, 1_025, 1_024):
        packet_id = visit.bring("chat/from/oven/say/lab", "x" * size)
        visit.expect(PubAck, partial(_acknowledges, packet_id))
    errors = [body(packet)["error"] for packet in visit.messages("chat/to/oven/error")]
    assert errors == ["You post more bytes than the server accepts. Try again in 1 second."]


def test_after_an_outage_a_user_may_deliver_what_the_limit_allowed_meanwhile(
    server: Server, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.mirror.mirror._PAUSES", (0.01, 0.02))
    visit = opened(broker)
    bring(visit, "oven", 5)
    monkeypatch.setattr("bridge.mirror.session.MirrorSession._outage", lambda self: 30.0)
    visit.close()
    again = broker.newest()
    again.open(present=True)
    bring(again, "oven", 40)
    bring(again, "newcomer", 40)
    assert len(again.messages("chat/to/oven/error")) == 10, "30 seconds at 1 a second"
    assert len(again.messages("chat/to/newcomer/error")) == 5, "and a burst of 5"
    assert server.chat.known_channel("lab").tail == 5 + 30 + 35


def test_live_messages_have_a_limit(server: Server, broker: ScriptedBroker) -> None:
    visit = opened(broker)
    with MqttLine(server.address, "bob") as bob:
        bob.subscribe("chat/direct/bob/+")
        for n in range(20):
            visit.send(Publish("chat/direct/bob/oven", f"{n}".encode(), 0))
        assert body(visit.message("chat/to/oven/error"))["error"].startswith("You send live messages too fast.")
        bring(visit, "oven", 1)
        bob.ping()
        assert [packet.payload for packet in bob.messages("chat/direct/bob/oven")] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_broker_that_checks_no_names_has_few_new_ones(start_server: StartServer, broker: ScriptedBroker) -> None:
    server = start_server(broker=BrokerConfig(url=broker.url), limits=Limits(new_names_per_hour=3))
    visit = opened(broker)
    for n in range(6):
        bring(visit, f"oven{n}", 1)
    known = [n for n in range(6) if server.chat.store.account(f"oven{n}") is not None]
    assert known == [0, 1, 2]
    assert body(visit.message("chat/to/oven3/error"))["code"] == "rate-limited"
    bring(visit, "oven0", 1)
    assert server.chat.known_channel("lab").tail == 4
