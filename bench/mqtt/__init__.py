"""The load over MQTT."""
