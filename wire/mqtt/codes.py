"""Floor 0: the numbers of MQTT 3.1.1 and 5: packet types, reason codes, return codes, and the error with a reason.

In this folder and above it, a reason is one of MQTT 5. The encoder and the parser translate it for 3.1.1. In comments,
"3.1.1 §" and "5 §" are sections of the two OASIS standards, and [MQTT-x.y.z-n] their conformance statements.
"""

from __future__ import annotations

from enum import IntEnum

from wire.errors import PeerError

V311, V5 = 4, 5  # the protocol levels (§3.1.2.2)


class Kind(IntEnum):
    """The control packets (§2.1.2), by the number in the upper half of their first byte."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15
    WILL = 16  # not a packet: the will in a CONNECT, which has its own properties (5 §3.1.3.2)


CONNECT_FIRST_BYTE = Kind.CONNECT << 4  # the first byte that any MQTT client sends

FROM_BOTH = frozenset(
    {Kind.PUBLISH, Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP, Kind.DISCONNECT, Kind.AUTH}
)  # DISCONNECT from a server and AUTH are new in MQTT 5
FROM_CLIENT = FROM_BOTH | {Kind.CONNECT, Kind.SUBSCRIBE, Kind.UNSUBSCRIBE, Kind.PINGREQ}
FROM_SERVER = FROM_BOTH | {Kind.CONNACK, Kind.SUBACK, Kind.UNSUBACK, Kind.PINGRESP}


class Reason(IntEnum):
    """The reason codes of MQTT 5 (§2.4); 0x80 and above are failures."""

    SUCCESS = 0x00  # in DISCONNECT: normal disconnection; in SUBACK: granted QoS 0
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL_MESSAGE = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2

    @property
    def words(self) -> str:
        """The name in the specification: `topic name invalid`."""
        return self.name.lower().replace("_", " ").replace("re authenticate", "re-authenticate").replace("qos", "QoS")


def _codes(text: str) -> frozenset[int]:
    return frozenset(bytes.fromhex(text))


_PUBLISH_ANSWERS = _codes("00 10 80 83 87 90 91 97 99")

# Which packet may carry which reason (5 §2.4): [MQTT-3.2.2-8], -3.4.2-1, -3.5.2-1, -3.6.2-1, -3.7.2-1, -3.9.3-2,
# -3.11.3-2, -3.14.2-1, -3.15.2-1.
REASONS: dict[Kind, frozenset[int]] = {
    Kind.CONNACK: _codes("00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F"),
    Kind.PUBACK: _PUBLISH_ANSWERS,
    Kind.PUBREC: _PUBLISH_ANSWERS,
    Kind.PUBREL: _codes("00 92"),
    Kind.PUBCOMP: _codes("00 92"),
    Kind.SUBACK: _codes("00 01 02 80 83 87 8F 91 97 9E A1 A2"),
    Kind.UNSUBACK: _codes("00 11 80 83 87 8F 91"),
    Kind.DISCONNECT: _codes(
        "00 04 80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2"
    ),
    Kind.AUTH: _codes("00 18 19"),
}

# The return codes of CONNACK in 3.1.1 (§3.2.2.3). Other reasons close the connection without CONNACK [MQTT-3.2.2-6].
RETURN_CODES: dict[int, int] = {
    Reason.SUCCESS: 0,
    Reason.UNSUPPORTED_PROTOCOL_VERSION: 1,
    Reason.CLIENT_IDENTIFIER_NOT_VALID: 2,
    Reason.SERVER_UNAVAILABLE: 3,
    Reason.SERVER_BUSY: 3,
    Reason.QUOTA_EXCEEDED: 3,
    Reason.CONNECTION_RATE_EXCEEDED: 3,
    Reason.BAD_USER_NAME_OR_PASSWORD: 4,
    Reason.NOT_AUTHORIZED: 5,
    Reason.BANNED: 5,
    Reason.BAD_AUTHENTICATION_METHOD: 5,
}
FROM_RETURN_CODE: tuple[Reason, ...] = (
    Reason.SUCCESS,
    Reason.UNSUPPORTED_PROTOCOL_VERSION,
    Reason.CLIENT_IDENTIFIER_NOT_VALID,
    Reason.SERVER_UNAVAILABLE,
    Reason.BAD_USER_NAME_OR_PASSWORD,
    Reason.NOT_AUTHORIZED,
)


# The error code (wire/errors.py) of a reason for which a connection ends, if it is not that the peer breaks MQTT.
_ERROR_CODES: dict[int, str] = {
    Reason.PACKET_TOO_LARGE: "too-long",
    Reason.KEEP_ALIVE_TIMEOUT: "too-slow",
    Reason.BAD_USER_NAME_OR_PASSWORD: "wrong-password",
    Reason.NOT_AUTHORIZED: "not-allowed",
    Reason.SERVER_UNAVAILABLE: "not-stored",
    Reason.SERVER_SHUTTING_DOWN: "closing",
    Reason.SESSION_TAKEN_OVER: "replaced",
}


class MqttError(PeerError):
    """The peer breaks MQTT: it gets the `reason`, if its version can carry one, and the connection ends.

    `version` is that of the peer (V311 or V5), or 0 if its CONNECT has not told it. `code` is an error code that says
    more than the reason does.
    """

    def __init__(self, reason: int, sentence: str, version: int = 0, *, code: str = "") -> None:
        super().__init__(code or _ERROR_CODES.get(reason, "malformed"), sentence)
        self.reason = reason
        self.version = version


def malformed(sentence: str) -> MqttError:
    """Return the error for a packet that cannot be parsed (5 §1.2, Malformed Packet)."""
    return MqttError(Reason.MALFORMED_PACKET, sentence)


def protocol_error(sentence: str) -> MqttError:
    """Return the error for a packet that is not allowed, or not with these fields (5 §1.2, Protocol Error)."""
    return MqttError(Reason.PROTOCOL_ERROR, sentence)
