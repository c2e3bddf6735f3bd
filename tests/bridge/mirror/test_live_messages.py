"""Live messages over a scripted broker that speaks MQTT 3.1.1, which sends the mirror its own messages back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.mirror import live
from server import Server
from tests.support.brokers.scripted import ScriptedBroker, Visit, broker, server, status
from tests.support.brokers.site import quick
from tests.support.mqtt import MqttLine
from wire.mqtt import V311, Publish, Reason

__all__ = ["broker", "quick", "server"]
pytestmark = pytest.mark.usefixtures("quick")
OUTWARDS, INWARDS = "chat/direct/outside/inside", "chat/direct/inside/outside"


@pytest.fixture
def visit(broker: ScriptedBroker, server: Server) -> Visit:
    """The mirror's connection, with the user outside on the broker."""
    broker.visit().refuse(Reason.UNSUPPORTED_PROTOCOL_VERSION)
    return entered(broker.visit())


def entered(visit: Visit, *, present: bool = False) -> Visit:
    """Open the connection, and have outside register."""
    visit.open(present=present)
    visit.bring("chat/from/outside/register", "")
    visit.message("chat/to/outside/register")
    return visit


@pytest.fixture
def inside(server: Server, mqtt: Callable[..., MqttLine], visit: Visit) -> MqttLine:
    """A client of this server, which reads its live messages."""
    line = mqtt(server.address, "inside", version=V311)
    line.subscribe("chat/direct/inside/+")
    return line


def refused(server: Server, visit: Visit) -> int:
    """Return how many messages were refused, after the mirror's thread has handled everything before."""
    visit.bring("chat/from/outside/status", "")
    visit.message("chat/to/outside/status")
    return status(server).refused


def publish(inside: MqttLine, visit: Visit, *payloads: str) -> None:
    """Publish live messages from inside to outside, and wait until the broker has them."""
    for payload in payloads:
        inside.publish(OUTWARDS, payload)
        assert visit.message(OUTWARDS).payload == payload.encode()


def test_the_mirror_drops_as_many_echoes_as_it_has_published(server: Server, visit: Visit, inside: MqttLine) -> None:
    publish(inside, visit, "same", "same", "same")
    for _ in range(3):
        visit.bring(OUTWARDS, "same", 0)
    assert refused(server, visit) == 0
    visit.bring(OUTWARDS, "same", 0)  # a client of the broker that uses the name of inside
    assert refused(server, visit) == 1


def test_no_echo_is_awaited_on_the_next_connection(
    server: Server, broker: ScriptedBroker, visit: Visit, inside: MqttLine
) -> None:
    publish(inside, visit, "once")
    visit.close()
    broker.newest().refuse(Reason.UNSUPPORTED_PROTOCOL_VERSION)
    again = entered(broker.newest(), present=True)
    again.bring(OUTWARDS, "once", 0)
    assert refused(server, again) == 1


def test_the_number_of_echoes_is_limited(
    server: Server, visit: Visit, inside: MqttLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_MOST_ECHOES", 2)
    publish(inside, visit, "a", "b", "c")  # at the third one, the first two are forgotten
    for payload, count in (("c", 0), ("a", 1), ("b", 2)):
        visit.bring(OUTWARDS, payload, 0)
        assert refused(server, visit) == count


def test_a_retained_live_message_is_old(visit: Visit, inside: MqttLine) -> None:
    visit.send(Publish(INWARDS, b"an hour ago", 0, retain=True))
    visit.bring(INWARDS, "now", 0)
    assert inside.message(INWARDS).payload == b"now"
