"""Floor 0: the topics below one root: from a PUBLISH to its frame, and from a frame to its topic and payload."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from wire.errors import Refused
from wire.frames import Answer, Error, Frame, Request
from wire.mqtt import matches
from wire.names import fold, shorten

from .answers import JSON_ANSWER, error_payload
from .chat import LIVE
from .messages import LiveMessage, ServerState, UserPresence
from .payloads import Fields
from .row import About, AnswerFormat, Row, Writer
from .server import CHANNEL_TEXT, MESSAGE, PRESENCE, SERVER
from .server import EVENTS as SERVER_EVENTS
from .table import ANSWER_FORMATS, EVENTS, FIRST_LEVELS, REQUESTS, STATES, find

ROOT = "chat"

_CACHED = 4_096  # topics that are kept parsed
_SHORT = 256  # characters of the longest topic that is kept


class Topics:
    """All topics below one root. `me` is a client's name as the client writes it in topics."""

    def __init__(self, root: str = ROOT) -> None:
        self.root = root
        self._start = f"{root}/"
        self._from = f"{root}/from/"
        self._to = f"{root}/to/"
        self._live = _around(root, LIVE)[0]
        self._channel, self._text = _around(root, CHANNEL_TEXT)
        self._message = _around(root, MESSAGE)[1]
        self._presence = _around(root, PRESENCE)[0]
        self._events = {row.frame: _around(root, row)[1] for row in SERVER_EVENTS}
        self.requests = f"{root}/from/#"  # the filter of all requests of all clients
        self.server = f"{root}/{SERVER.pattern}"
        self._cached_parse = lru_cache(_CACHED)(self._parse)  # each client publishes to few topics

    # Topics by name

    def channel(self, name: str) -> str:
        """Return the topic of a channel's entries."""
        return f"{self._channel}{name}"

    def channel_text(self, name: str) -> str:
        """Return the topic of a channel's entries as text."""
        return f"{self._channel}{name}{self._text}"

    def message(self, me: str, partner: str) -> str:
        """Return the topic on which `me` reads the private conversation with `partner`."""
        return f"{self._to}{me}{self._message}{partner}"

    def presence(self, user: str) -> str:
        """Return the topic of a user's presence; for `+`, the filter of all."""
        return f"{self._presence}{user}"

    def live_topic(self, to: str, sender: str) -> str:
        """Return the topic of live messages from one client to another; `+` stands for any client."""
        return f"{self._live}{to}/{sender}"

    def to(self, me: str) -> str:
        """Return the topic below which only the client `me` reads."""
        return f"{self._to}{me}"

    def response_topic(self, me: str, connection: str) -> str:
        """Return the response topic of one of the connections of the client `me`."""
        return f"{self._to}{me}/reply/{connection}"

    def event_topic(self, frame: type[Frame], me: str) -> str:
        """Return the topic on which the client `me` reads events of that type."""
        return f"{self._to}{me}{self._events[frame]}"

    # What clients write

    def ask(self, request: Request, me: str) -> tuple[str, bytes]:
        """Return the topic and the payload of a request of the client `me`. Raises Refused if MQTT cannot carry it."""
        row = REQUESTS.get(type(request))
        if row is None:
            raise Refused("unknown-command", "That request is not available over MQTT.")
        return f"{self._start}{row.topic(request, me)}", row.payload.write(request)

    def request(self, topic: str, payload: bytes, me: str, limit: int | None = None) -> Request | LiveMessage:
        """Return what the client `me` asks with a PUBLISH. Raises Refused.

        `limit` is the longest payload in bytes; the topics of files have no such limit.
        """
        try:
            parsed = (self._cached_parse if len(topic) <= _SHORT else self._parse)(topic, me)
        except Refused:
            self._check_size(self._find(topic)[0], payload, limit)
            raise
        if limit is not None and len(payload) > limit:
            self._check_size([row for row, _ in parsed], payload, limit)
        for row, fields in parsed:
            found: Request | LiveMessage | None = row.payload.read(fields, payload)
            if found is not None:
                return found
        raise Refused("bad-frame", f"The payload does not fit the topic {shorten(topic, 80)}.")

    @staticmethod
    def _check_size(rows: Sequence[Row], payload: bytes, limit: int | None) -> None:
        if limit is not None and len(payload) > limit and not (rows and rows[0].large):
            raise Refused("too-long", f"A message has at most {limit} bytes.")

    def _parse(self, topic: str, me: str) -> list[tuple[Row, Fields]]:
        """The rows of a topic that the client `me` may write, each with the fields that the topic holds."""
        if topic.startswith(self._live):
            if fold(topic[len(self._live) :].partition("/")[2]) != fold(me):
                raise Refused("not-allowed", f"You may write to {self._live}<user>/{me} only.")
        elif not topic.startswith(self._from) or fold(topic[len(self._from) :].partition("/")[0]) != fold(me):
            raise Refused("not-allowed", f"You may write below {self._from}{me}/ only, not to {shorten(topic, 80)}.")
        rows, values = self._find(topic)
        if not rows:
            raise Refused("unknown-command", f"The topic {shorten(topic, 80)} does not exist.")
        return [(row, row.fields(values)) for row in rows]

    def sender(self, topic: str) -> tuple[str, frozenset[type[Any]]] | None:
        """Return the client that asks on a topic, as it writes its name, and the types of requests that it may mean.

        None if the topic is not one of requests.
        """
        if not topic.startswith(self._from):
            return None
        rows, _ = self._find(topic)
        return topic[len(self._from) :].partition("/")[0], frozenset([row.frame for row in rows])

    def live_pair(self, topic: str) -> tuple[str, str] | None:
        """Return the recipient and the sender of a live message; None if the topic is not one of live messages."""
        if not topic.startswith(self._live):
            return None
        to, _, sender = topic[len(self._live) :].partition("/")
        return to, sender

    def user(self, topic: str) -> str | None:
        """Return the user whose presence a topic is for; None if the topic is not one of presence."""
        return topic[len(self._presence) :] if topic.startswith(self._presence) else None

    def may_be_will(self, topic: str) -> bool:
        """Return True if a client's will may have that topic."""
        return any(row.will for row in self._find(topic)[0])

    # What the server writes

    def place(self, frame: Frame, me: str, asked: str | None, response_topic: str | None = None) -> str | None:
        """Return the topic of an event, or of an answer to a request that was published to `asked`.

        None for a frame that MQTT has no topic for. An answer goes to the `response_topic`, if the request has one.
        """
        answers, levels = self._answer_format(asked)
        event = None if answers.own_topic and isinstance(frame, Error) else EVENTS.get(type(frame))
        if event is not None:
            end = self._events.get(type(frame))
            topic = f"{self._start}{event.topic(frame, me)}" if end is None else f"{self._to}{me}{end}"
        elif levels is not None and isinstance(frame, Answer):
            topic = f"{self._to}{me}/{answers.topic(frame, levels)}"
        else:
            return None
        return topic if response_topic is None or answers.own_topic else response_topic

    def payload(self, frame: Frame, me: str, asked: str | None) -> bytes:
        """Return the payload of the event or the answer that `place` has a topic for."""
        event = EVENTS.get(type(frame))
        if event is not None and not isinstance(frame, Error):
            return event.payload.write(frame)
        answers, levels = self._answer_format(asked)
        if isinstance(frame, Error) and not answers.own_topic:
            return error_payload(frame, self._subject(frame, me) if asked is None else asked)
        assert levels is not None
        assert isinstance(frame, Answer)
        return answers.payload(frame, levels)

    def error(self, error: Error, me: str, topic: str) -> tuple[str, bytes]:
        """Return the topic and the payload of an error about a message to `topic` that is not read as a request."""
        return self.event_topic(Error, me), error_payload(error, topic)

    def state(self, state: UserPresence | ServerState) -> tuple[str, bytes]:
        """Return the topic and the payload of a retained state."""
        row = STATES[type(state)]
        return f"{self._start}{row.topic(state, '')}", row.payload.write(state)

    def _subject(self, error: Error, me: str) -> str | None:
        """The topic of the post that an error is about, if only the channel of the post is known."""
        return f"{self._from}{me}/say/{error.channel}" if error.channel else None

    def _answer_format(self, asked: str | None) -> tuple[AnswerFormat, str | None]:
        """The format of the answers to what was published to `asked`, and its levels below `from/<me>/`."""
        if asked is None:
            return JSON_ANSWER, None
        levels = asked[len(self._from) :].partition("/")[2]
        return ANSWER_FORMATS.get(levels.partition("/")[0], JSON_ANSWER), levels

    # What clients read

    def read(self, topic: str, payload: bytes, me: str) -> Frame | None:
        """Return the frame that the server has written; None if the client `me` can do nothing with the message."""
        rows, values = self._find(topic)
        if topic.startswith(self._to) and not topic.startswith(f"{self._to}{me}/"):
            return None
        for row in rows:
            if row.writer is Writer.SERVER:
                try:
                    found: Frame | None = row.payload.read(row.fields(values), payload)
                except Refused:
                    return None
                return found
        return None

    def about(self, topic: str, payload: bytes, me: str) -> About | None:
        """Return what a message of the server says about the request that it answers; None if it is not an answer."""
        start = f"{self._to}{me}/"
        if not topic.startswith(start):
            return None
        rows, values = self._find(topic)
        asked = f"{self._from}{me}/"
        for row in rows:
            return row.about(values, payload, asked) if row.about is not None else None
        return About(topic=f"{asked}{topic[len(start) :]}", any_case=True)

    def answer(self, request: Request, payload: bytes, about: About | None = None) -> Answer | None:
        """Return the answer to a request that a payload holds, or the error; None if it holds neither."""
        row = REQUESTS[type(request)]
        assert row.answer is not None
        found = (row.answer_format or JSON_ANSWER).read(request, row.answer, payload, about)
        if found is not None:
            found.ref = request.ref
        return found

    def _find(self, topic: str) -> tuple[Sequence[Row], list[str]]:
        """The rows of a topic, and the values in it."""
        return find(topic[len(self._start) :].split("/")) if topic.startswith(self._start) else ((), [])

    # Filters

    def channel_in(self, topic_filter: str) -> str:
        """Return the channel whose entries a filter matches, in either form; `+` for all channels, empty for none."""
        name, one = self._name_in(topic_filter)
        matched = matches(topic_filter, self.channel(one)) or matches(topic_filter, self.channel_text(one))
        return name if matched else ""

    def presence_in(self, topic_filter: str) -> str:
        """Return the user whose presence a filter matches; `+` for all users, empty for none."""
        name, one = self._name_in(topic_filter)
        return name if matches(topic_filter, self.presence(one)) else ""

    def _name_in(self, topic_filter: str) -> tuple[str, str]:
        """Return the second level below the root, `+` if it is a wildcard, and a name that this level matches."""
        levels = topic_filter.split("/")
        at = self.root.count("/") + 2
        name = levels[at] if len(levels) > at and levels[at] != "#" else "+"
        return name, "any" if name == "+" else name

    def is_forbidden(self, topic_filter: str, me: str) -> bool:
        """Return True if a filter names topics that only others may read; a wildcard matches what `me` may read."""
        levels = topic_filter.split("/")
        depth = self.root.count("/") + 1
        if levels[:depth] != self.root.split("/") or len(levels) <= depth:
            return False
        row = FIRST_LEVELS.get(levels[depth])
        if row is None or len(row.levels) == 1 or row.levels[1] not in ("<me>", "<to>"):
            return False
        if row.writer is Writer.CLIENT and row.levels[1] == "<me>":  # only the server reads it
            return True
        reader = levels[depth + 1] if len(levels) > depth + 1 else "#"
        return reader not in ("+", "#") and fold(reader) != fold(me)


def _around(root: str, row: Row) -> tuple[str, str]:
    """The constant text of a row's topics before its first value, and between that and the next or the end."""
    first, *rest = f"{root}/{row.pattern}".split("<")
    return first, rest[0].partition(">")[2]
