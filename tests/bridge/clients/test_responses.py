"""Responses without a connection: the fast path for many PUBACKs gives the same bytes as the slow one."""

from __future__ import annotations

import pytest

from bridge.clients.responses import Responses
from wire.frames import Stored
from wire.mqtt import V5, V311, MqttPackets, PubAcks
from wire.topics import Topics


@pytest.fixture(params=[V311, V5])
def responses(request: pytest.FixtureRequest) -> Responses:
    """Responses for a client without subscriptions."""
    made = Responses(Topics("chat"), lambda topic: False, lambda: None)
    made.version = request.param
    return made


def test_the_fast_path_gives_the_bytes_of_the_slow_one(responses: Responses) -> None:
    ids = (1, 65_535, 7)
    refs = [responses.ref(id, 1) for id in ids]
    short = responses.pubacks(refs)
    assert short == b"".join([responses.encode(Stored(number=1, channel="lab", ref=ref)) for ref in refs])
    assert MqttPackets(version=responses.version).receive(short) == [PubAcks(ids)]


def test_anything_but_a_puback_takes_the_slow_path(responses: Responses) -> None:
    assert responses.pubacks([responses.ref(1, 1), responses.ref(2, 2)]) is None, "PUBREC"
    assert responses.pubacks([responses.ref(1, 1), None]) is None, "a direct message at QoS 0"
    assert responses.pubacks(["x"]) is None, "a ref of another protocol"
    responses.tells_stored = True
    assert responses.pubacks([responses.ref(1, 1)]) is None, "a receipt on chat/to/<me>/stored"
