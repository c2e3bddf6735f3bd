"""Floor 4: the requests over MQTT that are not answered yet, and which message answers which of them.

Correlation data (MQTT 5 §4.10) tells whose answer a message is. If the broker speaks only 3.1.1, or the answer does not
use the response topic, the topic tells: the topic of an answer has `to` where that of its request has `from`. A receipt
names the id of the post, and an error names the id or the topic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wire.frames import Answer, Error, Msg, Request, Say, Seen
from wire.names import fold
from wire.topics import About, Topics

_PATIENCE = 60.0  # seconds without any answer while a request is pending
_EXPLANATION = 1.0  # seconds for the error after a refusing PUBACK; not every broker sends one


@dataclass(slots=True)
class PendingRequest:
    """A request without an answer yet."""

    request: Request
    topic: str
    payload: bytes
    correlation: bytes
    refusal: str | None = None  # the reason of a refusing PUBACK
    due: float = 0.0

    @property
    def post_id(self) -> str | None:
        """The id of a post, which receipts and errors name."""
        return self.request.id if isinstance(self.request, Say | Msg) else None

    @property
    def answered_by_puback(self) -> bool:
        """True if the PUBACK is the only answer that anyone waits for."""
        return isinstance(self.request, Seen)

    def fits(self, about: About) -> bool:
        """Return True if a message about that may answer the request."""
        if about.id is not None or self.post_id is not None:
            return about.id == self.post_id
        if about.topic is None or (about.offset is not None and about.offset != getattr(self.request, "offset", None)):
            return False
        return self.topic == about.topic or (about.any_case and fold(self.topic) == fold(about.topic))


class PendingRequests:
    """All pending requests of one connection, in the order in which they were sent.

    `reply` is the response topic; `numbers` numbers the correlation data and never repeats a number.
    """

    def __init__(self, topics: Topics, me: str, reply: str, numbers: Iterator[int]) -> None:
        self._topics = topics
        self._me = me
        self._reply = reply
        self._numbers = numbers
        self._open: dict[bytes, PendingRequest] = {}
        self._sent: dict[int, PendingRequest] = {}  # by packet identifier, until the PUBACK
        self._since = 0.0  # the time of the last answer, or of the first pending request

    @property
    def in_flight(self) -> int:
        """The count of publications that the broker has not acknowledged."""
        return len(self._sent)

    def ask(self, request: Request, now: float) -> PendingRequest:
        """Add a request that is about to be published. Raises Refused if MQTT cannot carry it."""
        topic, payload = self._topics.ask(request, self._me)
        pending = PendingRequest(request, topic, payload, str(next(self._numbers)).encode())
        if not self._open:
            self._since = now
        self._open[pending.correlation] = pending
        return pending

    def sent(self, pending: PendingRequest, packet_id: int) -> None:
        """Note the packet identifier of a published request."""
        self._sent[packet_id] = pending

    def acknowledged(self, packet_id: int, refusal: str | None, now: float) -> PendingRequest | None:
        """Handle a PUBACK. Return the request if the PUBACK is its answer."""
        pending = self._sent.pop(packet_id, None)
        if pending is None:
            return None
        self._since = now
        if pending.answered_by_puback:
            return self._open.pop(pending.correlation, None)
        if refusal is not None:
            pending.refusal, pending.due = refusal, now + _EXPLANATION
        return None

    def answered(
        self, topic: str, correlation: bytes | None, payload: bytes, now: float
    ) -> tuple[PendingRequest, Answer] | None:
        """Return the request that a message answers, and the answer; None if it answers none."""
        known = self._open.get(correlation or b"")
        about = None
        if topic != self._reply:
            about = self._topics.about(topic, payload, self._me)
            known = self._asked(about, known) if about is not None else None
        found = self._topics.answer(known.request, payload, about) if known is not None else None
        if known is None or found is None:
            return None
        del self._open[known.correlation]
        self._since = now
        return known, found

    def _asked(self, about: About, likely: PendingRequest | None) -> PendingRequest | None:
        """The request that an answer can be for: the likely one if it fits, else the oldest."""
        if likely is not None and likely.fits(about):
            return likely
        return next((each for each in self._open.values() if each.fits(about)), None)

    def overdue(self, now: float) -> list[tuple[PendingRequest, Answer]]:
        """Return the requests that the broker has refused without an error. Raises TimeoutError without any answer."""
        refused = [each for each in self._open.values() if each.refusal is not None and each.due <= now]
        for pending in refused:
            del self._open[pending.correlation]
        if self._open and now - self._since >= _PATIENCE:
            raise TimeoutError("the server does not answer")
        return [
            (
                each,
                Error(
                    code="not-allowed", error=f"The broker refuses the request: {each.refusal}.", ref=each.request.ref
                ),
            )
            for each in refused
        ]

    def patience(self, now: float) -> float:
        """Return the seconds until something may be overdue."""
        if not self._open:
            return _PATIENCE
        due = [each.due for each in self._open.values() if each.refusal is not None]
        return max(0.0, min([self._since + _PATIENCE, *due]) - now)
