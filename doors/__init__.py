"""Floor 3: the door for sockets: ports, each with its dialects, and one thread for each connection.

`Door` listens and owns the connections. Each port has its `Speakers`: the first byte of a peer chooses one of their
factories, whose `Speaker` is the peer's side of the chat from then on. This folder has the speakers of text and JSON,
and the one that refuses other protocols; MQTT's is in bridge/clients. server.py chooses the speakers of each port.
"""

from __future__ import annotations

from .door import Door
from .line_speaker import GREETING, encode_refusal, json_speaker, text_speaker
from .refusing_speaker import refuse_tls, refuse_unknown
from .speaker import Speaker, SpeakerFactory, Speakers

__all__ = [
    "GREETING", "Door", "Speaker", "SpeakerFactory", "Speakers", "encode_refusal", "json_speaker", "refuse_tls",
    "refuse_unknown", "text_speaker",
]  # fmt: skip
