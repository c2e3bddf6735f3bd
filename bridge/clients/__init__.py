"""Floor 3: MQTT clients that are connected to this server: CONNECT, PUBLISH, SUBSCRIBE, delivery, wills."""
