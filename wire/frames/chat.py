"""Floor 0: the frames of the chat: login, channels, messages, history and presence."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, field

from .base import Answer, Frame, Id, Name, Number, Payload, Request


class Hello(Request, tag="hello", kw_only=True):
    """Log in with a name; answered with `welcome`, then with the entries that you missed.

    A registered name needs its `password`. The `token` of an earlier `welcome` takes the name over from a connection
    that the network lost. `since` maps a channel, or `@user` for a private conversation, to the number of the last
    entry that you received there; the server sends the entries after it, each once, in order. `direct` says that you
    can fetch files directly from their senders.
    """

    name: Name
    password: str | None = None
    token: str | None = None
    since: dict[str, Number] = field(default_factory=dict)
    direct: bool = False


class Join(Request, tag="join"):
    """Join a channel; answered with `joined`. A new name makes a new channel. It becomes the current channel."""

    channel: Name


class Leave(Request, tag="leave"):
    """Leave a channel (without `channel`: the current one); answered with `left`. No entries of it follow."""

    channel: Name = ""


class Say(Request, tag="say", gc=False):
    """Post to a channel (without `channel`: the current one); answered with `stored` if it has a `ref`.

    With an `id` you may send the post again after a lost connection: the server stores it once.
    """

    text: str
    channel: Name = ""
    id: Id = None


class Msg(Request, tag="msg"):
    """Send a private message; answered with `stored`, later `delivered`. The server keeps it for a user who is away."""

    user: Name
    text: str
    id: Id = None


class Who(Request, tag="who"):
    """List the members of a channel (without `channel`: everyone who is online); answered with `members`.

    The list begins after the name `after`, and has at most `limit` names; the limits `page` and `page_bytes` may make
    it shorter.
    """

    channel: Name = ""
    after: Name = ""
    limit: Annotated[int, Meta(ge=1)] = 1_000


class Channels(Request, tag="channels"):
    """List the channels, sorted by name; answered with `channel-list`.

    The list begins after the name `after`, and has at most `limit` channels; the limits `page` and `page_bytes` may
    make it shorter.
    """

    after: Name = ""
    limit: Annotated[int, Meta(ge=1)] = 1_000


class Whois(Request, tag="whois"):
    """Look a user up; answered with `user`."""

    user: Name


class History(Request, tag="history", kw_only=True):
    """Read entries of a `channel`, or of the private conversation with `user`; answered with `page`.

    With `after`: the entries after that number. With `before`: the last entries before that number. With neither: the
    last entries. The limits `page` and `page_bytes` may make the answer shorter than `limit`.
    """

    channel: Name = ""
    user: Name = ""
    after: Number | None = None
    before: Number | None = None
    limit: Annotated[int, Meta(ge=1)] = 50


class Topic(Request, tag="topic"):
    """Show a channel's topic, or set it with `text` (an empty text clears it); answered with `topic-is`."""

    channel: Name = ""
    text: str | None = None


class Register(Request, tag="register"):
    """Bind your name to a password, or change it; answered with `registered`."""

    password: str


class Seen(Request, tag="seen", kw_only=True):
    """Acknowledge all entries of a `channel`, or of the conversation with `user`, up to `number`.

    This moves the stored cursor: the server does not send these entries again after the next `hello`, and tells the
    sender of a private message `delivered`. Answered with `ok` if it has a `ref`, else not answered.
    """

    number: Number
    channel: Name = ""
    user: Name = ""


class Ping(Request, tag="ping", kw_only=True):
    """Check that the connection is alive; answered with `pong`, which has the same payload."""

    bytes: Annotated[int, Meta(ge=0)] = 0
    payload: Payload = b""


class Help(Request, tag="help"):
    """Show the commands of the text dialect, or one of them; answered with `help-text`."""

    command: str = ""


class Bye(Request, tag="bye"):
    """Log out; answered with `closing` when all earlier posts are stored. You stay a member of your channels."""


class Entry(Frame, tag="entry", gc=False):
    """One entry of a log: of `channel`, or, if it has `to`, of the private conversation of `sender` and `to`.

    `number` counts from 1 in each log, without a gap; ignore a number that you already have. `time` is in milliseconds
    since 1970, UTC. `id` is the id that the sender gave. You also receive your own posts. An entry with `file` offers
    the file of that id. A `text` that begins with `/me ` is an action: show `/me waves` as `* alice waves`.
    """

    number: int
    time: int
    sender: Name
    text: str
    channel: Name | None = None
    to: Name | None = None
    id: str | None = None
    file: str | None = None


class Gap(Frame, tag="gap", kw_only=True):
    """The server skipped entries `first` to `last` of a log, as too many were waiting; `history` has them."""

    first: int
    last: int
    channel: Name | None = None
    user: Name | None = None


class Presence(Frame, tag="presence"):
    """A member of one of your channels did `what`: `join` or `leave` (of `channel`), `online` or `offline`."""

    user: Name
    what: str
    channel: Name | None = None


class TopicChanged(Frame, tag="topic-changed"):
    """`user` has set the topic of `channel`."""

    channel: Name
    topic: str
    user: Name


class Delivered(Frame, tag="delivered"):
    """`user` has received your private messages up to `number`."""

    user: Name
    number: int


class Slowed(Frame, tag="slowed"):
    """You post faster than `rate` posts a second, or, if there are `bytes`, more than so many bytes a second.

    The server accepts them at that rate; none is lost. Of each post, 1,024 bytes do not count.
    """

    rate: int
    bytes: int | None = None


class Closing(Answer, tag="closing", kw_only=True):
    """The connection ends now. `code` is an error code that says why; it is absent after `bye`."""

    reason: str
    code: str | None = None


class Error(Answer, tag="error", kw_only=True):
    """The server refuses a request: a stable `code`, and a sentence for a person.

    If the request is a post, `id` is its id, and `channel` or `user` its recipient.
    """

    code: str
    error: str
    id: str | None = None
    channel: Name | None = None
    user: Name | None = None


class LogState(msgspec.Struct, omit_defaults=True):
    """A log that the user is a member of: its last number, and the number of the last acknowledged entry."""

    tail: int
    seen: int
    channel: Name | None = None
    user: Name | None = None


class Welcome(Answer, tag="welcome", kw_only=True):
    """You are logged in with `name`. The `token` lets you take the name over after a lost connection.

    `logs` has your channels, and each private conversation that has entries you have not acknowledged.
    """

    name: Name
    server: str
    token: str
    registered: bool = False
    logs: list[LogState] = field(default_factory=list)


class Joined(Answer, tag="joined", kw_only=True):
    """You are a member of `channel`, whose last entry is number `tail`. You receive the entries after it."""

    channel: Name
    tail: int
    topic: str = ""
    members: int = 0


class Left(Answer, tag="left", kw_only=True):
    """You are no longer a member of `channel`."""

    channel: Name


class Stored(Answer, tag="stored", kw_only=True):
    """Your post is stored as `number`. `away` is set if the recipient, a `user`, is not connected."""

    number: int
    channel: Name | None = None
    user: Name | None = None
    id: str | None = None
    away: bool = False


class Member(msgspec.Struct, omit_defaults=True):
    """A user in a list."""

    name: Name
    online: bool = False


class Members(Answer, tag="members", kw_only=True):
    """The members of `channel`, or without it everyone who is online; sorted by name.

    If `more` is there, further names follow: ask again with this name as `after`.
    """

    members: list[Member]
    channel: Name | None = None
    more: Name | None = None


class ChannelInfo(msgspec.Struct, omit_defaults=True):
    """A channel in a list: the count of its members, its last number, its topic, and whether you are a member."""

    name: Name
    members: int
    tail: int
    topic: str = ""
    joined: bool = False


class ChannelList(Answer, tag="channel-list", kw_only=True):
    """Channels, sorted by name; there are `total` of them.

    If `more` is there, further channels follow: ask again with this name as `after`.
    """

    channels: list[ChannelInfo]
    total: int = 0
    more: Name | None = None


class UserInfo(Answer, tag="user", kw_only=True):
    """A user: `doors`, `address` and `since` while online, else `seen`; times are in milliseconds since 1970."""

    name: Name
    online: bool
    registered: bool = False
    doors: list[str] = field(default_factory=list)
    address: str | None = None
    since: int | None = None
    seen: int | None = None
    channels: list[Name] = field(default_factory=list)


class Page(Answer, tag="page", kw_only=True):
    """Entries in ascending order. `tail` is the last number of the log, so you see whether more entries follow.

    If `more` is there, the limit `page_bytes` has made the page shorter: ask again with this number as `after`, or as
    `before` if you did not ask with `after`.
    """

    entries: list[Entry]
    tail: int
    channel: Name | None = None
    user: Name | None = None
    more: int | None = None


class TopicIs(Answer, tag="topic-is", kw_only=True):
    """The topic of `channel`, empty if it has none."""

    channel: Name
    topic: str


class Registered(Answer, tag="registered", kw_only=True):
    """The name is now bound to the password."""

    name: Name


class Ok(Answer, tag="ok", kw_only=True):
    """The request is done."""


class Pong(Answer, tag="pong", kw_only=True):
    """The answer to `ping`, with the same payload."""

    bytes: Annotated[int, Meta(ge=0)] = 0
    payload: Payload = b""


class HelpText(Answer, tag="help-text", kw_only=True):
    """The help, as lines for a person."""

    lines: list[str]


REQUESTS: tuple[type[Frame], ...] = (
    Hello, Join, Leave, Say, Msg, Who, Channels, Whois, History, Topic, Register, Seen, Ping, Help, Bye,
)  # fmt: skip
ANSWERS: tuple[type[Frame], ...] = (
    Welcome, Joined, Left, Stored, Members, ChannelList, UserInfo, Page, TopicIs, Registered, Ok, Pong, HelpText, Error,
    Closing,
)  # fmt: skip
EVENTS: tuple[type[Frame], ...] = (Entry, Gap, Presence, TopicChanged, Delivered, Slowed)
