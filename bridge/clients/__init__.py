"""Floor 3: the MQTT clients that are connected to this server.

An `MqttSession` is one connection. It hands each packet to the file that is named after it: `connect.py` logs the
client in, `publish.py` makes requests of what it publishes, `subscribe.py` with `subscriptions.py` and `filter_tree.py`
decides what it reads. `delivery.py` sends it entries, encoded by `encoding.py`, and `responses.py` what is meant for it
alone. `session_state.py` keeps its subscriptions and cursors while it is away.

A `SharedState` is what all sessions share: the registry of clients, wills, retained state, live messages, and a timer.
The mirror of another broker uses the same reader, encodings, requests and responses.
"""

from __future__ import annotations

from .delivery import MqttReader
from .encoding import SUBSCRIBE_ID, UNSUBSCRIBE_ID, PublishEncoding, largest_packet
from .publish import PublishHandler
from .responses import RequestContext, Responses
from .retained import presence_of
from .session import MqttSession
from .shared import SharedState

__all__ = [
    "SUBSCRIBE_ID",
    "UNSUBSCRIBE_ID",
    "MqttReader",
    "MqttSession",
    "PublishEncoding",
    "PublishHandler",
    "RequestContext",
    "Responses",
    "SharedState",
    "largest_packet",
    "presence_of",
]
