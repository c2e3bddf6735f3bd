"""Helpers of the tests of several servers: clients, and servers that have come to agree."""

from __future__ import annotations

from collections.abc import Callable

from server import Server
from tests.support.clients import Json
from tests.support.waiting import eventually
from wire.frames import Entry, Join

Connect = Callable[..., Json]


def joined(connect: Connect, server: Server, name: str, channel: str = "lab") -> Json:
    """Return a client that has joined a channel."""
    client = connect(server.address, name)
    client.request(Join(channel))
    return client


def numbers(client: Json) -> list[int]:
    """Return the numbers of the entries of channels that a client has had, in the order in which they came."""
    return [entry.number for entry in client.of(Entry) if entry.channel]


def wait_for(client: Json, text: str) -> Entry:
    """Return the entry with that text, once it comes."""
    return client.expect(Entry, lambda entry: entry.text == text)


def wait_until_alike(*servers: Server) -> None:
    """Return when the servers know the same channels with the same members, topics and tails, and the same users."""

    def state(server: Server) -> object:
        chat = server.chat
        channels = sorted((log.row.name, log.tail, log.members, log.topic) for log in chat.all_channels())
        users = [(user.name, len(user.sessions) + len(user.elsewhere), user.doors) for user in chat.directory.users()]
        return channels, users

    eventually(lambda: len({repr(state(each)) for each in servers}) == 1, lambda: repr([*map(state, servers)]))


def wait_until_level(server: Server, name: str) -> None:
    """Return when a user's connections at a server have been sent everything: a lagging one gets no notices."""

    def behind() -> bool:
        user = server.chat.directory.find(name)
        return user is None or any(session.reader._behind for session in user.sessions)  # type: ignore[attr-defined]

    eventually(lambda: not behind(), lambda: f"{name} is behind")
