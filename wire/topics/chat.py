"""Floor 0: the topics of MQTT, both ways, and the one place that knows them; pure.

A client writes below `<root>/from/<me>/` and reads below `<root>/to/<me>/`. Who a message is from is in the topic that
the door has let the client write, never in a payload.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from wire.errors import Refused
from wire.frames import (
    Answer,
    Channels,
    Delivered,
    Error,
    Files,
    Frame,
    Gap,
    History,
    Join,
    Leave,
    Msg,
    Number,
    Register,
    Request,
    Say,
    Seen,
    Slowed,
    Status,
    Stored,
    Topic,
    Who,
    Whois,
)
from wire.mqtt import NONE, Properties, matches
from wire.names import check_name, fold, shorten

ROOT = "chat"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the topic reference: the topic below the root, who writes it, and what it says."""

    topic: str
    writer: str
    what: str


TABLE: tuple[Row, ...] = (
    Row("from/<me>/register", "client",
        "I am here (answered likewise below `to/<me>/`); `{\"password\"}` binds my name to it"),
    Row("from/<me>/gone", "client (its will)", "I have left"),
    Row("from/<me>/join/<channel>", "client", "join; answered likewise"),
    Row("from/<me>/leave/<channel>", "client", "leave; answered likewise"),
    Row("from/<me>/say/<channel>", "client", "say it there, which joins: plain text, or `{\"text\", \"id\"}`"),
    Row("from/<me>/msg/<user>", "client", "a direct message, likewise; kept for a user who is away"),
    Row("from/<me>/lookup/<user>", "client",
        "online or not, by which doors, address, last seen; answered likewise"),
    Row("from/<me>/history/<channel>", "client",
        "a page: `{\"since\", \"limit\"}` or `{\"before\", \"limit\"}`, or the last 50; `@user` for a talk; "
        "answered likewise"),
    Row("from/<me>/who", "client", "who is online; with `/<channel>`, who is in it; answered likewise"),
    Row("from/<me>/channels", "client", "which channels there are; answered likewise"),
    Row("from/<me>/topic/<channel>", "client", "its topic, which a payload sets; answered likewise"),
    Row("from/<me>/seen/<channel>", "client",
        "the number up to which a person has seen it, on whichever device; `@user` for a talk; answered likewise"),
    Row("from/<me>/status", "client",
        "how the server is, and how it gets on with a broker that it mirrors to; answered likewise"),
    Row("from/<me>/files", "client", "the files that are offered to me, and by me; answered likewise"),
    Row("from/<me>/file/<id>/init", "client",
        "offer a file, as `<id>`: `{\"name\", \"size\", \"to\", \"checksum\"}`, `to` a user or `#channel`; answered, "
        "like all that follows, on `to/<me>/file/<id>`"),
    Row("from/<me>/file/<id>/<offset>", "client", "bytes of it from there on; with `/<sha256>`, they are checked"),
    Row("from/<me>/file/<id>/fin/<size>", "client", "all of it is there; with `/<sha256>`, it is checked"),
    Row("from/<me>/file/<id>/abort", "client", "take it back"),
    Row("from/<me>/file/<id>/have", "client", "which ranges are there; `{\"watch\": true}` to be told of more"),
    Row("from/<me>/file/<id>/get", "client",
        "`{\"offset\", \"length\"}`: raw bytes on `to/<me>/file/<id>/<offset>`, fewer if there are no more yet"),
    Row("from/<me>/file/<id>/sum", "client", "`{\"offset\", \"length\"}`: the SHA-256 of a range"),
    Row("from/<me>/file/<id>/taken", "client", "I have all of it, and it is right"),
    Row("direct/<to>/<me>", "client", "straight to that client, live, not stored"),
    Row("channels/<channel>", "server", "every entry of a channel, JSON"),
    Row("channels/<channel>/text", "server", "the same as `alice: hello`, for small devices and `mosquitto_sub`"),
    Row("to/<me>/msg/<user>", "server", "a direct message to me or from me, JSON"),
    Row("to/<me>/stored", "server", "`{\"id\", \"channel\" or \"user\", \"number\"}`: what I sent is kept"),
    Row("to/<me>/delivered", "server", "`{\"user\", \"number\"}`: they have had my messages up to that number"),
    Row("to/<me>/fetched", "server", "`{\"file\", \"name\", \"user\"}`: they have a file of mine"),
    Row("to/<me>/file/<id>", "server",
        "`{\"topic\", \"reason_code\", \"reason_description\"}`, 0 if it is done; `{\"more\": true}`: ask again"),
    Row("to/<me>/gap", "server",
        "`{\"channel\" or \"user\", \"first\", \"last\"}`: left out, as too many had piled up"),
    Row("to/<me>/slowed", "server", "`{\"rate\"}`: I post faster than that many a second; nothing is lost"),
    Row("to/<me>/error", "server",
        "what was wrong with something I sent: `{\"topic\", \"id\", \"code\", \"error\"}`"),
    Row("presence/<user>", "server, retained", "online or not, by which doors, since when"),
    Row("server", "server, retained", "`online` or `offline`"),
)  # fmt: skip


class _Text(msgspec.Struct):
    """The JSON form of something to say."""

    text: str
    id: str | None = msgspec.field(default=None)


class _Password(msgspec.Struct):
    password: str


class _Span(msgspec.Struct):
    since: Number | None = None
    before: Number | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] = 50


@dataclass(frozen=True, slots=True)
class LiveMessage:
    """A message from one client to another that is not stored; `properties` are passed on (as by [MQTT-3.3.2-17])."""

    to: str
    payload: bytes
    properties: Properties = NONE


class Gone(Request, tag="gone"):
    """The client says that it has left."""


class Here(Request, tag="here"):
    """The client says that it is here."""


def text_of(payload: bytes) -> tuple[str, str | None]:
    """What is to be said, and its id: from plain text, or from an object that has a `text`. Raises Refused.

    Any other JSON is text like any other: a sensor may say what it likes.
    """
    if payload[:1] == b"{":
        try:
            body = msgspec.json.decode(payload, type=_Text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
        else:
            if (body.id is not None and not 0 < len(body.id) <= 64) or (body.id or "")[:1] == "/":
                raise Refused("bad-frame", "An id has 1 to 64 characters and does not begin with a slash.")
            return body.text, body.id
    try:
        return payload.decode(), None
    except UnicodeDecodeError:
        raise Refused("bad-frame", "The payload is not text: it is no UTF-8.") from None


def _object(payload: bytes, kind: type[Any]) -> Any:
    if not payload.strip():
        return None
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("bad-frame", f"The payload does not fit: {error}.") from None


def _say(channel: str, payload: bytes) -> Request:
    text, id = text_of(payload)
    return Say(text, channel, id)


def _msg(user: str, payload: bytes) -> Request:
    text, id = text_of(payload)
    return Msg(user, text, id)


def _where(log: str) -> dict[str, str]:
    return {"user": log[1:]} if log.startswith("@") else {"channel": log}


def _history(log: str, payload: bytes) -> Request:
    span = _object(payload, _Span) or _Span()
    return History(after=span.since, before=span.before, limit=span.limit, **_where(log))


def _register(_: str, payload: bytes) -> Request:
    body = _object(payload, _Password)
    return Here() if body is None else Register(body.password)


def _seen(log: str, payload: bytes) -> Request:
    number = _object(payload, Number)
    if number is None:
        raise Refused("bad-frame", "The payload is the number up to which everything was seen.")
    return Seen(number=number, **_where(log))


def _topic(channel: str, payload: bytes) -> Request:
    return Topic(channel, text_of(payload)[0] if payload else None)


# Each verb: which further level it takes ("log": a channel, or @user; "?": a channel, or none), and what it asks.
VERBS: dict[str, tuple[str, Callable[[str, bytes], Request]]] = {
    "register": ("", _register),
    "gone": ("", lambda _, payload: Gone()),
    "join": ("channel", lambda channel, payload: Join(channel)),
    "leave": ("channel", lambda channel, payload: Leave(channel)),
    "say": ("channel", _say),
    "msg": ("user", _msg),
    "lookup": ("user", lambda user, payload: Whois(user)),
    "history": ("log", _history),
    "who": ("?", lambda channel, payload: Who(channel)),
    "channels": ("", lambda _, payload: Channels()),
    "topic": ("channel", _topic),
    "seen": ("log", _seen),
    "status": ("", lambda _, payload: Status()),
    "files": ("", lambda _, payload: Files()),
}


def _level(takes: str, argument: str) -> str:
    """The last level of a topic, as its verb takes it. Raises Refused."""
    if takes == "log" and argument.startswith("@"):
        return f"@{check_name(argument[1:], 'user name')}"
    if takes != "user" and argument.startswith("@"):  # or what is meant for a user would be said in a channel
        raise Refused("bad-name", f"{shorten(argument)} is no channel; msg/<user> is for one user alone.")
    return check_name(argument, "user name" if takes == "user" else "channel name")


# What comes unasked, or is no answer for whoever asked alone: its topic below `to/<me>/`.
EVENTS: dict[type[Frame], str] = {
    Stored: "stored",
    Delivered: "delivered",
    Gap: "gap",
    Slowed: "slowed",
    Error: "error",
}


class Topics:
    """The topics below one root."""

    def __init__(self, root: str = ROOT) -> None:
        self.root = root
        self.server = f"{root}/server"
        self.requests = f"{root}/from/#"  # all that clients ask for
        self._from = f"{root}/from/"
        self._direct = f"{root}/direct/"

    def channel(self, name: str) -> str:
        """Where a channel's entries go."""
        return f"{self.root}/channels/{name}"

    def channel_text(self, name: str) -> str:
        """Where they go as text."""
        return f"{self.root}/channels/{name}/text"

    def message(self, me: str, peer: str) -> str:
        """Where the entries of a direct conversation go, for one of the two."""
        return f"{self.root}/to/{me}/msg/{peer}"

    def presence(self, user: str) -> str:
        """Where it is kept whether a user is online."""
        return f"{self.root}/presence/{user}"

    def direct(self, to: str, sender: str) -> str:
        """Where something straight from one client to another goes."""
        return f"{self.root}/direct/{to}/{sender}"

    def to(self, me: str) -> str:
        """Below what a client reads what is for it alone."""
        return f"{self.root}/to/{me}"

    def ask(self, me: str, verb: str, level: str = "") -> str:
        """Where a client that has the name `me` asks for something; the verbs are those of VERBS."""
        return f"{self._from}{me}/{verb}/{level}" if level else f"{self._from}{me}/{verb}"

    def asked(self, topic: str) -> tuple[str, str] | None:
        """Who asks on a topic, as they write their name, and for what; None if nobody does."""
        if not topic.startswith(self._from):
            return None
        me, _, rest = topic[len(self._from) :].partition("/")
        return me, rest.partition("/")[0]

    def straight(self, topic: str) -> tuple[str, str] | None:
        """To whom something straight from one client to another goes, and from whom; None if it is no such topic."""
        if not topic.startswith(self._direct):
            return None
        to, _, sender = topic[len(self._direct) :].partition("/")
        return to, sender

    def present(self, topic: str) -> str | None:
        """Whose presence a topic keeps; None if it is no such topic."""
        start = self.presence("")
        return topic[len(start) :] if topic.startswith(start) else None

    def request(self, topic: str, payload: bytes, me: str) -> Request | LiveMessage:
        """What a client that has the name `me` asks with a PUBLISH. Raises Refused."""
        if topic.startswith(self._direct):
            to, _, sender = topic[len(self._direct) :].partition("/")
            if fold(sender) != fold(me):
                raise Refused("not-allowed", f"You write to {self._direct}<user>/{me} only.")
            return LiveMessage(check_name(to, "user name"), payload)
        sender, _, rest = topic[len(self._from) :].partition("/")
        if not topic.startswith(self._from) or fold(sender) != fold(me):
            raise Refused("not-allowed", f"You write below {self._from}{me}/ only, not to {shorten(topic, 80)}.")
        verb, slash, argument = rest.partition("/")
        if verb not in VERBS:
            raise Refused("unknown-command", f"There is no topic {shorten(topic, 80)}.")
        takes, parse = VERBS[verb]
        if slash and not takes:
            raise Refused("unknown-command", f"There is no topic {shorten(topic, 80)}.")
        if takes and (slash or takes != "?"):
            argument = _level(takes, argument)
        return parse(argument, payload)

    def place(self, frame: Frame, me: str, asked: str | None) -> str | None:
        """Where an answer to a request that came on topic `asked`, or an event, goes.

        None for what MQTT says otherwise, or not at all.
        """
        event = EVENTS.get(type(frame))
        if event is not None:
            return f"{self.root}/to/{me}/{event}"
        if asked is None or not isinstance(frame, Answer):
            return None
        return f"{self.root}/to/{me}/{asked[len(self._from) :].partition('/')[2]}"

    @staticmethod
    def payload(frame: Frame) -> bytes:
        """What an answer or an event says."""
        body = msgspec.to_builtins(frame)
        body.pop("op", None)
        body.pop("ref", None)
        return msgspec.json.encode(body)

    def error(self, frame: Error, me: str, topic: str | None) -> bytes:
        """The payload of an error about something that was published to `topic`."""
        if topic is None and frame.channel:
            topic = f"{self._from}{me}/say/{frame.channel}"
        body = {"topic": topic, "id": frame.id, "code": frame.code, "error": frame.error}
        return msgspec.json.encode({key: value for key, value in body.items() if value is not None})

    def channel_in(self, topic_filter: str) -> str:
        """The name of the channel that a filter takes in, in whichever form; `+` for all, empty for none."""
        levels = topic_filter.split("/")
        at = self.root.count("/") + 2
        name = levels[at] if len(levels) > at and levels[at] != "#" else "+"
        one = "any" if name == "+" else name
        taken = matches(topic_filter, self.channel(one)) or matches(topic_filter, self.channel_text(one))
        return name if taken else ""

    def is_forbidden(self, topic_filter: str, me: str) -> bool:
        """Whether a filter asks, by name, for what only others may read; wildcards ask for what there is for `me`."""
        levels = topic_filter.split("/")
        depth = self.root.count("/") + 1
        if levels[:depth] != self.root.split("/") or len(levels) <= depth:
            return False
        if levels[depth] == "from":
            return True
        owner = levels[depth + 1] if len(levels) > depth + 1 else "#"
        return levels[depth] in ("to", "direct") and owner not in ("+", "#") and fold(owner) != fold(me)
