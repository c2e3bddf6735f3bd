"""Kept for a while under its old name; import from the modules below."""

from tests.support.mqtt.devices import DEVICES as DEVICES
from tests.support.mqtt.devices import MQTT_JS as MQTT_JS
from tests.support.mqtt.devices import VERSIONS as VERSIONS
from tests.support.mqtt.devices import Device as Device
from tests.support.mqtt.devices import Message as Message
from tests.support.mqtt.devices import Mosquitto as Mosquitto
from tests.support.mqtt.devices import MqttJs as MqttJs
from tests.support.mqtt.devices import Paho as Paho
from tests.support.mqtt.devices import install_mqtt_js as install_mqtt_js
