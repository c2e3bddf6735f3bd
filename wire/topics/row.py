"""Floor 0: one row of the table of topics: a topic, what it carries, and the way from a frame to it and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum
from typing import Any

from wire.frames import Answer, Request

from .levels import LEVELS, Level
from .payloads import Fields, Payload


class Writer(Enum):
    """Who publishes to a topic."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class About:
    """The request that a message of the server is about: a post by its id, any other request by its topic.

    `any_case`: the topic may differ in upper and lower case. `offset` is that of the bytes of a file that the message
    carries, None if it carries none.
    """

    id: str | None = None
    topic: str | None = None
    any_case: bool = False
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The way of the answers to a request; a topic here is the levels below `to/<me>/`, or `from/<me>/` of the request.

    `own_topic`: every answer, errors too, goes to that topic, and never to the response topic of MQTT 5.
    """

    topic: Callable[[Answer, str], str]
    payload: Callable[[Answer, str], bytes]
    read: Callable[[Request, type[Answer], bytes, About | None], Answer | None]
    own_topic: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A topic below the root, and what it carries.

    `about` is for what the server writes in answer to a request. It takes the values in the topic, the payload, and
    `<root>/from/<me>/`.

    In the `pattern`, `<name>` is a level that holds a value, and `[/<name>]` one that may be left out at the end.
    `<me>` is the client that writes the topic, or the one that reads it if the server writes.
    """

    pattern: str
    what: str
    payload: Payload
    _: KW_ONLY
    writer: Writer = Writer.CLIENT
    answer: type[Answer] | None = None  # what answers the request, which the client writes
    reply: Reply | None = None  # the way of the answer
    about: Callable[[Sequence[str], bytes, str], About | None] | None = None
    will: bool = False  # it may be a client's will
    retained: bool = False
    large: bool = False  # the payload may be as long as a packet, not only as a message of the chat
    meanings: dict[str, Level] = field(default_factory=dict)  # of the pattern's levels, if they are not the usual ones
    levels: tuple[str, ...] = field(init=False)
    optional: bool = field(init=False)  # the last level may be left out
    _values: tuple[tuple[int, Level], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Take the pattern apart."""
        levels = tuple(self.pattern.replace("[", "").replace("]", "").split("/"))
        named = [(at, level[1:-1]) for at, level in enumerate(levels) if level.startswith("<")]
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "optional", self.pattern.endswith("]"))
        object.__setattr__(self, "_values", tuple((at, self.meanings.get(name) or LEVELS[name]) for at, name in named))

    @property
    def frame(self) -> type[Any]:
        """The type of the frame, or of the live message, that the topic carries."""
        return self.payload.frame

    def fields(self, values: Sequence[str]) -> Fields:
        """Return the fields that the levels of a topic hold, which are its values in their order. Raises Refused.

        The last value is read first: it has all levels that the pattern does not have.
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
