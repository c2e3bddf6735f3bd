"""Load over MQTT."""
