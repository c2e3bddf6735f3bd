"""Floor 0: every frame that the server sends as lines for a person; safe on any terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from wire.frames import (
    BridgeStatus,
    ChannelList,
    Closing,
    Delivered,
    Entry,
    Error,
    Frame,
    Gap,
    HelpText,
    Joined,
    Left,
    Members,
    Ok,
    Page,
    Pong,
    Presence,
    Prompt,
    Registered,
    ServerStatus,
    Slowed,
    Stored,
    TopicChanged,
    TopicIs,
    UserInfo,
    Welcome,
)
from wire.names import one_line

from .file_render import FILE_RENDERERS


def clock(milliseconds: int) -> str:
    """A time of day, with its date if that is not today."""
    try:
        then = time.localtime(milliseconds / 1000)
    except (OverflowError, ValueError, OSError):
        return "at no time"  # a number that no clock shows
    today = time.strftime("%Y-%m-%d") == time.strftime("%Y-%m-%d", then)
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", then)


def place(channel: str | None, user: str | None) -> str:
    """A log as a person names it: `lab` or `@bob`."""
    return f"@{user}" if user else channel or ""


def entry_line(entry: Entry) -> str:
    """A live entry, without its line end."""
    return one_line(_entry(entry))


def past_line(entry: Entry) -> str:
    """An entry with its time, for history and for what was missed."""
    return one_line(_past(entry))


def _entry(entry: Entry) -> str:
    if entry.to is not None:
        return f"{entry.sender} -> {entry.to}: {entry.text}"
    return f"[{entry.channel}] {entry.sender}: {entry.text}"


def _past(entry: Entry) -> str:
    return f"{clock(entry.time)} {_entry(entry)}"


def _welcome(frame: Welcome) -> list[str]:
    lines = [f"Welcome, {frame.name}. /help lists the commands."]
    channels = [log.channel for log in frame.logs if log.channel]
    if channels:
        lines.append(f"You are in {', '.join(channels)}; your current channel is {channels[-1]}.")
    else:
        lines.append("You are in no channel yet: /join lobby, for one, or see /channels.")
    return lines


def _joined(frame: Joined) -> list[str]:
    topic = f" Topic: {frame.topic}" if frame.topic else ""
    lines = [f"* You are in {frame.channel} ({_count(frame.members, 'member')}).{topic}"]
    if frame.tail:
        lines.append(f"* {_count(frame.tail, 'entry', 'entries')} so far: /history {frame.channel}")
    return lines


def _stored(frame: Stored) -> list[str]:
    if frame.user and frame.away:
        return [f"* {frame.user} is away; the message is kept for them."]
    return []


def _members(frame: Members) -> list[str]:
    here = [member.name for member in frame.members if member.online]
    away = [member.name for member in frame.members if not member.online]
    head = f"* In {frame.channel}" if frame.channel else "* Online"
    lines = [f"{head}: {', '.join(here) or 'nobody'}"]
    if away:
        lines.append(f"* Away: {', '.join(away)}")
    return lines


def _channels(frame: ChannelList) -> list[str]:
    if not frame.channels:
        return ["* There is no channel yet: /join lobby makes one."]
    width = max(len(info.name) for info in frame.channels)
    return [
        f"* {info.name:<{width}}  {_count(info.members, 'member')}, {_count(info.tail, 'entry', 'entries')}"
        f"{', joined' if info.joined else ''}{'  ' + info.topic if info.topic else ''}"
        for info in frame.channels
    ]


def _user(frame: UserInfo) -> list[str]:
    kind = "a registered user" if frame.registered else "a guest"
    if frame.online:
        lines = [
            f"* {frame.name} is online, {kind}, by {', '.join(frame.doors)}"
            f" from {frame.address}, since {clock(frame.since or 0)}."
        ]
    elif frame.seen:
        lines = [f"* {frame.name} is away, {kind}, last seen {clock(frame.seen)}."]
    else:
        lines = [f"* {frame.name} has never been here."]
    if frame.channels:
        lines.append(f"* In {', '.join(frame.channels)}")
    return lines


def _page(frame: Page) -> list[str]:
    where = place(frame.channel, frame.user)
    if not frame.entries:
        return [f"* Nothing there in {where}."]
    first, last = frame.entries[0].number, frame.entries[-1].number
    older = f"; older: /history {where} {len(frame.entries)} {first}" if first > 1 else ""
    return [*map(_past, frame.entries), f"* {first} to {last} of {frame.tail} in {where}{older}"]


def _gap(frame: Gap) -> list[str]:
    where = place(frame.channel, frame.user)
    count = frame.last - frame.first + 1
    return [
        f"* {_count(count, 'entry', 'entries')} of {where} left out ({frame.first} to {frame.last});"
        f" see them with /history {where} {min(count, 100)} {frame.last + 1}"
    ]


_WHAT = {"join": "has joined", "leave": "has left", "online": "is here", "offline": "is away"}


def _presence(frame: Presence) -> list[str]:
    where = f" {frame.channel}" if frame.channel else ""
    return [f"* {frame.user} {_WHAT.get(frame.what, frame.what)}{where}"]


def _topic_is(frame: TopicIs) -> list[str]:
    return [f"* The topic of {frame.channel}: {frame.topic}" if frame.topic else
            f"* {frame.channel} has no topic."]  # fmt: skip


def _status(frame: ServerStatus) -> list[str]:
    lines = [
        f"* Partyline {frame.version}, running since {clock(frame.since)}.",
        f"* {_count(frame.users, 'user')} online by {_count(frame.connections, 'connection')};"
        f" {_count(frame.channels, 'channel')}.",
    ]
    return lines if frame.bridge is None else [*lines, f"* Broker: {_bridge(frame.bridge)}."]


def _bridge(bridge: BridgeStatus) -> str:
    behind = _count(bridge.behind, "entry", "entries") + " behind"
    counts = f"{_count(bridge.received, 'message')} in, {bridge.sent} out, {bridge.refused} refused"
    if not bridge.connected:
        reason = bridge.error.rstrip(".") or "no reason is known"
        return f"not connected to {bridge.broker} since {clock(bridge.since)}: {reason}; {behind}; {counts}"
    version = f" over MQTT {bridge.version}" if bridge.version else ""
    but = f", but: {bridge.error.rstrip('.')}" if bridge.error else ""
    return f"connected to {bridge.broker}{version} since {clock(bridge.since)}{but}; {behind}; {counts}"


# The lines as they are; `render` makes them safe.
_RENDERERS: dict[type[Frame], Callable[[Any], Sequence[str]]] = {
    Welcome: _welcome,
    Joined: _joined,
    Left: lambda frame: [f"* You have left {frame.channel}."],
    Stored: _stored,
    Members: _members,
    ChannelList: _channels,
    UserInfo: _user,
    Page: _page,
    TopicIs: _topic_is,
    Registered: lambda frame: [f"* {frame.name} is yours: from now on it takes the password."],
    Ok: lambda frame: [],
    ServerStatus: _status,
    Pong: lambda frame: ["* pong"],
    HelpText: lambda frame: frame.lines,
    Error: lambda frame: [f"! {frame.error}"],
    Closing: lambda frame: [f"* {frame.reason}"],
    Entry: lambda frame: [_entry(frame)],
    Gap: _gap,
    Presence: _presence,
    TopicChanged: lambda frame: [f"* {frame.user} has set the topic of {frame.channel}: {frame.topic}"],
    Delivered: lambda frame: [],
    Slowed: lambda frame: [f"* You write faster than {frame.rate} lines a second: they are taken at that pace."],
    Prompt: lambda frame: [frame.text],
    **FILE_RENDERERS,
}


def render(frame: Frame) -> Sequence[str]:
    """The lines, without their line ends, that show a frame; none for a frame that a person need not see.

    Whatever its fields hold, nothing in them acts on a terminal, and a further line of theirs is indented.
    """
    return [one_line(line) for line in _RENDERERS[type(frame)](frame)]


def _count(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
