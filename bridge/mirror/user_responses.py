"""Floor 3: the responses to one user on the broker: answers of the session as acknowledgements and PUBLISH packets."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.clients import Responses
from wire.frames import Closing, Entry, Error, Frame, Stored

from .sender import MirrorSender
from .status import MirrorStatus


class UserResponses:
    """An Encoding. It encodes as for a client of this server, with the broker's version, limit and acknowledgements.

    Only the broker knows which topics a client has subscribed to, so every response is published.
    """

    key = "mirror responses"
    acknowledges = True
    shows_time = False
    free_text = False
    __slots__ = ("_responses", "_sender", "_status")

    def __init__(self, responses: Responses, sender: MirrorSender, status: MirrorStatus) -> None:
        self._responses = responses
        self._sender = sender
        self._status = status

    @property
    def largest(self) -> int:
        """The broker's Maximum Packet Size in bytes; 0: none."""
        return self._sender.limit

    def encode(self, frame: Frame) -> bytes:
        """Return the acknowledgement of the request, if `frame` answers one, and the response.

        A sender gets `Stored` only for a message with an id: small devices that send plain text have no use for it.
        """
        if isinstance(frame, Closing):
            return b""
        responses = self._responses
        responses.version, responses.limit = self._sender.version, self._sender.limit
        acknowledgement, context = b"", None
        ref = getattr(frame, "ref", None)
        if ref is not None:
            qos, packet_id, context = responses.take_request(ref)
            acknowledgement = self._acknowledge(frame, qos, packet_id)
        if type(frame) is Stored and frame.id is None:
            return acknowledgement
        return acknowledgement + responses.publish(frame, context)

    def _acknowledge(self, frame: Frame, qos: int, packet_id: int) -> bytes:
        """Acknowledge what was done or refused. What was not stored is not acknowledged: the broker sends it again."""
        if isinstance(frame, Error) and frame.code in ("not-stored", "internal"):
            self._sender.hang_up()
            return b""
        if isinstance(frame, Error):
            self._status.refused += 1
        return self._sender.acknowledgements.answer(qos, (packet_id,))

    def pubacks(self, refs: Sequence[int | str | None]) -> bytes | None:
        """Acknowledge posts at QoS 1 without an id, as `Responses.pubacks`; None if one needs another answer."""
        packet_ids = self._responses.plain_packet_ids(refs)
        return None if packet_ids is None else self._sender.acknowledgements.answer(1, packet_ids)

    def encode_apart(self, frame: Frame) -> tuple[bytes, bytes]:
        """Return the same, as a payload is part of its PUBLISH."""
        return self.encode(frame), b""

    def encode_entries(self, entries: Sequence[Entry], seq: int = 0, *, past: bool = False) -> bytes:
        """Not used: the mirror's reader encodes entries."""
        raise AssertionError("the mirror's reader encodes entries")
