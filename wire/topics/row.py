"""Floor 0: one row of the table of topics: a pattern, and the translation between its topics and a type of frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum
from typing import Any

from wire.frames import Answer, Request

from .levels import LEVELS, Level
from .payloads import Fields, Payload


class Writer(Enum):
    """The side that publishes to a topic."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class About:
    """The request that a message of the server answers: a post by its `id`, any other request by its `topic`.

    With `any_case`, the topic may differ in upper and lower case. `offset` is that of the bytes of a file in the
    payload; None if the payload has no bytes of a file.
    """

    id: str | None = None
    topic: str | None = None
    any_case: bool = False
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """The topics and payloads of the answers to a request.

    Topics here are the levels below `from/<me>/` of the request, and below `to/<me>/` of the answer. With `own_topic`,
    all answers and errors go to that topic, and never to the response topic of MQTT 5.
    """

    topic: Callable[[Answer, str], str]
    payload: Callable[[Answer, str], bytes]
    read: Callable[[Request, type[Answer], bytes, About | None], Answer | None]
    own_topic: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One topic below the root, and the type of frame that it carries.

    In the `pattern`, `<name>` is a level that holds a value, and `[/<name>]` an optional one at the end. `<me>` is the
    client that writes the topic, or that reads it if the server writes. `what` describes the topic in the docs. `about`
    returns what a message of the server says about the request that it answers, from the values in its topic, its
    payload, and `<root>/from/<me>/`.
    """

    pattern: str
    what: str
    payload: Payload
    _: KW_ONLY
    writer: Writer = Writer.CLIENT
    answer: type[Answer] | None = None  # the answer to the request that a client writes
    answer_format: AnswerFormat | None = None  # the topic and payload of the answer; None: as JSON
    about: Callable[[Sequence[str], bytes, str], About | None] | None = None
    will: bool = False  # a client may have it as its will
    retained: bool = False
    large: bool = False  # the payload may be as long as a packet, else as a message
    overrides: dict[str, Level] = field(default_factory=dict)  # levels that differ from those in LEVELS
    levels: tuple[str, ...] = field(init=False)
    optional: bool = field(init=False)  # the last level is optional
    _values: tuple[tuple[int, Level], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Split the pattern."""
        levels = tuple(self.pattern.replace("[", "").replace("]", "").split("/"))
        named = [(at, level[1:-1]) for at, level in enumerate(levels) if level.startswith("<")]
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "optional", self.pattern.endswith("]"))
        object.__setattr__(self, "_values", tuple((at, self.overrides.get(name) or LEVELS[name]) for at, name in named))

    @property
    def frame(self) -> type[Any]:
        """The type of the frame, or of the live message, that the topic carries."""
        return self.payload.frame

    def fields(self, values: Sequence[str]) -> Fields:
        """Return the fields that the values in a topic hold. Raises Refused.

        The last value is read first, as it includes the levels of a topic that is too long.
        """
        fields: Fields = {}
        for value, (_, level) in reversed(list(zip(values, self._values, strict=False))):
            fields.update(level.read(value))
        return fields

    def topic(self, frame: Any, me: str) -> str:
        """Return the topic of a frame, below the root. Raises Refused for a value that cannot be a level."""
        levels = list(self.levels)
        for at, level in self._values:
            levels[at] = level.write(frame, me)
        if self.optional and not levels[-1]:
            levels.pop()
        return "/".join(levels)
