"""Floor 3: the door for sockets: ports, each with its dialects, and one thread for each connection.

`Door` listens and owns the connections. Each port has its `Speakers`: the first byte of a peer chooses one of their
factories, whose `Speaker` is the peer's side of the chat from then on; for a peer that begins with TLS, the first byte
inside of it chooses. `ServerTls` has the certificate. `Proxies` are the addresses whose connections begin with a header
that names the peer. This folder has the speakers of text and JSON, and the one that refuses other protocols; MQTT's is
in bridge/clients. server.py chooses the speakers of each port.
"""

from __future__ import annotations

from .door import Door
from .line_speaker import GREETING, encode_refusal, json_speaker, text_speaker
from .proxies import Proxies
from .refusing_speaker import refuse_tls, refuse_unknown
from .server_line import ServerLine
from .speaker import Speaker, SpeakerFactory, Speakers
from .tls import ServerTls, TlsConfig, open_tls, site_folder

__all__ = [
    "GREETING", "Door", "Proxies", "ServerLine", "ServerTls", "Speaker", "SpeakerFactory", "Speakers", "TlsConfig",
    "encode_refusal", "json_speaker", "open_tls", "refuse_tls", "refuse_unknown", "site_folder", "text_speaker",
]  # fmt: skip
