"""Floor 4: the links to a server. A link connects, reconnects when the connection is lost, and carries frames.

JSON lines over TCP are here; `mqtt/` is a folder of its own, because importing it loads paho.
"""

from .address import DEFAULT_HOST, DEFAULT_PORT, MqttAddress, parse_address, parse_url, tls_context
from .json import JsonLink
from .link import Connected, Deliver, Disconnected, Event, Link, Received, connect_failure, pause

__all__ = [
    "DEFAULT_HOST",
    "DEFAULT_PORT",
    "Connected",
    "Deliver",
    "Disconnected",
    "Event",
    "JsonLink",
    "Link",
    "MqttAddress",
    "Received",
    "connect_failure",
    "parse_address",
    "parse_url",
    "pause",
    "tls_context",
]
