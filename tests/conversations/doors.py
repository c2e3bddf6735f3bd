"""Which doors each conversation is held through: marks that give a test its `door`, or the `doors` of two people.

Every combination costs time, so mosquitto has several pairs and each of the other brokers one.
"""

from __future__ import annotations

from itertools import product

import pytest

_LINES = ("text", "json")
_MQTT = ("mqtt5", "mqtt3")
_TLS = ("text+tls", "json+tls", "mqtt5+tls")
_BROKERS = ("mosquitto", "nats", "amqtt")
_LINE_PAIRS = tuple(product(_LINES, repeat=2))
_MQTT_PAIRS = (("mqtt5", "text"), ("text", "mqtt3"), ("mqtt3", "json"), ("json", "mqtt5"), ("mqtt3", "mqtt5"))
_TLS_PAIRS = (("text+tls", "json"), ("json+tls", "mqtt5+tls"), ("mqtt5+tls", "text+tls"))
_SEVERAL_PAIRS = (("text-at-three", "json-at-three"), ("json-at-three", "mqtt5-at-three"))
_BROKER_PAIRS = (
    ("mosquitto", "text"), ("json", "mosquitto3"), ("mqtt5", "mosquitto"), ("mosquitto", "mosquitto"),
    ("nats", "text"), ("amqtt", "text"),
)  # fmt: skip


def _one(*doors: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("door", doors)


def _two(*pairs: tuple[str, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("doors", pairs, ids="-".join)


every_line_door = _one(*_LINES)
every_line_pair = _two(*_LINE_PAIRS)
every_door = _one(*_LINES, *_MQTT, *_TLS, *_BROKERS)
every_pair = _two(*_LINE_PAIRS, *_MQTT_PAIRS, *_TLS_PAIRS, *_SEVERAL_PAIRS, *_BROKER_PAIRS)
# A broker checks its own passwords.
every_pair_with_passwords = _two(*_LINE_PAIRS, *_MQTT_PAIRS, *_TLS_PAIRS, *_SEVERAL_PAIRS)
# amqtt loses the messages for a client that is away.
every_door_that_keeps = _one(*_LINES, *_MQTT, *_TLS, *[door for door in _BROKERS if door != "amqtt"])
every_pair_that_keeps = _two(
    *_LINE_PAIRS, *_MQTT_PAIRS, *_TLS_PAIRS, *_SEVERAL_PAIRS, *[pair for pair in _BROKER_PAIRS if "amqtt" not in pair]
)
every_broker_with_all_doors = _two(*[("text", "json", "mqtt5", broker) for broker in _BROKERS])
