"""Floor 3: acknowledges posts from the broker in the order in which they came ([MQTT-4.6.0-2], [MQTT-4.6.0-3]).

The journal answers the posts of different users out of turn. Mosquitto 2.0, if it gets acknowledgements out of turn
while as many messages are in flight as it allows, delivers the messages of one publisher out of turn as well.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from channels import leaf
from wire.mqtt import encode_acknowledgement


class Acknowledgements:
    """The posts that the broker waits for. Any thread may call `answer`; the mirror's thread calls the rest."""

    def __init__(self, transmit: Callable[[bytes], None]) -> None:
        self._transmit = transmit
        self._lock = leaf()
        self._sending = threading.Lock()  # a baton: its holder sends in the order in which it takes
        self._came: deque[int] = deque()  # packet identifiers
        self._open: dict[int, bytes | None] = {}  # the same, with the acknowledgement once there is an answer

    def clear(self) -> None:
        """Forget everything: the connection has ended, and the next one brings what was not acknowledged."""
        with self._lock:
            self._came.clear()
            self._open.clear()

    def came(self, packet_id: int) -> None:
        """Note that a post has come that the journal will answer."""
        with self._lock:
            if packet_id not in self._open:
                self._came.append(packet_id)
            self._open[packet_id] = None

    def answer(self, qos: int, packet_ids: Iterable[int]) -> bytes:
        """Acknowledge these posts, each after all that came before it. Return the acknowledgements of other packets."""
        at_once: list[bytes] = []
        with self._lock:
            for packet_id in packet_ids:
                acknowledgement = encode_acknowledgement(qos, packet_id)
                if packet_id in self._open:
                    self._open[packet_id] = acknowledgement
                else:
                    at_once.append(acknowledgement)
        while self._is_due() and self._sending.acquire(blocking=False):
            try:
                self._transmit(self._take())
            finally:
                self._sending.release()
        return b"".join(at_once)

    def _is_due(self) -> bool:
        with self._lock:
            return bool(self._came) and self._open[self._came[0]] is not None

    def _take(self) -> bytes:
        due: list[bytes] = []
        with self._lock:
            while self._came and (acknowledgement := self._open[self._came[0]]) is not None:
                del self._open[self._came.popleft()]
                due.append(acknowledgement)
        return b"".join(due)
