"""Floor 0: the topics that the server writes: entries, receipts, errors, presence, and the state of the server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from wire import json_text
from wire.actions import ACTION, action_of
from wire.frames import Delivered, Entry, Error, Fetched, Gap, Slowed, Stored
from wire.names import fold, one_line

from .answers import error_payload
from .levels import PARTNER, Level, partner
from .messages import ServerState, UserPresence
from .payloads import BAD_JSON, Fields, Payload, whole
from .row import About, Row, Writer


def text_payloads(entries: Iterable[Entry]) -> list[bytes]:
    """Return entries as text for small devices: `alice: hello`, and for an action `* alice waves`."""
    return [
        f"{entry.sender}: {one_line(entry.text)}".encode()
        if not entry.text.startswith(ACTION) or (action := action_of(entry.text)) is None
        else f"* {entry.sender} {one_line(action)}".encode()
        for entry in entries
    ]


def _read_entry(fields: Fields, payload: bytes) -> Entry | None:
    """The entry, if it is of the log that the topic names: the topic can be trusted, the payload cannot."""
    try:
        entry = msgspec.json.decode(payload, type=Entry)
    except BAD_JSON:
        return None
    other = partner(entry, fields.get("me", ""))
    if other is None:
        return entry if "channel" in fields and fold(entry.channel or "") == fold(fields["channel"]) else None
    return entry if "user" in fields and fold(other) == fold(fields["user"]) else None


class _Subject(msgspec.Struct):
    """The part of a receipt or an error that says what it is about."""

    id: str | None = None
    topic: str | None = None


def _about_post(_: Sequence[str], payload: bytes, _asked: str) -> About | None:
    try:
        subject = msgspec.json.decode(payload, type=_Subject)
    except BAD_JSON:
        return None
    return About(subject.id, subject.topic)


class _Presence(msgspec.Struct):
    online: bool
    doors: list[str] = msgspec.field(default_factory=list)
    since: int = 0


def _read_presence(fields: Fields, payload: bytes) -> UserPresence | None:
    try:
        state = msgspec.json.decode(payload, type=_Presence)
    except BAD_JSON:
        return None
    return UserPresence(fields["user"], state.online, state.doors, state.since)


def _write_presence(state: UserPresence) -> bytes:
    doors = {"doors": state.doors} if state.online else {}
    return json_text.encode({"user": state.user, "online": state.online, **doors, "since": state.since})


_STATES = {b"online": ServerState(online=True), b"offline": ServerState(online=False)}


def _write_state(state: ServerState) -> bytes:
    return b"online" if state.online else b"offline"


_ENTRY = Payload(Entry, _read_entry, json_text.encode)
_READER = Level(lambda level: {"me": level}, lambda _, me: me)

CHANNEL = Row("channels/<channel>", "every entry of a channel, as JSON", _ENTRY, writer=Writer.SERVER)
CHANNEL_TEXT = Row(
    "channels/<channel>/text",
    "every entry of a channel, as text for small devices and `mosquitto_sub`: `alice: hello`, or `* alice waves`",
    Payload(Entry, lambda _fields, _payload: None, lambda entry: text_payloads([entry])[0]),
    writer=Writer.SERVER,
)
MESSAGE = Row(
    "to/<me>/msg/<user>",
    "every private message to me or from me, as JSON",
    _ENTRY,
    writer=Writer.SERVER,
    overrides={"me": _READER, "user": PARTNER},
)
STORED = Row(
    "to/<me>/stored",
    'a post of mine is stored: `{"id", "channel" or "user", "number"}`',
    whole(Stored),
    writer=Writer.SERVER,
    about=_about_post,
)
ERROR = Row(
    "to/<me>/error",
    'a request of mine is refused: `{"topic", "id", "code", "error"}`',
    Payload(Error, whole(Error).read, lambda error: error_payload(error, None)),
    writer=Writer.SERVER,
    about=_about_post,
)
PRESENCE = Row(
    "presence/<user>",
    "the state of a user: online or not, by which doors, since when",
    Payload(UserPresence, _read_presence, _write_presence),
    writer=Writer.SERVER,
    retained=True,
)
SERVER = Row(
    "server",
    "the state of the server: `online` or `offline`",
    Payload(ServerState, lambda _, payload: _STATES.get(payload), _write_state),
    writer=Writer.SERVER,
    retained=True,
)

EVENTS: tuple[Row, ...] = (
    STORED,
    Row("to/<me>/delivered", "a user has received my private messages up to a number: `{\"user\", \"number\"}`",
        whole(Delivered), writer=Writer.SERVER),
    Row("to/<me>/fetched", "a user has fetched a file of mine: `{\"file\", \"name\", \"user\"}`",
        whole(Fetched), writer=Writer.SERVER),
    Row("to/<me>/gap",
        "entries were left out, as too many had piled up: `{\"channel\" or \"user\", \"first\", \"last\"}`",
        whole(Gap), writer=Writer.SERVER),
    Row("to/<me>/slowed", "I post faster than `{\"rate\"}` posts a second; no post is lost",
        whole(Slowed), writer=Writer.SERVER),
    ERROR,
)  # fmt: skip

STATES: tuple[Row, ...] = (PRESENCE, SERVER)

ROWS: tuple[Row, ...] = (CHANNEL, CHANNEL_TEXT, MESSAGE, *EVENTS, *STATES)
