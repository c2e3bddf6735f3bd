"""One person in a conversation, whatever they speak: what the tests of conversations are written against.

A dialect joins in by one more subclass of Talker and its place in talker_kinds.KINDS. A conversation is named by its
channel, or, between two people, by `@` and the other's name. What is refused raises Refusal with the sentence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

Said = tuple[str, str]  # the sender and the text


class Refusal(Exception):
    """The server said no; the sentence is what it said."""


@dataclass
class Known:
    """The facts of an answer to whois that every dialect tells."""

    online: bool
    registered: bool
    doors: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)


@dataclass
class Listed:
    """A channel in the list of channels."""

    members: int
    tail: int
    joined: bool
    topic: str


class Talker(ABC):
    """Somebody who is connected under `name`. Every method returns when the server has answered."""

    def __init__(self, address: str, name: str, password: str | None = None) -> None:
        self.address = address
        self.name = name
        self._enter(password)

    @abstractmethod
    def _enter(self, password: str | None) -> None:
        """Connect and take the name. Raises Refusal."""

    @abstractmethod
    def join(self, channel: str) -> None:
        """Join."""

    @abstractmethod
    def leave(self, channel: str = "") -> None:
        """Leave that channel, or the current one."""

    @abstractmethod
    def say(self, text: str, channel: str = "") -> None:
        """Say it in that channel, or in the current one."""

    @abstractmethod
    def say_many(self, texts: list[str], channel: str) -> None:
        """Say a lot at once, and wait until all of it is kept."""

    @abstractmethod
    def msg(self, user: str, text: str) -> bool:
        """A private message; whether the sender was told that it is kept for later."""

    @abstractmethod
    def who(self, channel: str = "") -> tuple[list[str], list[str]]:
        """Return the users online and away in a channel, or all users online for no channel."""

    @abstractmethod
    def channels(self) -> dict[str, Listed]:
        """Every channel."""

    @abstractmethod
    def whois(self, user: str) -> Known:
        """Return what the server tells of a user."""

    @abstractmethod
    def history(self, place: str, limit: int, before: int | None = None) -> list[Said]:
        """The last entries of a channel or of `@user`, or those before a number."""

    @abstractmethod
    def topic(self, channel: str, text: str | None = None) -> str:
        """Show the topic, or set it."""

    @abstractmethod
    def register(self, password: str) -> None:
        """Bind the name to a password."""

    @abstractmethod
    def help(self, command: str = "") -> list[str]:
        """The help's lines."""

    @abstractmethod
    def bye(self) -> str:
        """Leave; the server's last words. The connection has ended then."""

    @abstractmethod
    def sync(self) -> None:
        """Return when everything that the server had sent until now has come, and is acknowledged."""

    @abstractmethod
    def wait_for(self, place: str, text: str) -> None:
        """Wait until that was heard."""

    @abstractmethod
    def heard(self, place: str) -> list[Said]:
        """Return the entries of that conversation that this connection has received, in order."""

    @abstractmethod
    def everything(self) -> str:
        """All that came on this connection, written out, to look for what must not be there."""

    @abstractmethod
    def wait_for_notice(self, user: str, what: str, channel: str | None = None) -> None:
        """Wait until told that a user did `what` (join, leave, online, offline, topic)."""

    @abstractmethod
    def gaps(self) -> list[tuple[str, int, int]]:
        """Every notice of a gap so far: the place, the first and the last number that were left out."""

    @abstractmethod
    def drop(self) -> None:
        """Lose the line, without a word."""

    @abstractmethod
    def close(self) -> None:
        """Close our side."""
