"""Floor 3: the mirror: the same rooms on another MQTT broker.

`Mirror` connects to the broker and owns the thread `mirror`; `session.py` is the MQTT session that it has there. Out:
`outgoing.py` reads every channel, and the private logs of the broker's users, and publishes each entry at QoS 1; the
broker's PUBACKs move the stored cursors (`progress.py`). In: `incoming.py` takes what clients publish, and `users.py`
gives each of them a session of the chat, whose requests are acknowledged to the broker when the store has them. Any
thread sends through `sender.py`. The mirror publishes no topic that it subscribes to, apart from live messages
(`live.py`), so nothing goes round in a circle.
"""

from __future__ import annotations

from .address import URL_FORMS, Broker, BrokerConfig, embedded_address, has_password, parse_broker
from .mirror import Mirror

__all__ = [
    "URL_FORMS",
    "Broker",
    "BrokerConfig",
    "Mirror",
    "embedded_address",
    "has_password",
    "parse_broker",
]
