"""Floor 3: the hub: all MQTT clients that are connected, the state they share, and what is to happen later."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from channels.chat import Chat
from channels.directory import User
from channels.journal import Posting
from channels.locks import leaf
from channels.log import Log
from wire.errors import ChatError
from wire.frames import Msg, Request, Say
from wire.names import fold

from .topics import Live, Topics

if TYPE_CHECKING:
    from .session import MqttSession

log_ = logging.getLogger("partyline.mqtt")


class Later:
    """Owns the thread `mqtt-later`, which does things when their time has come: wills that are delayed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count(1)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="mqtt-later", daemon=True)
        self._thread.start()

    def do(self, seconds: float, what: Callable[[], None]) -> int:
        """Do it after so many seconds; the number to cancel it with."""
        with self._changed:
            number = next(self._numbers)
            heapq.heappush(self._due, (time.monotonic() + seconds, number, what))
            self._changed.notify()
            return number

    def cancel(self, number: int) -> None:
        """Do it not at all, unless it was done already."""
        with self._changed:
            self._due = [due for due in self._due if due[1] != number]
            heapq.heapify(self._due)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closing and (not self._due or self._due[0][0] > time.monotonic()):
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
                if self._closing:
                    return
                what = heapq.heappop(self._due)[2]
            try:
                what()
            except Exception:
                log_.exception("something that was to be done later failed")

    def close(self) -> None:
        """End the thread; what is not due yet is not done."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()


class Hub:
    """What the sessions share. A client is known by its user and its client id, so nobody takes another's."""

    def __init__(self, chat: Chat, topics: Topics) -> None:
        self.chat = chat
        self.topics = topics
        self.later = Later()
        self._lock = leaf()
        self._sessions: dict[str, MqttSession] = {}
        self._sent: dict[str, dict[int, int]] = {}  # of clients that are away: how far their logs were sent
        self._wills: dict[str, int] = {}  # of clients that are away: the number of the delayed will
        chat.store.end_clients(time.time_ns() // 1_000_000)
        chat.watchers.append(self)

    def add(self, key: str, session: MqttSession) -> MqttSession | None:
        """Note who is connected under a key; the session that it takes over, if there is one."""
        with self._lock:
            old = self._sessions.get(key)
            self._sessions[key] = session
            will = self._wills.pop(key, None)
        if will is not None:
            self.later.cancel(will)  # [MQTT-3.1.3-9]
        return old

    def find(self, key: str) -> MqttSession | None:
        """The session that is connected under a key."""
        return self._sessions.get(key)

    def remove(self, key: str, session: MqttSession, sent: dict[int, int] | None) -> bool:
        """The session has ended; `sent` if its client's state is kept. Whether it was not taken over."""
        with self._lock:
            if self._sessions.get(key) is not session:
                return False
            del self._sessions[key]
            if sent is not None:
                self._sent[key] = sent
            return True

    def sent(self, key: str) -> dict[int, int] | None:
        """How far a client's logs were sent before it went away; None if this server has not seen it."""
        with self._lock:
            return self._sent.pop(key, None)

    def delay_will(self, key: str, seconds: int, what: Callable[[], None]) -> None:
        """Publish a client's will later, unless it comes back before (5 §3.1.3.2.2)."""
        number = self.later.do(seconds, what)
        with self._lock:
            self._wills[key] = number

    def _all(self) -> list[MqttSession]:
        with self._lock:
            return list(self._sessions.values())

    # The chat's watcher

    def channel_made(self, log: Log) -> None:
        """There is a new channel: clients may have subscribed to it before."""
        for session in self._all():
            session.consider(log)

    def presence_changed(self, user: User) -> None:
        """Tell the clients that want to know."""
        topic = self.topics.presence(user.name)
        payload = self.presence(user)
        for session in self._all():
            session.tell(topic, payload)

    # What is kept for new subscribers

    @staticmethod
    def presence(user: User) -> bytes:
        """What `presence/<user>` says of somebody who is, or was just, connected."""
        if not user.sessions:
            return msgspec.json.encode({"user": user.name, "online": False, "since": time.time_ns() // 1_000_000})
        doors = sorted({session.door for session in user.sessions})
        return msgspec.json.encode({"user": user.name, "online": True, "doors": doors, "since": user.since})

    def retained(self, topic_filter: str) -> list[tuple[str, bytes]]:
        """The retained messages that a filter may match: of users, those who are online, or the one it names."""
        kept = [(self.topics.server, b"online")]
        kept += [(self.topics.presence(user.name), self.presence(user)) for user in self.chat.directory.users()]
        name = topic_filter[len(self.topics.presence("")) :]
        if topic_filter == self.topics.presence(name) and self.chat.directory.find(fold(name)) is None:
            account = self.chat.store.account(name)
            if account is not None:
                body = {"user": account.name, "online": False, "since": account.seen}
                kept.append((self.topics.presence(account.name), msgspec.json.encode(body)))
        return kept

    # What a client says when it is gone, and what goes past the chat

    def last_words(self, name: str, request: Request | Live) -> None:
        """Publish a will in the name of a user who may be gone already."""
        try:
            if isinstance(request, Live):
                self.straight(name, request)
            elif isinstance(request, Say | Msg):
                log = self._log_for(name, request)
                if log is not None:
                    self.chat.journal.post(Posting(log, fold(name), name, [request], _stored, _refused))
        except ChatError as error:
            log_.info("the will of %s was not published: %s", name, error)

    def _log_for(self, name: str, request: Say | Msg) -> Log | None:
        if isinstance(request, Msg):
            return self.chat.direct(name, request.user)
        return self.chat.channel(request.channel)

    def straight(self, sender: str, live: Live) -> None:
        """From one client to another: to every session of the other that listens."""
        topic = self.topics.direct(live.to, sender)
        key = fold(live.to)
        for session in self._all():
            if session.user_key == key:
                session.tell(topic, live.payload)

    def close(self) -> None:
        """The server goes down: those who listen are told, and nothing more is done later."""
        self.later.close()


def _stored(posting: Posting, numbers: object) -> None:
    """A will wants no receipt."""


def _refused(posting: Posting, refused: ChatError) -> None:
    log_.warning("a will of %s was not kept: %s", posting.sender, refused)
