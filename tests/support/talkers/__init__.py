"""One person in a conversation, whatever dialect they speak: the tests of conversations are written against Talker.

A dialect joins in by one more subclass of Talker and its row here.
"""

from tests.support.talkers.broker import BrokerTalker, OldBrokerTalker
from tests.support.talkers.json import JsonTalker
from tests.support.talkers.mqtt import MqttTalker, OldMqttTalker
from tests.support.talkers.talker import Known, Listed, Refusal, Said, Talker
from tests.support.talkers.text import TextTalker

KINDS: dict[str, type[Talker]] = {kind.kind: kind for kind in (TextTalker, JsonTalker)}
MQTT_KINDS: dict[str, type[Talker]] = {kind.kind: kind for kind in (MqttTalker, OldMqttTalker)}
BROKER_KINDS: dict[str, type[Talker]] = {kind.kind: kind for kind in (BrokerTalker, OldBrokerTalker)}

__all__ = [
    "BROKER_KINDS",
    "KINDS",
    "MQTT_KINDS",
    "JsonTalker",
    "Known",
    "Listed",
    "Refusal",
    "Said",
    "Talker",
    "TextTalker",
]
