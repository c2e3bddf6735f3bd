"""Floor 3: the doors for sockets: ports with every dialect on them, and one thread for each connection.

`Door` listens and owns the connections. The first byte of a peer chooses a `SpeakerFactory`, whose `Speaker` is the
peer's side of the chat from then on. This folder has the speakers of text and JSON; MQTT's is in bridge/clients.
"""

from __future__ import annotations

from .door import Door
from .line_speaker import json_speaker, text_speaker
from .speaker import Speaker, SpeakerFactory

__all__ = ["Door", "Speaker", "SpeakerFactory", "json_speaker", "text_speaker"]
