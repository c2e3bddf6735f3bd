"""What goes straight from one client to another, past the chat: `direct/<to>/<me>`."""

from __future__ import annotations

from collections.abc import Callable

from server import Server
from tests.helpers_mqtt import MqttLine
from wire.mqtt_packets import Subscription

Mqtt = Callable[..., MqttLine]


def test_no_local_is_about_what_the_client_itself_sends(server: Server, mqtt: Mqtt) -> None:
    """[MQTT-3.8.3-3]: another client of the same user hears it, and who has subscribed twice hears it, too."""
    alice = mqtt(server.address, "alice")
    alice.do("register", '{"password": "secret"}')
    other = mqtt(server.address, "alice", client_id="other", password=b"secret")
    quiet = Subscription("chat/direct/alice/#", 1, no_local=True)
    for line in (alice, other):
        line.subscribe(quiet)
    topic = "chat/direct/alice/alice"
    alice.publish(topic, "from alice")
    other.publish(topic, "from the other")
    assert other.message(topic).payload == b"from alice"
    assert alice.message(topic).payload == b"from the other"
    alice.subscribe("chat/direct/alice/+")
    alice.publish(topic, "and loud")
    assert other.message(topic).payload == b"and loud"
    assert alice.message(topic).payload == b"and loud"
