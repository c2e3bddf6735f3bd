"""Brokers of other projects as child processes, and what mirrors to them.

`access` starts brokers with the access rules, `scripted` is a broker that does what a test says, `site` is a server
that mirrors to a broker.
"""

from tests.support.brokers.processes import BROKERS, Amqtt, Broker, Mosquitto, Nats, StartBroker, brokers, free_port

__all__ = ["BROKERS", "Amqtt", "Broker", "Mosquitto", "Nats", "StartBroker", "brokers", "free_port"]
