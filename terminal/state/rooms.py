"""Floor 4: where we are: the channels that we are in, the current one, and what a typed line means there."""

from __future__ import annotations

import msgspec

from wire.errors import Refused
from wire.frames import History, Leave, Request, Say, Topic
from wire.names import NAME, fold
from wire.text import ADDRESSED, topic_for

from .cursors import Cursors
from .names import KnownNames
from .outbox import Outbox

# The same rule as the text dialect's: a line that begins so is for that channel, if there is one of that name.


class Rooms:
    """The current channel is ours, not the server's: it is named in every request, so that typing needs no line."""

    def __init__(self, cursors: Cursors, outbox: Outbox) -> None:
        self.current = ""
        self.names = KnownNames()
        self._cursors = cursors
        self._outbox = outbox

    def joined(self) -> dict[str, str]:
        """The channels that we are in, key to name, the one joined last at the end.

        What was asked for counts as done, so that what is typed next means the same however slow the server is.
        """
        return self._outbox.moved(self._cursors.channels())

    def name(self, channel: str) -> str | None:
        """The name of a channel that we are in, as it was first written."""
        return self.joined().get(fold(channel))

    def entered(self, channel: str) -> None:
        """We are in a channel; if it is the current one, its name is now as it was first written."""
        if fold(self.current) == fold(channel):
            self.current = channel

    def step_out_of(self, channel: str) -> None:
        """If it was the current one, the one joined last takes its place, as in the text dialect."""
        if fold(self.current) == fold(channel):
            self.current = ([""] + [name for key, name in self.joined().items() if key != fold(channel)])[-1]

    def look_around(self) -> None:
        """The server has said what we are in: if the current channel is not among it, we are out of it."""
        if self.name(self.current) is None:
            self.step_out_of(self.current)

    def fill(self, request: Request) -> Request:
        """The request with the current channel, where it takes one and none is named. Raises Refused."""
        if isinstance(request, Topic):
            request = topic_for(request, self._exists, self._sets_topic)
        match request:
            case Say(channel="") | Leave(channel="") | Topic(channel="") | History(channel="", user=""):
                return msgspec.structs.replace(request, channel=self._here())
        return request

    def unknown(self, line: str, command: Request | None) -> str | None:
        """The key of a channel of which we do not know whether it exists, and on which it depends what was typed."""
        match command:
            case None:
                addressed = ADDRESSED.fullmatch(line)
                word = addressed[1] if addressed is not None else ""
            case Topic(channel="", text=str(text)) if NAME.fullmatch(text) and text != "-":
                word = text
            case _:
                return None
        return None if not word or self._exists(word) else fold(word)

    def say(self, line: str) -> Say:
        """What a line of text asks for: to post it in the channel that it names, or else in the current one.

        Raises Refused if there is no such channel for us.
        """
        addressed = ADDRESSED.fullmatch(line)
        if addressed is not None and self._exists(addressed[1]):
            channel = self.name(addressed[1])
            if channel is not None:
                return Say(addressed[2], channel)
            channel = self.names.channels[fold(addressed[1])]
            raise Refused("not-a-member", f"You are not in {channel}: /join {channel} first.")
        return Say(line, self._here())

    def _exists(self, word: str) -> bool:
        """Whether a channel of that name is known."""
        return self.name(word) is not None or fold(word) in self.names.channels

    def _sets_topic(self, word: str) -> bool:
        """Whether text that follows the word is its topic; the server tells who is in no channel to join it."""
        return self.name(word) is not None if self.current else self._exists(word)

    def _here(self) -> str:
        if not self.current:
            raise Refused("no-channel", "You are in no channel: /join lobby, for one.")
        return self.current
