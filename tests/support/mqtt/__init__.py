"""MQTT clients: one over the codec of `wire.mqtt`, a lean one for floods, and those of other projects (`devices`).

`samples` has packets and Hypothesis strategies for them.
"""

from tests.support.mqtt.bulk import BulkMqtt
from tests.support.mqtt.client import VERSIONS, MqttLine, body, watch

__all__ = ["VERSIONS", "BulkMqtt", "MqttLine", "body", "watch"]
