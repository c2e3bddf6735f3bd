"""Packets that are too large for a connection are skipped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.mqtt.samples import pieces
from wire.mqtt import V5, V311, MqttPackets, Oversized, Publish, encode

_MESSAGES = st.lists(
    st.tuples(st.sampled_from(["a", "chat/from/oven/say/lab"]), st.integers(0, 400), st.integers(0, 1))
)


@given(st.sampled_from([V311, V5]), _MESSAGES, st.lists(st.integers(0, 10_000), max_size=20))
def test_too_large_packets_are_skipped_in_any_cut(
    version: int, messages: list[tuple[str, int, int]], cuts: list[int]
) -> None:
    limit = 100
    packets = [
        Publish(topic, b"x" * size, qos, packet_id=at * qos) for at, (topic, size, qos) in enumerate(messages, 1)
    ]
    encoded = [encode(packet, version) for packet in packets]
    connection = MqttPackets(limit, version=version, skips=True)
    found = [item for piece in pieces(b"".join(encoded), cuts) for item in connection.receive(piece)]
    assert len(found) == len(packets)
    for item, packet, data in zip(found, packets, encoded, strict=True):
        body = len(data) - (2 if len(data) - 2 < 128 else 3)
        if body > limit:
            assert item == Oversized(packet.topic, packet.qos, packet.packet_id, body)
        else:
            assert item == packet
