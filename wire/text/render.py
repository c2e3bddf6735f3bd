"""Floor 0: the frames that the server sends, as lines for a person; no line acts on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from wire.actions import action_of
from wire.file_names import size_words
from wire.frames import (
    Attached,
    BridgeStatus,
    Cancelled,
    ChannelList,
    Chunk,
    Closing,
    Delivered,
    Entry,
    Error,
    Fetched,
    FileInfo,
    FileList,
    Finished,
    Frame,
    Gap,
    HelpText,
    Joined,
    Kept,
    Left,
    Members,
    More,
    Offered,
    Ok,
    Page,
    Pong,
    Presence,
    Prompt,
    Ranges,
    Recipient,
    Registered,
    ServerInfo,
    ServerStatus,
    Slowed,
    Stored,
    SumIs,
    TopicChanged,
    TopicIs,
    UserInfo,
    Visitor,
    Wanted,
    Way,
    Welcome,
)
from wire.names import one_line
from wire.ranges import percent

from .wrap import TEXT_COLUMNS, wrap_help


def render(frame: Frame) -> Sequence[str]:
    """Return the lines that show a frame, without line ends; none for a frame that a person need not see.

    Whatever the fields hold, nothing in them acts on a terminal, and each further line of a field is indented.
    """
    return [one_line(line) for line in _RENDERERS[type(frame)](frame)]


def entry_line(entry: Entry) -> str:
    """Return the line of a live entry, without its line end."""
    return one_line(_entry(entry))


def past_line(entry: Entry) -> str:
    """Return the line of an entry with its time, for history and for entries that were missed."""
    return one_line(_past(entry))


def clock(milliseconds: int) -> str:
    """Return the local time of day, with the date if that is not today."""
    try:
        then = time.localtime(milliseconds / 1000)
    except (OverflowError, ValueError, OSError):
        return "unknown time"
    today = time.strftime("%Y-%m-%d") == time.strftime("%Y-%m-%d", then)
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", then)


def _log(channel: str | None, user: str | None) -> str:
    """A log as a person types it: `lab` or `@bob`."""
    return f"@{user}" if user else channel or ""


def _count(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


# Entries


def _entry(entry: Entry) -> str:
    action = action_of(entry.text)
    if entry.to is not None:
        return f"{entry.sender} -> {entry.to}: {entry.text if action is None else f'* {entry.sender} {action}'}"
    # An action also begins with its channel: a line that begins with `*` is the server's.
    said = f"{entry.sender}: {entry.text}" if action is None else f"* {entry.sender} {action}"
    return f"[{entry.channel}] {said}"


def _past(entry: Entry) -> str:
    return f"{clock(entry.time)} {_entry(entry)}"


def _page(frame: Page) -> list[str]:
    log = _log(frame.channel, frame.user)
    if not frame.entries:
        return [f"* No entries in {log}."]
    first, last = frame.entries[0].number, frame.entries[-1].number
    older = f"; older: /history {log} {len(frame.entries)} {first}" if first > 1 else ""
    full = " (no more fit into one answer)" if frame.more is not None else ""
    return [*_past_entries(frame.entries), f"* {first} to {last} of {frame.tail} in {log}{full}{older}"]


def _past_entries(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield a line for each entry, and one for entries that are missing: the server has found them damaged."""
    expected = entries[0].number
    for entry in entries:
        if entry.number > expected:
            yield f"* {expected} to {entry.number - 1} are damaged on the server's disk, so they cannot be shown."
        yield _past(entry)
        expected = entry.number + 1


def _gap(frame: Gap) -> list[str]:
    log, count = _log(frame.channel, frame.user), frame.last - frame.first + 1
    skipped = f"* Skipped {_count(count, 'entry', 'entries')} of {log} ({frame.first} to {frame.last})."
    return [f"{skipped} /history {log} {min(count, 100)} {frame.last + 1} shows the last of them."]


def _stored(frame: Stored) -> list[str]:
    if frame.user and frame.away:
        return [f"* {frame.user} is away. The server keeps the message for them."]
    return []


# People and channels


def _welcome(frame: Welcome) -> list[str]:
    lines = [f"Welcome, {frame.name}. /help lists the commands."]
    channels = [log.channel for log in frame.logs if log.channel]
    if channels:
        lines.append(f"You are in {', '.join(channels)}; your current channel is {channels[-1]}.")
    else:
        lines.append("You are in no channel yet. /join lobby joins one, /channels lists them.")
    return lines


def _joined(frame: Joined) -> list[str]:
    topic = f" Topic: {frame.topic}" if frame.topic else ""
    lines = [f"* You are in {frame.channel} ({_count(frame.members, 'member')}).{topic}"]
    if frame.tail:
        lines.append(f"* {_count(frame.tail, 'entry', 'entries')} so far: /history {frame.channel}")
    return lines


def _members(frame: Members) -> list[str]:
    online = [member.name for member in frame.members if member.online]
    away = [member.name for member in frame.members if not member.online]
    title = f"* In {frame.channel}" if frame.channel else "* Online"
    lines = [f"{title}: {', '.join(online) or 'nobody'}"]
    if away:
        lines.append(f"* Away: {', '.join(away)}")
    if frame.more:
        lines.append(f"* There are more: /who {frame.channel or '*'} {frame.more}")
    return lines


def _channels(frame: ChannelList) -> list[str]:
    if not frame.channels:
        return ["* No further channels."] if frame.total else ["* No channels yet. /join lobby makes one."]
    more = [f"* {len(frame.channels)} of {frame.total} channels; more: /channels {frame.more}"] if frame.more else []
    width = max(len(info.name) for info in frame.channels)
    lines = [
        f"* {info.name:<{width}}  {_count(info.members, 'member')}, {_count(info.tail, 'entry', 'entries')}"
        f"{', joined' if info.joined else ''}{'  ' + info.topic if info.topic else ''}"
        for info in frame.channels
    ]
    return lines + more


def _user(frame: UserInfo) -> list[str]:
    kind = "a registered user" if frame.registered else "a guest"
    if frame.online:
        lines = [
            (
                f"* {frame.name} is online, {kind}, by {', '.join(frame.doors)}"
                f" from {frame.address}, since {clock(frame.since or 0)}."
            )
        ]
    elif frame.seen:
        lines = [f"* {frame.name} is away, {kind}, last seen {clock(frame.seen)}."]
    else:
        lines = [f"* {frame.name} has never been here."]
    if frame.channels:
        lines.append(f"* In {', '.join(frame.channels)}")
    return lines


def _recipient(frame: Recipient) -> list[str]:
    if not frame.user:
        return [f"* What you type goes to {frame.channel or 'nobody: you are in no channel'}."]
    lines = [f"* What you type goes to {frame.user}, privately. /query ends that."]
    if not frame.known:
        lines.append(f"* No user called {frame.user} has ever connected. The server would keep your messages.")
    return lines


_CHANGES = {"join": "has joined", "leave": "has left", "online": "is here", "offline": "is away"}


def _presence(frame: Presence) -> list[str]:
    channel = f" {frame.channel}" if frame.channel else ""
    return [f"* {frame.user} {_CHANGES.get(frame.what, frame.what)}{channel}"]


def _topic_is(frame: TopicIs) -> list[str]:
    if not frame.topic:
        return [f"* {frame.channel} has no topic."]
    return [f"* The topic of {frame.channel}: {frame.topic}"]


# The server


def _status(frame: ServerStatus) -> list[str]:
    lines = [
        f"* Partyline {frame.version}, running since {clock(frame.since)}.",
        (
            f"* {_count(frame.users, 'user')} online over {_count(frame.connections, 'connection')};"
            f" {_count(frame.channels, 'channel')}."
        ),
    ]
    if frame.bridge is not None:
        lines.append(f"* Broker: {_bridge(frame.bridge)}.")
    return [*lines, *[f"* Server {_server(server)}." for server in frame.servers]]


def _server(server: ServerInfo) -> str:
    name = f"{server.number}, {server.name}" if server.name else f"{server.number}"
    where = f" ({server.address})" if server.address not in ("", server.name) else ""
    lag = "" if server.lag is None else f"; what it tells takes {server.lag / 1000:.1f} ms"
    silent = f"; silent for {_count(server.silent, 'second')}" if server.silent else ""
    here = "; this one" if server.here else ""
    return f"{name}{where}: {server.version}, {_count(server.connections, 'connection')}{lag}{silent}{here}"


def _bridge(bridge: BridgeStatus) -> str:
    if bridge.server:
        return f"the server {bridge.server} mirrors the chat to {bridge.broker}"
    behind = _count(bridge.behind, "entry", "entries") + " behind"
    counts = f"{_count(bridge.received, 'message')} in, {bridge.sent} out, {bridge.refused} refused"
    if not bridge.connected:
        reason = bridge.error.rstrip(".") or "reason unknown"
        return f"not connected to {bridge.broker} since {clock(bridge.since)}: {reason}; {behind}; {counts}"
    version = f" over MQTT {bridge.version}" if bridge.version else ""
    but = f", but: {bridge.error.rstrip('.')}" if bridge.error else ""
    return f"connected to {bridge.broker}{version} since {clock(bridge.since)}{but}; {behind}; {counts}"


# Files


def _offered(frame: Offered) -> list[str]:
    return [f"* {frame.user} is away. The server keeps the file for them."] if frame.away and frame.user else []


def _files(frame: FileList) -> list[str]:
    if not frame.files:
        return ["* No files are offered to you or by you."]  # also after the last one
    widths = max(len(info.file) for info in frame.files), max(len(size_words(info.size)) for info in frame.files)
    return [
        *[_file(info, *widths) for info in frame.files],
        *([f"* More: /files {frame.more}"] if frame.more else []),
        "* /get <id> in client.py fetches a file, shows the progress, and resumes after a lost connection.",
    ]


def _file(info: FileInfo, id_width: int, size_width: int) -> str:
    log = f"in {info.channel}" if info.channel else f"in your conversation with {info.user}"
    count = f"/, {info.count} files," if info.count > 1 else ""
    progress = "" if info.done else f", {percent(info.have, info.size)} % uploaded"
    fetched = f", fetched by {', '.join(info.fetched)}" if info.fetched else ""
    size = size_words(info.size)
    return (
        f"* {info.file:<{id_width}}  {size:>{size_width}}  {info.name}{count} by {info.sender} {log}{progress}{fetched}"
    )


# What only programs ask for, or what a person sees as progress.
_UNSEEN: tuple[type[Frame], ...] = (
    Attached, Chunk, Delivered, Finished, Kept, More, Ok, Ranges, SumIs, Visitor, Wanted, Way,
)  # fmt: skip

# The lines before `render` makes them safe.
_RENDERERS: dict[type[Frame], Callable[[Any], Sequence[str]]] = {
    **dict.fromkeys(_UNSEEN, lambda frame: ()),
    Cancelled: lambda frame: [f"* {frame.name} is no longer offered."],
    ChannelList: _channels,
    Closing: lambda frame: [f"* {frame.reason}"],
    Entry: lambda frame: [_entry(frame)],
    Error: lambda frame: [f"! {frame.error}"],
    Fetched: lambda frame: [f"* {frame.user} has fetched {frame.name} ({frame.file})."],
    FileList: _files,
    Gap: _gap,
    HelpText: lambda frame: wrap_help(frame.lines, TEXT_COLUMNS),
    Joined: _joined,
    Left: lambda frame: [f"* You have left {frame.channel}."],
    Members: _members,
    Offered: _offered,
    Page: _page,
    Pong: lambda frame: ["* pong"],
    Presence: _presence,
    Prompt: lambda frame: [frame.text],
    Recipient: _recipient,
    Registered: lambda frame: [f"* The name {frame.name} is now registered. Log in with this password."],
    ServerStatus: _status,
    Slowed: lambda frame: [
        f"* You write faster than {frame.rate} lines a second. The server accepts them at that rate; none is lost."
        if frame.bytes is None
        else f"* You write more than {frame.bytes} bytes a second. The server accepts them at that rate; none is lost."
    ],
    Stored: _stored,
    TopicChanged: lambda frame: [f"* {frame.user} has set the topic of {frame.channel}: {frame.topic}"],
    TopicIs: _topic_is,
    UserInfo: _user,
    Welcome: _welcome,
}
