"""Floor 4: the names that the client has met, for completion and to tell a channel from a word before a colon."""

from __future__ import annotations

from collections.abc import Iterable

from wire.frames import (
    ChannelList,
    Entry,
    Frame,
    Joined,
    Members,
    Page,
    Presence,
    TopicChanged,
    TopicIs,
    UserInfo,
    Welcome,
)
from wire.names import NAME, fold


class KnownNames:
    """Channels and users, key to name. Only what keeps the rule for names is kept, so all of it is safe to show."""

    def __init__(self) -> None:
        self.channels: dict[str, str] = {}
        self.users: dict[str, str] = {}

    def learn(self, frame: Frame) -> None:
        """Take in the names of a frame from the server."""
        match frame:
            case Entry():
                self._meet(self.users, [frame.sender, frame.to])
                self._meet(self.channels, [frame.channel])
            case Presence() | TopicChanged():
                self._meet(self.users, [frame.user])
                self._meet(self.channels, [frame.channel])
            case Joined() | TopicIs():
                self._meet(self.channels, [frame.channel])
            case Welcome():
                self._meet(self.users, [frame.name, *(log.user for log in frame.logs)])
                self._meet(self.channels, [log.channel for log in frame.logs])
            case ChannelList():
                self._meet(self.channels, [info.name for info in frame.channels])
            case Members():
                self._meet(self.users, [member.name for member in frame.members])
            case UserInfo():
                self._meet(self.channels, frame.channels)
            case Page():
                self._meet(self.users, [entry.sender for entry in frame.entries])

    def learn_channel(self, name: str) -> None:
        """Take in the name of a channel that exists."""
        self._meet(self.channels, [name])

    @staticmethod
    def _meet(names: dict[str, str], new: Iterable[str | None]) -> None:
        for name in new:
            if name and NAME.fullmatch(name):
                names[fold(name)] = name
