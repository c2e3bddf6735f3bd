"""Floor 2: the chat itself: logs, cursors, members, names, accounts. No socket, no MQTT, no SQL."""
