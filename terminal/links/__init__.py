"""Floor 4: the ways to a server: JSON lines over TCP, and MQTT."""
