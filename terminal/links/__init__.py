"""Floor 4: the links to a server. A link connects, reconnects when the connection is lost, and carries frames.

A link may have several servers of one chat, in an order (`endpoint.py`).

JSON lines over TCP are here; `mqtt/` is a folder of its own, because importing it loads paho. `trust.py` decides
whether a server's certificate is trusted.
"""

from .address import DEFAULT_HOST, DEFAULT_PORT, JsonAddress, MqttAddress, parse_server
from .endpoint import Endpoint
from .json import JsonLink
from .link import Connected, Deliver, Disconnected, Event, Link, Received, connect_failure, pause
from .trust import known_hosts, trusting_contexts

__all__ = [
    "DEFAULT_HOST",
    "DEFAULT_PORT",
    "Connected",
    "Deliver",
    "Disconnected",
    "Endpoint",
    "Event",
    "JsonAddress",
    "JsonLink",
    "Link",
    "MqttAddress",
    "Received",
    "connect_failure",
    "known_hosts",
    "parse_server",
    "pause",
    "trusting_contexts",
]
