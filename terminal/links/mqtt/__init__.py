"""Floor 4: the link that speaks MQTT, to a server or to a broker that mirrors it. Importing it loads paho.

`link` runs the connections, `connection` wraps paho, `events` are what it receives, `conversation` translates between
frames and topics, `requests` finds the request of each answer, and `entries` puts the entries of each log in order.
"""

from .link import MqttLink

__all__ = ["MqttLink"]
