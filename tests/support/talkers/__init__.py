"""One person in a conversation, whatever dialect they speak: the tests of conversations are written against Talker.

A dialect joins in by one more subclass of Talker and its row in DOORS.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.support.talkers.broker import BrokerTalker, OldBrokerTalker
from tests.support.talkers.json import JsonTalker
from tests.support.talkers.mqtt import MqttTalker, OldMqttTalker
from tests.support.talkers.talker import Known, Listed, Refusal, Said, Talker
from tests.support.talkers.text import TextTalker


class Door(NamedTuple):
    """A way to connect. `several`: to one of three servers on one database, another one each time."""

    talker: type[Talker]
    broker: str | None = None  # the broker to which they connect, and to which the server mirrors
    tls: bool = False
    several: bool = False


DOORS = {
    "text": Door(TextTalker),
    "json": Door(JsonTalker),
    "mqtt3": Door(OldMqttTalker),
    "mqtt5": Door(MqttTalker),
    "text+tls": Door(TextTalker, tls=True),
    "json+tls": Door(JsonTalker, tls=True),
    "mqtt5+tls": Door(MqttTalker, tls=True),
    "mosquitto3": Door(OldBrokerTalker, "mosquitto"),
    "mosquitto": Door(BrokerTalker, "mosquitto"),
    "nats": Door(OldBrokerTalker, "nats"),
    "amqtt": Door(OldBrokerTalker, "amqtt"),
    "text-at-three": Door(TextTalker, several=True),
    "json-at-three": Door(JsonTalker, several=True),
    "mqtt5-at-three": Door(MqttTalker, several=True),
}

__all__ = ["DOORS", "Door", "Known", "Listed", "Refusal", "Said", "Talker", "TextTalker"]
