"""Floor 0: the topics on which clients talk: posts, channels, people, history, and live messages."""

from __future__ import annotations

from typing import Annotated

import msgspec

from wire import json_text
from wire.errors import Refused
from wire.frames import (
    ChannelList,
    Channels,
    FileList,
    Files,
    Frame,
    History,
    Join,
    Joined,
    Leave,
    Left,
    Members,
    Msg,
    Name,
    Number,
    Ok,
    Page,
    Register,
    Registered,
    Say,
    Seen,
    ServerStatus,
    Status,
    Stored,
    Topic,
    TopicIs,
    UserInfo,
    Welcome,
    Who,
    Whois,
)

from .levels import CHANNEL, Level
from .messages import Gone, Here, LiveMessage
from .payloads import Fields, Payload, blank, decoded, form, form_or_text, ignored, post, text_of
from .row import Row


class _Password(msgspec.Struct):
    password: str


class _List(msgspec.Struct):
    after: Name = ""
    limit: Annotated[int, msgspec.Meta(ge=1)] = 1_000


class _Span(msgspec.Struct):
    after: Number | None = msgspec.field(name="since", default=None)
    before: Number | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] = 50


def _read_topic(fields: Fields, payload: bytes) -> Frame:
    return Topic(text=text_of(payload)[0] if payload else None, **fields)


def _write_topic(frame: Topic) -> bytes:
    return b"" if frame.text is None else json_text.encode({"text": frame.text})


def _read_seen(fields: Fields, payload: bytes) -> Frame:
    if not payload.strip():
        raise Refused("bad-frame", "The payload is the number of the last entry that was seen.")
    return Seen(number=decoded(payload, Number), **fields)


def _read_live(fields: Fields, payload: bytes) -> LiveMessage:
    return LiveMessage(payload=payload, **fields)


_CHANNEL_OR_NONE = Level(CHANNEL.read, lambda frame, me: CHANNEL.write(frame, me) if frame.channel else "")

LIVE = Row(
    "direct/<to>/<me>",
    "send a live message to a client; the server does not store it",
    Payload(LiveMessage, _read_live, lambda live: bytes(live.payload)),
    will=True,
)

ROWS: tuple[Row, ...] = (
    Row("from/<me>/register", "announce that I am online; the payload is empty", blank(Here), answer=Welcome),
    Row("from/<me>/register", "bind my name to a password: `{\"password\"}`", form(Register, _Password),
        answer=Registered),
    Row("from/<me>/gone", "announce that I have left", ignored(Gone), will=True),
    Row("from/<me>/join/<channel>", "join a channel", ignored(Join), answer=Joined),
    Row("from/<me>/leave/<channel>", "leave a channel", ignored(Leave), answer=Left),
    Row("from/<me>/say/<channel>", "post to a channel, which also joins it: plain text, or `{\"text\", \"id\"}`",
        post(Say), answer=Stored, will=True),
    Row("from/<me>/msg/<user>",
        "send a private message: plain text, or `{\"text\", \"id\"}`; the server keeps it for a user who is away",
        post(Msg), answer=Stored, will=True),
    Row("from/<me>/lookup/<user>", "look up whether a user is online, by which doors, the address, when last seen",
        ignored(Whois), answer=UserInfo),
    Row("from/<me>/history/<log>",
        "read entries: `{\"since\", \"limit\"}`, `{\"before\", \"limit\"}`, or an empty payload for the last 50",
        form(History, _Span), answer=Page),
    Row("from/<me>/who[/<channel>]",
        "list the users who are online, or the members of a channel, in pages as of `channels`",
        form_or_text(Who, _List), answer=Members, overrides={"channel": _CHANNEL_OR_NONE}),
    Row("from/<me>/channels",
        "list the channels, sorted by name: an empty payload for the first ones, `{\"after\", \"limit\"}` for those "
        "whose names follow `after`",
        form_or_text(Channels, _List), answer=ChannelList),
    Row("from/<me>/topic/<channel>", "show the topic of a channel, or set it to the payload",
        Payload(Topic, _read_topic, _write_topic), answer=TopicIs),
    Row("from/<me>/seen/<log>",
        "acknowledge entries: the payload is the number of the last entry that a person has seen",
        Payload(Seen, _read_seen, lambda frame: json_text.encode(frame.number)), answer=Ok),
    Row("from/<me>/status", "show the status of the server, of the mirror, and of all servers of the chat",
        ignored(Status), answer=ServerStatus),
    Row("from/<me>/files",
        "list the files that are offered to me and by me: an empty payload for the first ones, "
        "`{\"after\", \"limit\"}` for those after the file with the id `after`",
        form_or_text(Files, _List), answer=FileList),
    LIVE,
)  # fmt: skip
