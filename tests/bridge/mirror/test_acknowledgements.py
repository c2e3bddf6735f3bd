"""The mirror acknowledges posts in the order in which the broker sent them ([MQTT-4.6.0-2])."""

from __future__ import annotations

import threading
from itertools import pairwise

from bridge.mirror import BrokerConfig
from bridge.mirror.acknowledgements import Acknowledgements
from tests.support.brokers.scripted import ScriptedBroker, broker
from tests.support.fixtures import StartServer
from wire.mqtt import PubAck, Publish

__all__ = ["broker"]

PUBACKS = [b"\x40\x02\0" + bytes([packet_id]) for packet_id in range(10)]


def test_posts_of_several_users_are_acknowledged_in_their_order(
    start_server: StartServer, broker: ScriptedBroker
) -> None:
    """Mosquitto 2.0 delivers messages out of turn otherwise."""
    start_server(broker=BrokerConfig(url=broker.url))
    visit = broker.visit()
    visit.open()
    for me in ("oven", "lamp", "door"):
        visit.bring(f"chat/from/{me}/say/lab", "first")
    users = ("oven", "lamp", "oven", "door", "lamp", "oven", "door", "lamp") * 10
    posts = [Publish(f"chat/from/{me}/say/lab", b"x", 1, packet_id=at) for at, me in enumerate(users, 1_000)]
    visit.send(*posts)
    last = posts[-1].packet_id
    visit.expect(PubAck, lambda packet: packet.packet_id == last)
    found = [packet.packet_id for packet in visit.received if isinstance(packet, PubAck) and packet.packet_id >= 1_000]
    assert found == [post.packet_id for post in posts]


def test_a_post_waits_for_those_before_it() -> None:
    sent: list[bytes] = []
    acknowledgements = Acknowledgements(sent.append)
    for packet_id in (1, 2, 3):
        acknowledgements.came(packet_id)
    assert acknowledgements.answer(1, (2, 3)) == b""
    assert sent == []
    assert acknowledgements.answer(1, (7,)) == PUBACKS[7], "not a post of the journal"
    assert acknowledgements.answer(1, (1,)) == b""
    assert sent == [PUBACKS[1] + PUBACKS[2] + PUBACKS[3]]


def test_what_an_old_connection_brought_is_forgotten() -> None:
    sent: list[bytes] = []
    acknowledgements = Acknowledgements(sent.append)
    acknowledgements.came(1)
    acknowledgements.clear()
    acknowledgements.came(2)
    acknowledgements.answer(1, (2,))
    assert sent == [PUBACKS[2]]


def test_threads_that_answer_at_once_keep_the_order() -> None:
    sent: list[bytes] = []
    acknowledgements = Acknowledgements(sent.append)
    packet_ids = range(1, 2_001)
    for packet_id in packet_ids:
        acknowledgements.came(packet_id)
    threads = [
        threading.Thread(target=lambda own=own: [acknowledgements.answer(1, (each,)) for each in own])
        for own in (packet_ids[0::3], packet_ids[1::3], packet_ids[2::3])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [int.from_bytes(data[at + 2 : at + 4], "big") for data in sent for at in range(0, len(data), 4)]
    assert len(found) == len(packet_ids)
    assert all(before < after for before, after in pairwise(found))
