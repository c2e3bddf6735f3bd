"""Responses without a connection: the fast path for many PUBACKs gives the same bytes as the slow one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from bridge.clients.responses import RequestContext, Responses
from wire.frames import Closing, Delivered, Error, Pong, Stored
from wire.mqtt import V5, V311, Connect, Item, MqttPackets, Properties, PubAck, PubAcks, Publish, PubRec, Reason
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
    assert responses.pubacks([responses.ref(1, 1), None]) is None, "a private message at QoS 0"
    assert responses.pubacks(["x"]) is None, "a ref of another protocol"
    responses.tells_stored = True
    assert responses.pubacks([responses.ref(1, 1)]) is None, "a receipt on chat/to/<me>/stored"


# One client, as its responses see it


@dataclass
class Client:
    """A client called alice that has subscribed to `topics`; `hung_up` counts how often it was disconnected."""

    version: int = V5
    topics: set[str] = field(default_factory=set)
    explain: int | None = None
    limit: int = 0
    hung_up: int = 0

    def __post_init__(self) -> None:
        self.responses = Responses(Topics("chat"), self.topics.__contains__, self._hang_up)
        properties = Properties(request_problem_information=self.explain)
        self.responses.open(Connect(version=self.version, properties=properties), "alice", None)
        self.responses.limit = self.limit

    def _hang_up(self) -> None:
        self.hung_up += 1

    def packets(self, data: bytes) -> list[Item]:
        """Return the packets that the client reads."""
        return MqttPackets(version=self.version).receive(data)

    def answer(self, frame: Stored | Error, qos: int = 1, context: RequestContext | None = None) -> list[Item]:
        """Return what the client is sent for the answer to its packet 7."""
        frame.ref = self.responses.ref(7, qos, context)
        return self.packets(self.responses.encode(frame))


REFUSED = {"code": "not-allowed", "error": "You may not."}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("not-allowed", Reason.NOT_AUTHORIZED),
        ("bad-name", Reason.TOPIC_NAME_INVALID),
        ("bad-frame", Reason.PAYLOAD_FORMAT_INVALID),
        ("too-long", Reason.QUOTA_EXCEEDED),
        ("no-such-user", Reason.IMPLEMENTATION_SPECIFIC_ERROR),
        ("not-stored", Reason.IMPLEMENTATION_SPECIFIC_ERROR),
    ],
)
@pytest.mark.parametrize("qos", [1, 2])
def test_an_acknowledgement_has_the_reason_of_an_error(code: str, reason: Reason, qos: int) -> None:
    kind = PubAck if qos == 1 else PubRec
    told = Client().answer(Error(code=code, error="No."), qos)
    assert told == [kind(7, reason, Properties(reason_string="No."))]
    assert Client().answer(Error(code=code, error="No."), 0) == []


def test_an_acknowledgement_has_no_sentence_for_a_client_that_wants_none() -> None:
    """[MQTT-3.1.2-29]."""
    assert Client(explain=0).answer(Error(**REFUSED)) == [PubAck(7, Reason.NOT_AUTHORIZED)]
    assert Client(explain=1).answer(Error(**REFUSED))[0].properties.reason_string == "You may not."  # type: ignore[union-attr]


def test_an_acknowledgement_has_no_sentence_that_exceeds_the_maximum_packet_size() -> None:
    """[MQTT-3.4.2-2]; with the sentence it has 21 bytes."""
    assert Client(limit=20).answer(Error(**REFUSED)) == [PubAck(7, Reason.NOT_AUTHORIZED)]
    [told] = Client(limit=21).answer(Error(**REFUSED))
    assert told == PubAck(7, Reason.NOT_AUTHORIZED, Properties(reason_string="You may not."))


def test_an_acknowledgement_of_3_1_1_has_no_reason() -> None:
    client = Client(V311)
    assert client.answer(Error(**REFUSED)) == [PubAcks((7,))]
    assert client.answer(Error(**REFUSED), 2) == [PubRec(7)]
    assert client.hung_up == 0


@pytest.mark.parametrize("code", ["not-stored", "internal"])
def test_a_client_of_3_1_1_is_disconnected_if_its_post_is_not_stored(code: str) -> None:
    """Without an acknowledgement, it sends the post again."""
    client = Client(V311)
    assert client.answer(Error(code=code, error="No.")) == []
    assert client.hung_up == 1


def test_an_answer_goes_to_a_topic_that_the_client_has_subscribed_to() -> None:
    context = RequestContext("chat/from/alice/join/lab", "chat/to/alice/mine", b"5")
    error = Error(code="not-allowed", error="No.")
    assert Client().answer(error, 0, context) == []
    [told] = Client(topics={"chat/to/alice/error"}).answer(error, 0, context)
    assert isinstance(told, Publish)
    assert (told.topic, told.properties) == ("chat/to/alice/error", Properties(correlation_data=b"5"))
    [told] = Client(topics={"chat/to/alice/error", "chat/to/alice/mine"}).answer(error, 0, context)
    assert isinstance(told, Publish)
    assert told.topic == "chat/to/alice/mine"


def test_the_context_of_a_request_is_used_once() -> None:
    client = Client(topics={"chat/to/alice/join/lab"})
    ref = client.responses.ref(0, 0, RequestContext("chat/from/alice/join/lab"))
    assert client.responses.encode(Pong(ref=ref))
    assert not client.responses._contexts
    assert client.responses.encode(Pong(ref=ref)) == b""


def test_an_answer_that_is_too_large_becomes_an_error() -> None:
    client = Client(topics={"chat/to/alice/join/lab", "chat/to/alice/error"}, limit=150)
    ref = client.responses.ref(0, 0, RequestContext("chat/from/alice/join/lab"))
    [told] = client.packets(client.responses.encode(Pong(payload=b"." * 200, ref=ref)))
    assert isinstance(told, Publish)
    assert told.topic == "chat/to/alice/error"
    assert b"too-long" in told.payload


def test_an_event_goes_to_a_client_that_has_subscribed_to_it() -> None:
    event = Delivered("bob", 3)
    assert Client().responses.encode(event) == b""
    client = Client(topics={"chat/to/alice/delivered"})
    [told] = client.packets(client.responses.encode(event))
    assert isinstance(told, Publish)
    assert told.payload == b'{"user":"bob","number":3}'


def test_the_last_packet_is_sent_once_and_to_an_accepted_client() -> None:
    client, closing = Client(), Closing(reason="You have connected from elsewhere.", code="replaced")
    assert client.responses.encode(closing) == b""
    client.responses.connected = True
    assert client.responses.encode(closing) != b""
    assert client.responses.encode(closing) == b""
    assert client.responses.goodbye(Reason.SERVER_SHUTTING_DOWN) == b""


def test_a_message_that_is_too_large_is_not_sent() -> None:
    assert Client(limit=22).responses.message("chat/server", b"online") != b""
    assert Client(limit=21).responses.message("chat/server", b"online") == b""
