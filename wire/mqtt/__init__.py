"""Floor 0: the MQTT dialect, 3.1.1 and 5: packets as types, the bytes of one connection in any cut, and topic filters.

`MqttPackets` decodes what one peer sends; `encode`, `publish`, `Publisher` and `goodbye` make bytes and have no state.
"""

from __future__ import annotations

from .codes import FROM_CLIENT, REASONS, RETURN_CODES, V5, V311, Kind, MqttError, Reason
from .decoder import CONNECT_LIMIT, Item, MqttPackets
from .encode import Publisher, encode, goodbye, publish
from .filters import matches, split_share, valid_filter, valid_topic
from .packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Oversized,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubAcks,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Unusable,
    Will,
)
from .properties import BINARY, NONE, PAIR, PROPERTIES, TEXT, Properties, Property

__all__ = [
    "BINARY",
    "CONNECT_LIMIT",
    "FROM_CLIENT",
    "NONE",
    "PAIR",
    "PROPERTIES",
    "REASONS",
    "RETURN_CODES",
    "TEXT",
    "V5",
    "V311",
    "Auth",
    "ConnAck",
    "Connect",
    "Disconnect",
    "Item",
    "Kind",
    "MqttError",
    "MqttPackets",
    "Oversized",
    "Packet",
    "PingReq",
    "PingResp",
    "Properties",
    "Property",
    "PubAck",
    "PubAcks",
    "PubComp",
    "PubRec",
    "PubRel",
    "Publish",
    "Publisher",
    "Reason",
    "SubAck",
    "Subscribe",
    "Subscription",
    "UnsubAck",
    "Unsubscribe",
    "Unusable",
    "Will",
    "encode",
    "goodbye",
    "matches",
    "publish",
    "split_share",
    "valid_filter",
    "valid_topic",
]  # fmt: skip
