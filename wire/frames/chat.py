"""Floor 0: the frames of the chat: logging in, channels, messages, and what the server tells of them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, field

from .base import Answer, Frame, Id, Name, Number, Payload, Request


class Hello(Request, tag="hello", kw_only=True):
    """Take a name on this connection; answered with `welcome`, then all that was missed.

    `password` for a registered name. `token` is the one of an earlier `welcome`: it takes the name over from a
    connection of the same holder that the network lost. `since` maps a channel, or `@user` for a direct
    conversation, to the last number had there; what follows it is sent, once, in order. `direct`: you fetch files
    straight from their senders, if they let you.
    """

    name: Name
    password: str | None = None
    token: str | None = None
    since: dict[str, Number] = field(default_factory=dict)
    direct: bool = False


class Join(Request, tag="join"):
    """Join a channel, which is made if it is new; answered with `joined`. It becomes the current channel."""

    channel: Name


class Leave(Request, tag="leave"):
    """Leave a channel (without `channel`: the current one); answered with `left`, after which it is silent."""

    channel: Name = ""


class Say(Request, tag="say", gc=False):
    """Post to a channel (without `channel`: the current one); answered with `stored`, if it has a `ref`.

    With an `id` of your own the post may be sent again after a lost connection: it is kept once.
    """

    text: str
    channel: Name = ""
    id: Id = None


class Msg(Request, tag="msg"):
    """Post to a direct conversation; kept for a user who is away; answered with `stored`, later `delivered`."""

    user: Name
    text: str
    id: Id = None


class Who(Request, tag="who"):
    """Ask who is in a channel (without `channel`: everyone who is online); answered with `members`."""

    channel: Name = ""


class Channels(Request, tag="channels"):
    """Ask which channels there are; answered with `channel-list`."""


class Whois(Request, tag="whois"):
    """Look a user up; answered with `user`."""

    user: Name


class History(Request, tag="history", kw_only=True):
    """Read a page of a log: a `channel`, or the direct conversation with `user`; answered with `page`.

    With `after`: the entries that follow that number; with `before`: those that lead up to it; with neither: the last.
    """

    channel: Name = ""
    user: Name = ""
    after: Number | None = None
    before: Number | None = None
    limit: Annotated[int, Meta(ge=1)] = 50


class Topic(Request, tag="topic"):
    """Ask for a channel's topic, or set it with `text` (an empty one clears it); answered with `topic-is`."""

    channel: Name = ""
    text: str | None = None


class Register(Request, tag="register"):
    """Bind your name to a password, or change it; answered with `registered`."""

    password: str


class Seen(Request, tag="seen", kw_only=True):
    """Acknowledge all entries of a `channel`, or of the conversation with `user`, up to `number`.

    This moves the stored cursor: what is acknowledged does not come again after the next `hello`, and the sender
    of a direct message is told `delivered`. Not answered unless it has a `ref`; then with `ok`.
    """

    number: Number
    channel: Name = ""
    user: Name = ""


class Ping(Request, tag="ping", kw_only=True):
    """Ask for a `pong` with the same payload: is the line alive, and how fast is it?"""

    bytes: Annotated[int, Meta(ge=0)] = 0
    payload: Payload = b""


class Help(Request, tag="help"):
    """Ask for the text dialect's commands, or for one of them; answered with `help-text`."""

    command: str = ""


class Bye(Request, tag="bye"):
    """Leave; answered with `closing`, after everything sent before is stored. Memberships stay."""


class Entry(Frame, tag="entry", gc=False):
    """One entry of a log: of `channel`, or, if it has `to`, of the direct conversation of `sender` and `to`.

    `number` counts up from 1 in each log without a gap; drop one that you have had. `time` is in milliseconds
    since 1970, UTC. `id` is the one that the sender gave. You get your own posts, too. With `file`, a file of that id
    is offered.
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
    """Entries `first` to `last` of a log were not sent, because too many had piled up; `history` has them."""

    first: int
    last: int
    channel: Name | None = None
    user: Name | None = None


class Presence(Frame, tag="presence"):
    """Somebody in one of your channels did `what`: `join`, `leave` (of `channel`), `online`, `offline`."""

    user: Name
    what: str
    channel: Name | None = None


class TopicChanged(Frame, tag="topic-changed"):
    """`user` has set the topic of `channel`."""

    channel: Name
    topic: str
    user: Name


class Delivered(Frame, tag="delivered"):
    """`user` has had your direct messages up to `number`."""

    user: Name
    number: int


class Slowed(Frame, tag="slowed"):
    """You post faster than `rate` posts a second: they are taken at that pace, none is lost."""

    rate: int


class Closing(Answer, tag="closing", kw_only=True):
    """The connection ends now; `code` says why, as in errors, and is absent after `bye`."""

    reason: str
    code: str | None = None


class Error(Answer, tag="error", kw_only=True):
    """A request was refused: a stable `code`, and the sentence for a person.

    If it was a post, `id` is its own, and `channel` or `user` where it was to go.
    """

    code: str
    error: str
    id: str | None = None
    channel: Name | None = None
    user: Name | None = None


class LogState(msgspec.Struct, omit_defaults=True):
    """A log that the user is a member of: its last number, and the number up to which it was acknowledged."""

    tail: int
    seen: int
    channel: Name | None = None
    user: Name | None = None


class Welcome(Answer, tag="welcome", kw_only=True):
    """The name is yours. `token` lets you take it over after a lost line; `logs` is what you are a member of.

    `logs` holds every channel, and each direct conversation in which something waits for you.
    """

    name: Name
    server: str
    token: str
    registered: bool = False
    logs: list[LogState] = field(default_factory=list)


class Joined(Answer, tag="joined", kw_only=True):
    """You are in `channel`, at number `tail`; what follows will come."""

    channel: Name
    tail: int
    topic: str = ""
    members: int = 0


class Left(Answer, tag="left", kw_only=True):
    """You are out of `channel`."""

    channel: Name


class Stored(Answer, tag="stored", kw_only=True):
    """Your post is kept, as `number`. `away` is set if it went to a `user` who is not connected."""

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
    """Who is in `channel`, or, without it, who is online; sorted by name."""

    members: list[Member]
    channel: Name | None = None


class ChannelInfo(msgspec.Struct, omit_defaults=True):
    """A channel in a list: how many are members, its last number, its topic, and whether you are in it."""

    name: Name
    members: int
    tail: int
    topic: str = ""
    joined: bool = False


class ChannelList(Answer, tag="channel-list", kw_only=True):
    """Every channel, sorted by name."""

    channels: list[ChannelInfo]


class UserInfo(Answer, tag="user", kw_only=True):
    """What is known of a user: `doors` and `address` while online; `since` or `seen` in milliseconds since 1970."""

    name: Name
    online: bool
    registered: bool = False
    doors: list[str] = field(default_factory=list)
    address: str | None = None
    since: int | None = None
    seen: int | None = None
    channels: list[Name] = field(default_factory=list)


class Page(Answer, tag="page", kw_only=True):
    """Entries in ascending order; `tail` is the log's last number, so it shows what lies before and after."""

    entries: list[Entry]
    tail: int
    channel: Name | None = None
    user: Name | None = None


class TopicIs(Answer, tag="topic-is", kw_only=True):
    """The topic of `channel`, empty if it has none."""

    channel: Name
    topic: str


class Registered(Answer, tag="registered", kw_only=True):
    """The name is bound to the password."""

    name: Name


class Ok(Answer, tag="ok", kw_only=True):
    """It is done, and there is nothing to say about it."""


class Pong(Answer, tag="pong", kw_only=True):
    """The answer to `ping`, with its payload."""

    bytes: Annotated[int, Meta(ge=0)] = 0
    payload: Payload = b""


class HelpText(Answer, tag="help-text", kw_only=True):
    """The help, as lines for a person."""

    lines: list[str]


class Line(Request, tag="line"):
    """Not on the wire as JSON: a line of the text dialect that is no command. The session knows what it means."""

    text: str


class Malformed(Request, tag="malformed"):
    """Not on the wire: what the peer sent was no frame; the session answers with the error."""

    code: str
    error: str


class Prompt(Frame, tag="prompt"):
    """Not on the wire as JSON: a question of the text dialect's login."""

    text: str
