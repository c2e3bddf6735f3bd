"""A broker that refuses the mirror, hangs up or falls silent, or a peer that is not a broker: status and log."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reporting import events
from server import Server
from tests.support.brokers.scripted import ScriptedBroker, broker, server, status, wait
from tests.support.clients import Json
from tests.support.reported import Reported
from wire.frames import Join, Say
from wire.mqtt import Disconnect, PubAck, Publish, Reason

__all__ = ["broker", "server"]
Connected = Callable[..., Json]
pytestmark = pytest.mark.usefixtures("quick")


def test_a_refused_subscription_is_reported(server: Server, broker: ScriptedBroker, reported: Reported) -> None:
    for _ in range(3):
        visit = broker.visit()
        visit.accept()
        visit.grant(Reason.NOT_AUTHORIZED, Reason.NOT_AUTHORIZED, 0)
    sentence = (
        f"{broker.address}: it does not allow us to subscribe to chat/from/# and chat/direct/+/+ (see server.py acl)"
    )
    assert wait(server, lambda status: "not allow us" in status.error).error == sentence
    visit = broker.visit()
    visit.accept()
    visit.grant(1, Reason.NOT_AUTHORIZED, 0)
    wait(server, lambda status: status.connected)
    assert (
        status(server).error
        == f"{broker.address} does not allow us to subscribe to chat/direct/+/+ (see server.py acl)."
    )
    assert [event.error for event in reported.of(events.MirrorDisconnected)].count(sentence) == 1


def test_a_broker_without_qos_1_is_reported(server: Server, broker: ScriptedBroker) -> None:
    broker.visit().accept(maximum_qos=0)
    found = wait(server, lambda status: "QoS" in status.error)
    assert found.error == f"{broker.address}: it does not accept QoS 1, so entries could be lost"


def test_a_rejected_message_is_reported_once(
    server: Server, broker: ScriptedBroker, connect: Connected, reported: Reported
) -> None:
    visit = broker.visit()
    visit.open()
    visit.acknowledge = False
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    for n in range(5):
        alice.request(Say(f"{n}", "lab"))
    for _ in range(10):
        packet = visit.expect(Publish, lambda packet: packet.qos == 1)
        visit.send(PubAck(packet.packet_id, Reason.NOT_AUTHORIZED))
    found = wait(server, lambda status: status.behind == 0)
    assert found.connected
    assert found.error == (
        f"{broker.address} rejects some of our messages: our user may not connect, or may not use these topics."
    )
    assert ["rejects some" in event.error for event in reported.of(events.MirrorRefused)] == [True]


def test_a_broker_that_ends_every_connection_does_not_fill_the_log(
    server: Server, broker: ScriptedBroker, connect: Connected, reported: Reported
) -> None:
    """Mosquitto 2.0.11 does so if the user may not publish."""
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    alice.request(Say("hello", "lab"))
    for _ in range(8):
        visit = broker.newest()
        visit.acknowledge = False
        visit.open()
        packet = visit.expect(Publish, lambda packet: packet.qos == 1)
        visit.send(PubAck(packet.packet_id, Reason.NOT_AUTHORIZED))
        visit.close()
    assert "rejects some of our messages" in wait(server, lambda status: not status.connected).error
    said = [str(event) for event in reported.events if event.code.startswith("mirror-")]
    assert said
    assert len(set(said)) == len(said), said
    visit = broker.newest()
    visit.open()
    visit.message("chat/channels/lab/text")
    wait(server, lambda status: status.behind == 0)


def test_a_session_that_is_taken_over_is_explained(server: Server, broker: ScriptedBroker) -> None:
    visit = broker.visit()
    visit.open()
    visit.send(Disconnect(Reason.SESSION_TAKEN_OVER))
    wait(server, lambda status: "another Partyline server may use the same root there" in status.error)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00" * 20])
def test_a_peer_that_does_not_speak_mqtt_is_reported_at_once(
    server: Server, broker: ScriptedBroker, answer: bytes, reported: Reported
) -> None:
    """The peer keeps the connection open, as it waits for the rest of a request."""
    for _ in range(4):
        connection = broker.connection()
        connection.recv(1_000)
        connection.sendall(answer)
    sentence = f"{broker.address} does not speak MQTT; is the address right?"
    wait(server, lambda status: status.error == sentence)
    assert sentence in [event.error for event in reported.of(events.MirrorDisconnected)]


@pytest.mark.parametrize("answer", [b"", b"\x20\x02\x00\x02", b"\x20\x00"])
def test_a_broker_that_answers_wrongly_is_reported(
    server: Server, broker: ScriptedBroker, connect: Connected, answer: bytes
) -> None:
    for _ in range(4):
        connection = broker.connection()
        connection.recv(1_000)
        connection.sendall(answer)
        connection.close()
    found = wait(server, lambda status: "refused the connection" in status.error)
    assert found.error.startswith(f"{broker.address} refused the connection: ")
    assert found.error.count(".") <= 5
    connect(server.address, "alice").request(Join("lab"))


def test_a_broker_that_falls_silent_is_disconnected(server: Server, broker: ScriptedBroker) -> None:
    visit = broker.visit()
    visit.open(server_keep_alive=1)
    visit.until_closed()
    wait(server, lambda status: "did not answer for 1.5 s" in status.error)


def test_a_broker_that_reads_nothing_is_disconnected(
    server: Server, broker: ScriptedBroker, connect: Connected
) -> None:
    visit = broker.visit()
    visit.open(server_keep_alive=1)
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    for _ in range(10):
        alice.send(*[Say("x" * 15_000, "lab") for _ in range(100)])
        alice.request(Say("done", "lab"))
    wait(server, lambda status: "did not answer for 1.5 s" in status.error)
