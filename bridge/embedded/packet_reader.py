"""Floor 3: what a client of the embedded broker sends, packet by packet: in the time of its keep-alive, and bounded.

amqtt does nothing when a client is silent for longer than its keep-alive, and reads packets of any size. Here such a
connection has ended: amqtt reads the end of the input, and publishes the will.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from amqtt.adapters import ReaderAdapter

from wire.errors import PeerError
from wire.mqtt import MqttError, Reason, remaining_length


class PacketReader(ReaderAdapter):
    """Reads whole packets from a connection, and gives amqtt their bytes. Used in the event loop."""

    def __init__(
        self, reader: ReaderAdapter, patience: float | None, largest: int, refused: Callable[[PeerError], None]
    ) -> None:
        """`patience` is the number of seconds in which a packet has to come, None for any time (MQTT-3.1.2-24).

        `largest` is the number of bytes of the largest packet, 0 for any. `refused` is called once, for a packet that
        did not come in time, is too large, or has no valid length.
        """
        self._reader = reader
        self._patience = patience
        self._largest = largest
        self._refused = refused
        self._packet = b""
        self._at = 0
        self._ended = False

    async def read(self, n: int = -1) -> bytes:
        """Return the next `n` bytes of the packet (-1: all), fewer at its end, or none at the end of the input."""
        if self._at >= len(self._packet) and not self._ended:
            self._packet, self._at = await self._next_packet(), 0
            self._ended = not self._packet
        data = self._packet[self._at :] if n < 0 else self._packet[self._at : self._at + n]
        self._at += len(data)
        return data

    async def _next_packet(self) -> bytes:
        """Return the next packet, nothing at the end or if it is refused."""
        try:
            async with asyncio.timeout(self._patience):
                return await self._read_packet()
        except TimeoutError:
            sentence = "No packet came within one and a half times the keep-alive."
            self._refused(MqttError(Reason.KEEP_ALIVE_TIMEOUT, sentence))
        except MqttError as error:
            self._refused(error)
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client has gone
        return b""

    async def _read_packet(self) -> bytes:
        header = await self._reader.read(1)
        start = 0
        while not start:
            header += await self._reader.read(1)
            length, start = remaining_length(header)
        if self._largest and start + length > self._largest:
            raise MqttError(Reason.PACKET_TOO_LARGE, f"A packet has at most {self._largest} bytes.")
        return header + await self._reader.read(length) if length else header

    def feed_eof(self) -> None:
        """End the input."""
        self._reader.feed_eof()
