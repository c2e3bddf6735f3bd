"""Floor 4: what was asked over MQTT and has not been answered: which message answers which request; pure.

An answer is known by its correlation data (MQTT 5 §4.10). Where a broker speaks 3.1.1 only, or whoever answers knows no
response topics, it is known by its topic: an answer comes below `to/` where the question went below `from/`, a receipt
names the post's id, and an error both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wire.frames import Answer, Error, Msg, Request, Say, Seen
from wire.names import fold
from wire.topics import About, Topics

_PATIENCE = 60.0  # seconds without any answer while there is something to answer
_EXPLANATION = 1.0  # seconds for the error that follows a refusing acknowledgement; not every broker sends one


@dataclass(slots=True)
class Question:
    """A request under way; a `quiet` one has had its answer when its publication is acknowledged."""

    request: Request
    topic: str
    payload: bytes
    correlation: bytes
    refusal: str | None = None  # what the broker had to say against it
    due: float = 0.0

    @property
    def post_id(self) -> str | None:
        """The id of a post: receipts and errors name it."""
        return self.request.id if isinstance(self.request, Say | Msg) else None

    @property
    def quiet(self) -> bool:
        """Whether nobody waits for another answer."""
        return isinstance(self.request, Seen)

    def fits(self, about: About) -> bool:
        """Return True if a message about that may answer the question."""
        if about.id is not None or self.post_id is not None:
            return about.id == self.post_id
        if about.topic is None or (about.offset is not None and about.offset != getattr(self.request, "offset", None)):
            return False
        return self.topic == about.topic or (about.any_case and fold(self.topic) == fold(about.topic))


class Questions:
    """All questions of one line, in the order in which they were asked.

    `reply` is the response topic; `numbers` gives correlation data that no earlier line has used.
    """

    def __init__(self, topics: Topics, me: str, reply: str, numbers: Iterator[int]) -> None:
        self._topics = topics
        self._me = me
        self._reply = reply
        self._numbers = numbers
        self._open: dict[bytes, Question] = {}
        self._sent: dict[int, Question] = {}  # by packet identifier: not acknowledged yet
        self._since = 0.0  # when something was last answered, or the first of these was asked

    @property
    def in_flight(self) -> int:
        """How many publications the broker has not acknowledged."""
        return len(self._sent)

    def ask(self, request: Request, now: float) -> Question:
        """Note a request that is about to be published. Raises Refused."""
        topic, payload = self._topics.ask(request, self._me)
        question = Question(request, topic, payload, str(next(self._numbers)).encode())
        if not self._open:
            self._since = now
        self._open[question.correlation] = question
        return question

    def sent(self, question: Question, packet_id: int) -> None:
        """It was published with that packet identifier."""
        self._sent[packet_id] = question

    def taken(self, packet_id: int, refusal: str | None, now: float) -> Question | None:
        """The broker has acknowledged a publication; the question, if that is all the answer that it has."""
        question = self._sent.pop(packet_id, None)
        if question is None:
            return None
        self._since = now
        if question.quiet:
            return self._open.pop(question.correlation, None)
        if refusal is not None:
            question.refusal, question.due = refusal, now + _EXPLANATION
        return None

    def answered(
        self, topic: str, correlation: bytes | None, payload: bytes, now: float
    ) -> tuple[Question, Answer] | None:
        """Return the question that a message answers, and the answer; None if it answers none."""
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

    def _asked(self, about: About, likely: Question | None) -> Question | None:
        """The oldest question that an answer can be for; the likely one, if it can be for that."""
        if likely is not None and likely.fits(about):
            return likely
        return next((each for each in self._open.values() if each.fits(about)), None)

    def overdue(self, now: float) -> list[tuple[Question, Answer]]:
        """Questions that a broker has refused without another word. Raises TimeoutError if nothing is answered."""
        refused = [each for each in self._open.values() if each.refusal is not None and each.due <= now]
        for question in refused:
            del self._open[question.correlation]
        if self._open and now - self._since >= _PATIENCE:
            raise TimeoutError("no answers come")
        return [
            (each, Error(code="not-allowed", error=f"The broker refuses it: {each.refusal}.", ref=each.request.ref))
            for each in refused
        ]

    def patience(self, now: float) -> float:
        """Seconds until something may be overdue."""
        if not self._open:
            return _PATIENCE
        due = [each.due for each in self._open.values() if each.refusal is not None]
        return max(0.0, min([self._since + _PATIENCE, *due]) - now)
