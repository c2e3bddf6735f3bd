"""Floor 4: the frames of a client as MQTT topics and payloads, and back; pure.

wire/topics/ says which topics there are: this is the other side of its `Topics.request`, and of the answers. The
tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from terminal.state.cursors import log_key
from wire.errors import Refused
from wire.frames import (
    Answer,
    ChannelList,
    Channels,
    Delivered,
    Entry,
    Error,
    Fetched,
    FileList,
    Files,
    Frame,
    Gap,
    History,
    Join,
    Joined,
    Leave,
    Left,
    Members,
    More,
    Msg,
    Ok,
    Page,
    Presence,
    Register,
    Registered,
    Request,
    Say,
    Seen,
    ServerStatus,
    Slowed,
    Status,
    Stored,
    Topic,
    TopicIs,
    UserInfo,
    Welcome,
    Who,
    Whois,
)
from wire.names import check_name, fold
from wire.topics import Gone, Here, Topics
from wire.topics.files import MORE, VERB
from wire.topics.files import ask as ask_about_file


@dataclass(frozen=True, slots=True)
class _Form:
    """How a kind of request goes out: its verb, the level after that, what its payload says; and what answers it."""

    verb: str
    answer: type[Answer]
    level: Callable[[Any], str] = lambda request: ""
    body: Callable[[Any], Any] = lambda request: None


def _log(request: Any) -> str:
    return f"@{_user(request)}" if request.user else _channel(request)


def _channel(request: Any) -> str:
    return check_name(request.channel, "channel name")


def _user(request: Any) -> str:
    return check_name(request.user, "user name")


def _post(request: Any) -> dict[str, Any]:
    return {"text": request.text, "id": request.id}


_FORMS: dict[type[Request], _Form] = {
    Here: _Form("register", Welcome),
    Gone: _Form("gone", Ok),
    Register: _Form("register", Registered, body=lambda request: {"password": request.password}),
    Join: _Form("join", Joined, _channel),
    Leave: _Form("leave", Left, _channel),
    Say: _Form("say", Stored, _channel, _post),
    Msg: _Form("msg", Stored, _user, _post),
    Who: _Form("who", Members, lambda request: _channel(request) if request.channel else ""),
    Channels: _Form("channels", ChannelList),
    Whois: _Form("lookup", UserInfo, _user),
    History: _Form("history", Page, _log,
                   lambda request: {"since": request.after, "before": request.before, "limit": request.limit}),
    Topic: _Form("topic", TopicIs, _channel,
                 lambda request: None if request.text is None else {"text": request.text}),
    Files: _Form("files", FileList),
    Seen: _Form("seen", Ok, _log, lambda request: request.number),
    Status: _Form("status", ServerStatus),
}  # fmt: skip

# An error is about something that was asked; one that answers no question of ours was another client's.
_EVENTS: dict[str, type[Frame]] = {"delivered": Delivered, "gap": Gap, "slowed": Slowed, "fetched": Fetched}


class _Presence(msgspec.Struct):
    """What `presence/<user>` says."""

    user: str
    online: bool


def ask(topics: Topics, request: Request, me: str) -> tuple[str, bytes]:
    """Where a request is published, and what with. Raises Refused for a name that would be no level of a topic."""
    about_file = ask_about_file(request)
    if about_file is not None:
        return topics.ask(me, VERB, about_file[0]), about_file[1]
    form = _FORMS.get(type(request))
    if form is None:
        raise Refused("unknown-command", "That cannot be asked over MQTT.")
    body = form.body(request)
    if isinstance(body, dict):
        body = {key: value for key, value in body.items() if value is not None}
    payload = b"" if body is None else msgspec.json.encode(body)
    return topics.ask(me, form.verb, form.level(request)), payload


def below(topic: str, top: str) -> str | None:
    """What follows `top`, which ends with a slash; None if the topic is not below it."""
    return topic[len(top) :] if topic.startswith(top) else None


def answer(request: Request, payload: bytes) -> Answer | None:
    """What a message says as the answer to a request: what was asked for, or an error; None if it is neither."""
    form = _FORMS[type(request)]
    try:
        body = msgspec.json.decode(payload, type=dict[str, Any])
        found = msgspec.convert(body, Error if body.keys() >= {"code", "error"} else form.answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    found.ref = request.ref
    return found


def event(topics: Topics, topic: str, payload: bytes, me: str) -> Frame | None:
    """What a message says that nobody asked for; None if it is nothing for a person."""
    kind, key = _kind(topics, topic, me)
    file = below(topic, f"{topics.to(me)}/{VERB}/")
    if file is not None:
        return More(file) if "/" not in file and payload == MORE else None
    try:
        if kind is Presence:
            body = msgspec.json.decode(payload, type=_Presence)
            return Presence(body.user, "online" if body.online else "offline")
        if kind is None:
            return None
        frame: Frame = msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(frame, Entry) and log_key(frame.channel, peer(frame, me)) != key:
        return None  # the topic says whose it is, never the payload
    return frame


def _kind(topics: Topics, topic: str, me: str) -> tuple[type[Frame] | None, str]:
    """What kind of event a topic is for, and the key of the log that its entries are of."""
    channel = below(topic, topics.channel(""))
    if channel is not None:
        return (None if "/" in channel else Entry), log_key(channel, None)
    user = below(topic, topics.message(me, ""))
    if user is not None:
        return Entry, log_key(None, user)
    if below(topic, topics.presence("")) is not None:
        return Presence, ""
    return _EVENTS.get(below(topic, f"{topics.to(me)}/") or ""), ""


def peer(entry: Entry, me: str) -> str | None:
    """Who the other one is in a direct conversation; None for an entry of a channel."""
    return entry.sender if entry.to is not None and fold(entry.sender) != fold(me) else entry.to
