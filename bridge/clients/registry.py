"""Floor 3: the hub: all MQTT clients that are connected, and what they share: state, presence, last words."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from channels.chat import Chat
from channels.directory import User
from channels.journal import Posting
from channels.locks import leaf
from channels.log import Log
from store import StoreError
from wire.clock import now
from wire.errors import ChatError
from wire.frames import Msg, Say
from wire.mqtt import matches
from wire.names import fold
from wire.topics import LiveMessage, Topics

from .connect import LastWill
from .timer import Later

if TYPE_CHECKING:
    from .session import MqttSession

log_ = logging.getLogger("partyline.mqtt")

_GRACE = 1.0  # seconds after which a session whose time is over is ended for certain
_LEFT = 500  # milliseconds for which it is left to a client that was just in time, and takes it up at this moment


@dataclass(slots=True, eq=False)
class _Away:
    """A client that is away but has a session: how far its logs were sent, if this server has sent them.

    `end` is the number of what is to happen when its time is over.
    """

    sent: dict[int, int] | None
    end: int = 0


class Hub:
    """What the sessions share. A client is known by its user and its client id, so nobody takes another's."""

    def __init__(self, chat: Chat, topics: Topics) -> None:
        self.chat = chat
        self.topics = topics
        self._later = Later()
        self._lock = leaf()
        self._sessions: dict[str, MqttSession] = {}
        self._parting: dict[str, threading.Event] = {}  # of connections that have ended: what is kept is being kept
        self._leaving: dict[str, threading.Event] = {}  # by user key: somebody waits for them to be gone
        self._away: dict[str, _Away] = {}
        self.beyond: Callable[[str, LiveMessage], None] | None = None  # where else somebody may be: on another broker
        self._wills: dict[str, int] = {}  # of clients that are away: the number of the delayed will
        chat.store.part_clients(now())
        chat.store.end_clients(now())
        for client in chat.store.clients(""):
            if client.until is not None:
                self.keep(client.key, None, (client.until - now()) / 1000)
        chat.watchers.append(self)

    # Who is connected

    def find(self, key: str) -> MqttSession | None:
        """The session that is connected under a key."""
        return self._sessions.get(key)

    def add(self, key: str, session: MqttSession, *, clean: bool) -> tuple[MqttSession | None, dict[int, int] | None]:
        """Note who is connected under a key: the session that it takes over, if there is one, and how far it was sent.

        The latter by log id; None if this server does not know. A `clean` start ends the client's earlier session.
        """
        while True:
            with self._lock:
                parting = self._parting.get(key)
                if parting is None:
                    old = self._sessions.get(key)
                    self._sessions[key] = session
                    away = self._away.pop(key, None)
                    will = self._wills.pop(key, None)
                    break
            parting.wait()
        if away is not None:
            self._later.cancel(away.end)
        if will is not None:
            last_words = self._later.cancel(will)  # [MQTT-3.1.3-9]
            if clean and last_words is not None:
                last_words()  # the session that it belonged to has ended (5 §3.1.2.5)
        return old, away.sent if away is not None else None

    @contextmanager
    def parting(self, key: str, session: MqttSession) -> Iterator[bool]:
        """The connection has ended; whether no other has taken its session over.

        Until the context is left, a client that is back already waits: what is kept of the old connection would
        otherwise come over what it has kept itself.
        """
        with self._lock:
            current = self._sessions.get(key) is session
            if current:
                del self._sessions[key]
                self._parting[key] = threading.Event()
            gone = self._leaving.pop(session.user_key, None)
        if gone is not None:
            gone.set()
        try:
            yield current
        finally:
            if current:
                with self._lock:
                    parted = self._parting.pop(key)
                parted.set()

    def wait_until_gone(self, user_key: str, address: str, seconds: float) -> bool:
        """Wait a moment for the client that holds a name; whether it is gone.

        It has to be one of the same machine: as of mosquitto_pub, which does not wait for the end of its connection.
        """
        with self._lock:
            holder = next((each for each in self._sessions.values() if each.user_key == user_key), None)
            if holder is None or holder.address != address:
                return holder is None
            gone = self._leaving.setdefault(user_key, threading.Event())
        return gone.wait(seconds)

    def keep(self, key: str, sent: dict[int, int] | None, seconds: float) -> None:
        """Remember, for as long as a client's session is kept, how far its logs were sent; then end it."""
        away = _Away(sent)

        def end() -> None:
            with self._lock:
                ended = self._away.get(key) is away
                if ended:
                    del self._away[key]
            if ended:  # else it is back, or has been
                self.chat.store.end_clients(now() - _LEFT)

        away.end = self._later.do(seconds + _GRACE, end)
        with self._lock:
            if key not in self._sessions:
                self._away[key] = away

    def _all(self) -> list[MqttSession]:
        with self._lock:
            return list(self._sessions.values())

    # The chat's watcher

    def channel_made(self, log: Log) -> None:
        """There is a new channel: clients may have subscribed to it before."""
        for session in self._all():
            session.channel_made(log)

    def presence_changed(self, user: User) -> None:
        """Tell the clients that want to know, and look again: the last word is to be how it is."""
        topic, find = self.topics.presence(user.name), self.chat.directory.find
        while True:
            now = find(user.key)
            payload = self.presence(now or user)
            for session in self._all():
                session.tell(topic, payload, retained=True)
            if find(user.key) is now:
                return

    # What is kept for new subscribers

    @staticmethod
    def presence(user: User) -> bytes:
        """What `presence/<user>` says of somebody who is, or was just, connected."""
        sessions = user.sessions
        if not sessions:
            return msgspec.json.encode({"user": user.name, "online": False, "since": now()})
        doors = sorted({session.door for session in sessions})
        return msgspec.json.encode({"user": user.name, "online": True, "doors": doors, "since": user.since})

    def retained(self, topic_filter: str) -> Iterator[tuple[str, bytes]]:
        """The retained messages that a filter takes in: of users, those who are online, or the one that it names."""
        if matches(topic_filter, self.topics.server):
            yield self.topics.server, b"online"
        if "+" in topic_filter or "#" in topic_filter:
            for user in self.chat.directory.users():
                topic = self.topics.presence(user.name)
                if matches(topic_filter, topic):
                    yield topic, self.presence(user)
            return
        name = topic_filter[len(self.topics.presence("")) :]
        if topic_filter != self.topics.presence(name):
            return
        here = self.chat.directory.find(fold(name))
        if here is not None and here.name == name:
            yield topic_filter, self.presence(here)
        elif here is None and (account := self.chat.store.account(name)) is not None and account.name == name:
            yield topic_filter, msgspec.json.encode({"user": name, "online": False, "since": account.seen})

    # What a client says when it is gone, and what goes past the chat

    def delay_will(self, key: str, name: str, will: LastWill, seconds: int) -> None:
        """Publish a client's will later, unless it comes back before (5 §3.1.3.2.2)."""

        def due() -> None:
            with self._lock:
                self._wills.pop(key, None)
            self.last_words(name, will)

        number = self._later.do(seconds, due)
        with self._lock:
            self._wills[key] = number

    def last_words(self, name: str, will: LastWill) -> None:
        """Publish a will in the name of a user who may be gone already."""
        request = will.request
        try:
            if isinstance(request, LiveMessage):
                self.straight(name, request)
            elif isinstance(request, Say | Msg):
                log = self._log_for(name, request)
                self.chat.journal.post(Posting(log, fold(name), name, [request], _stored, _refused))
        except (ChatError, StoreError) as error:
            log_.warning("the will of %s was not published: %s", name, error)

    def _log_for(self, name: str, request: Say | Msg) -> Log:
        if isinstance(request, Msg):
            return self.chat.direct(name, request.user)
        return self.chat.open_channel(request.channel)

    def straight(self, sender: str, message: LiveMessage, client: str = "", *, beyond: bool = True) -> None:
        """From one client to another: to every session of the other that listens, and `beyond` our own door.

        `client` is the key of the first.
        """
        user_key, first = fold(message.to), self.find(client)
        if beyond and self.beyond is not None:
            self.beyond(sender, message)
        for session in self._all():
            if session.user_key == user_key:
                topic = self.topics.direct(session.me, sender)
                session.tell(topic, message.payload, properties=message.properties, own=session is first)

    def close(self) -> None:
        """The server goes down: nothing more is done later."""
        self._later.close()


def _stored(posting: Posting, numbers: object) -> None:
    """A will wants no receipt."""


def _refused(posting: Posting, refused: ChatError) -> None:
    log_.warning("a will of %s was not kept: %s", posting.sender, refused)
