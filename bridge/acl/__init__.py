"""Floor 3: access rules: which MQTT topics each user may write and read, and those rules as files for other brokers.

The rules are made from the table of topics (wire/topics/), so a new topic needs no edit here. A broker that enforces
them lets each client write only topics that contain its own user name, which is why the chat can trust the sender in a
topic. `server.py acl BROKER` prints the rules in the broker's own language: `mosquitto.py`, `emqx.py`, `nats.py`,
`rabbitmq.py`. The embedded broker evaluates `Rules` itself.
"""

from __future__ import annotations

from .brokers import BROKERS, NEED_CLIENTS, broker_rules
from .rules import SERVER_USER, Rules, client_rules, server_rules

__all__ = [
    "BROKERS",
    "NEED_CLIENTS",
    "SERVER_USER",
    "Rules",
    "broker_rules",
    "client_rules",
    "server_rules",
]
