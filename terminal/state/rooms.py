"""Floor 4: the joined channels, the current one among them, and what a typed line means there."""

from __future__ import annotations

import msgspec

from wire.errors import Refused
from wire.frames import History, Leave, Line, Request, Say, Topic
from wire.names import fold
from wire.text import channel_word, post_for

from .cursors import Cursors
from .names import KnownNames
from .outbox import Outbox


class Rooms:
    """The joined channels. The client keeps the current one and names it in each request, so typing works offline."""

    def __init__(self, cursors: Cursors, outbox: Outbox) -> None:
        self.current = ""
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
        """Return the request with the current channel if it needs one and names none. Raises Refused."""
        match request:
            case Say(channel="") | Leave(channel="") | Topic(channel="") | History(channel="", user=""):
                return msgspec.structs.replace(request, channel=self._here())
        return request

    def unknown(self, line: str, command: Request | None) -> str | None:
        """Return the key of the channel whose existence decides what the line means, if that is unknown; else None."""
        word = "" if command is not None else channel_word(Line(line))
        return None if not word or self._exists(word) else fold(word)

    def say(self, line: str) -> Say:
        """Return the post for a line of text: in the channel that it names, or else in the current one.

        Raises Refused if that channel is not joined, or does not exist.
        """
        post = post_for(Line(line), self._exists)
        if not post.channel:
            return Say(post.text, self._here())
        channel = self.name(post.channel)
        if channel is None:
            channel = self.names.channels.get(fold(post.channel))
            if channel is None:  # named with #
                raise Refused(
                    "no-such-channel", f"The channel {post.channel} does not exist. /join {post.channel} creates it."
                )
            raise Refused("not-a-member", f"You are not in {channel}: /join {channel} first.")
        return Say(post.text, channel)

    def _exists(self, word: str) -> bool:
        """Return True if a channel of that name is known."""
        return self.name(word) is not None or fold(word) in self.names.channels

    def _here(self) -> str:
        if not self.current:
            raise Refused("no-channel", "You are in no channel. /join lobby joins one.")
        return self.current
