"""Floor 4: the names that frames from the server contain, for completion and to recognise a channel before a colon."""

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
    """Channels and users, key to name. Only valid names are kept, so all of them are safe to display."""

    def __init__(self) -> None:
        self.channels: dict[str, str] = {}
        self.users: dict[str, str] = {}

    def learn(self, frame: Frame) -> None:
        """Add the names in a frame from the server."""
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
                self._meet(self.users, [frame.name])
                self._meet(self.channels, frame.channels)
            case Page():
                self._meet(self.users, [entry.sender for entry in frame.entries])

    def learn_channel(self, name: str) -> None:
        """Add the name of a channel that exists."""
        self._meet(self.channels, [name])

    def learn_user(self, name: str) -> None:
        """Add the name of a user who exists."""
        self._meet(self.users, [name])

    @staticmethod
    def _meet(names: dict[str, str], new: Iterable[str | None]) -> None:
        for name in new:
            if name and NAME.fullmatch(name):
                names[fold(name)] = name
