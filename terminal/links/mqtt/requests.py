"""Floor 4: what was asked over MQTT and has not been answered: which message answers which request; pure.

An answer is known by its correlation data (MQTT 5 §4.10). Where a broker speaks 3.1.1 only, or whoever answers knows no
response topics, it is known by its topic: an answer comes below `to/` where the question went below `from/`, a receipt
names the post's id, and an error both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from wire.frames import Answer, Error, Msg, Request, Say, Seen
from wire.names import fold
from wire.topics import Topics
from wire.topics.files import VERB
from wire.topics.files import answer as answer_about_file

from .frames import answer, ask, below

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


class _About(msgspec.Struct):
    """What a receipt or an error says of what it is about."""

    id: str | None = None
    topic: str | None = None


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
        topic, payload = ask(self._topics, request, self._me)
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
        """The question that a message answers, and the answer; None if it is neither."""
        file = below(topic, f"{self._topics.to(self._me)}/{VERB}/")
        if file is not None:
            return self._about_file(file.split("/"), correlation, payload, now)
        known = topic == self._reply
        question = self._open.get(correlation or b"") if known else self._asked(topic, payload)
        found = answer(question.request, payload) if question is not None else None
        if question is None or found is None:
            return None
        del self._open[question.correlation]
        self._since = now
        return question, found

    def _about_file(
        self, levels: list[str], correlation: bytes | None, payload: bytes, now: float
    ) -> tuple[Question, Answer] | None:
        """Likewise of a file: its commands are told apart by what the answer says, so it takes no correlation data."""
        known = self._open.get(correlation or b"")
        for question in [known] if known is not None else list(self._open.values()):
            found = answer_about_file(question.request, levels, payload)
            if found is not None:
                del self._open[question.correlation]
                self._since = now
                return question, found
        return None

    def _asked(self, topic: str, payload: bytes) -> Question | None:
        """The oldest question that an answer on a topic of its own can be for."""
        place = below(topic, f"{self._topics.to(self._me)}/")
        if place is None:
            return None
        if place not in ("stored", "error"):
            wanted = fold(self._topics.ask(self._me, place))
            return next((each for each in self._open.values() if fold(each.topic) == wanted), None)
        try:
            about = msgspec.json.decode(payload, type=_About)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        for question in self._open.values():
            if question.post_id == about.id and (about.id is not None or question.topic == about.topic):
                return question
        return None

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
