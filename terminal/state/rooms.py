"""Floor 4: the joined channels, the current one among them, and what a typed line means there."""

from __future__ import annotations

import msgspec

from wire.errors import Refused
from wire.frames import History, Leave, Line, Msg, Names, Query, Request, Say, SendFile, Topic, Who, Whois
from wire.names import fold, shorten
from wire.text import channel_word, clear_address, post_for

from .cursors import Cursors
from .names import KnownNames
from .outbox import Outbox

_QUOTED = 200  # characters of a typed line, in a hint


class Rooms:
    """The joined channels. The client keeps the current one and names it in each request, so typing works offline."""

    def __init__(self, cursors: Cursors, outbox: Outbox) -> None:
        self.current = ""
        self.partner = ""  # the user to whom lines go that name no channel; empty: they go to the current channel
        self.absent_channels: set[str] = set()  # names of which the server has just said that they do not exist
        self.absent_users: set[str] = set()
        self.names = KnownNames()
        self._cursors = cursors
        self._outbox = outbox

    def joined(self) -> dict[str, str]:
        """Return the joined channels, key to name, in the order of joining.

        Requested joins and leaves count as done, so the next line means the same however slow the server is.
        """
        return self._outbox.after_moves(self._cursors.channels())

    def name(self, channel: str) -> str | None:
        """Return a joined channel's name as its creator wrote it; None if it is not joined."""
        return self.joined().get(fold(channel))

    def entered(self, channel: str) -> None:
        """Take the name that the server confirms for a joined channel, if it is the current one."""
        if fold(self.current) == fold(channel):
            self.current = channel

    def step_out_of(self, channel: str) -> None:
        """Leave the current channel for the one joined last, as the text dialect does; no-op for other channels."""
        if fold(self.current) == fold(channel):
            self.current = ["", *self.joined().values()][-1]

    def check_current(self) -> None:
        """Leave the current channel if the server's welcome does not list it."""
        if self.name(self.current) is None:
            self.step_out_of(self.current)

    def fill(self, request: Request) -> Request:
        """Return the request with the current channel or user if it needs one and names none. Raises Refused."""
        match request:
            case Say(channel="", text=text) if self.partner:
                return Msg(self.partner, text)
            case History(channel="", user="") if self.partner:
                return msgspec.structs.replace(request, user=self.partner)
            case Say(channel="") | Leave(channel="") | Topic(channel="") | History(channel="", user=""):
                return msgspec.structs.replace(request, channel=self._here())
            case Names(channel=channel, limit=limit):
                return Who(channel or self._here(), limit=limit)
        return request

    def question(self, line: str, command: Request | None, *, strict: bool) -> Topic | Whois | None:
        """Return what to ask the server before it is clear what a line means; None if that is clear.

        `strict`: a line that seems to name a channel, such as `lab: hello`, names a channel or a user.
        """
        user = ""
        match command:
            case None:
                word = channel_word(Line(line))
                if word and not self.exists(word):
                    if fold(word) not in self.absent_channels:
                        return Topic(fold(word))
                    user = clear_address(Line(line)) if strict else ""
            case Topic(channel=channel):
                if channel and not self.exists(channel) and fold(channel) not in self.absent_channels:
                    return Topic(fold(channel))
            case SendFile(to=to, unseen=False) if not to.startswith("#"):
                user = to
            case Query():
                user = command.user
        return None if not user or self.is_user(user) or fold(user) in self.absent_users else Whois(fold(user))

    def answered(self, question: Topic | Whois, *, exists: bool) -> None:
        """Note the answer to a question: until `forget_absent`, a name that does not exist is not asked about again."""
        name, exists_not = (
            (question.channel, self.absent_channels)
            if isinstance(question, Topic)
            else (question.user, self.absent_users)
        )
        if not exists:
            exists_not.add(name)
        elif isinstance(question, Topic):
            self.names.learn_channel(name)
        else:
            self.names.learn_user(name)

    def forget_absent(self) -> None:
        """Forget which names do not exist: anybody may create them now."""
        self.absent_channels.clear()
        self.absent_users.clear()

    def say(self, line: str, *, strict: bool = False) -> Say | Msg:
        """Return the post for a line of text: in the channel that it names, or else in the current one.

        Raises Refused if that channel is not joined, or does not exist; `strict` as for `question`.
        """
        post = post_for(Line(line), self.exists)
        if not post.channel:
            word = clear_address(Line(line)) if strict else ""
            if word and not self.is_user(word):
                raise Refused("no-such-channel", self._mistyped(word, line))
            return Msg(self.partner, post.text) if self.partner else Say(post.text, self._here())
        channel = self.name(post.channel)
        if channel is None:
            channel = self.names.channels.get(fold(post.channel))
            if channel is None:  # named with #
                raise Refused(
                    "no-such-channel", f"The channel {post.channel} does not exist. /join {post.channel} creates it."
                )
            raise Refused("not-a-member", f"You are not in {channel}: /join {channel} first.")
        return Say(post.text, channel)

    def _mistyped(self, word: str, line: str) -> str:
        refusal = f"No channel and no user is called {word}. /join {word} creates the channel."
        if self.partner or not self.current:
            return refusal
        return f"{refusal} To say it in {self.current}: {shorten(f'{self.current}: {line}', _QUOTED)}"

    def is_user(self, word: str) -> bool:
        """Return True if a user of that name is known."""
        return fold(word) in self.names.users

    def exists(self, word: str) -> bool:
        """Return True if a channel of that name is known."""
        return self.name(word) is not None or fold(word) in self.names.channels

    def _here(self) -> str:
        if self.partner:
            raise Refused("no-channel", f"You are talking with {self.partner}. Name the channel, or /query ends that.")
        if not self.current:
            raise Refused("no-channel", "You are in no channel. /join lobby joins one.")
        return self.current
