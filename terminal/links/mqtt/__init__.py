"""Floor 4: the link that speaks MQTT, to a server or to a broker that mirrors it."""
