"""Floor 3: all that is MQTT: the topics, the sessions of MQTT clients, and what they read."""
