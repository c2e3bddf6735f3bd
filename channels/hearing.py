"""Floor 2: hearing: what the chat does when it hears from another server, and when it looks for what nobody has told.

The thread `ring-in` calls all of it (`ring/inbox.py`). It asks the store for what is true, so a notice may come late,
twice or never: the next look has the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from typing import Any, Protocol

from store import Servers, Store
from wire.frames import Delivered, Fetched, Presence, TopicChanged

from .directory import Directory
from .files import Files
from .journal import Journal
from .log import Log
from .neighbours import Neighbours
from .open_logs import OpenLogs
from .passwords import Passwords
from .ring import (
    Answered,
    Came,
    CursorMoved,
    FileChanged,
    FileFetched,
    Heard,
    Joined,
    Left,
    Live,
    LookAgain,
    Made,
    Notice,
    Outbox,
    PasswordTried,
    Pulses,
    Registered,
    Removed,
    TopicSet,
    Wanted,
    Went,
)
from .user import User

_MOST = 1_024  # entries of one log that are read for its followers at once; of more, each reads the store for itself
_SIZE = 1 << 20  # bytes of the same


class HearingChat(Protocol):
    """The parts of the chat that are changed by what other servers do."""

    @property
    def store(self) -> Store:
        """The store that the servers share."""

    @property
    def servers(self) -> Servers:
        """This server among the others."""

    @property
    def outbox(self) -> Outbox:
        """Tells the others."""

    @property
    def pulses(self) -> Pulses:
        """What the servers tell of themselves."""

    @property
    def directory(self) -> Directory:
        """The connected users."""

    @property
    def journal(self) -> Journal:
        """The journal, which publishes and delivers."""

    @property
    def neighbours(self) -> Neighbours:
        """The users who are told of others, and the watchers."""

    @property
    def passwords(self) -> Passwords:
        """The passwords."""

    @property
    def logs(self) -> OpenLogs:
        """The logs in memory."""

    @property
    def files(self) -> Files:
        """The files."""

    def all_channels(self) -> list[Log]:
        """Return every channel."""

    def follow_private_log(self, log: Log) -> None:
        """Have the readers of both users of a private log follow it."""

    def drop_channel(self, log: Log) -> None:
        """Forget a channel that has left the store."""


class Hearing:
    """Called by one thread. After a StoreError it has to look at everything."""

    def __init__(self, chat: HearingChat) -> None:
        """`chat` may have its parts later."""
        self._chat = chat
        self._stale: set[int] = set()  # channels whose topic and members have to be looked up
        self._has_to_restore = False  # the holdings of the sessions here
        self._look_at_everything = False
        self._look_at_tails = False
        self._listeners: dict[type[Notice] | None, list[Callable[[int, Any], None]]] = {}
        self._handlers: Mapping[type[Notice], Callable[[int, Any], None]] = {
            Made: self._made,
            Removed: self._removed,
            TopicSet: self._topic_set,
            Joined: self._joined,
            Left: self._left,
            Came: self._came,
            Went: self._went,
            CursorMoved: self._cursor_moved,
            FileChanged: self._file_changed,
            FileFetched: self._file_fetched,
            Registered: self._registered,
            PasswordTried: self._password_tried,
            Wanted: self._wanted,
            Answered: self._answered,
            LookAgain: self._look_again,
        }

    def listen(self, kind: type[Notice] | None, call: Callable[[int, Any], None]) -> None:
        """Call a function with the server and each notice of a kind, after the chat has done what it says.

        None stands for a server that is gone. Called before there are other connections.
        """
        self._listeners.setdefault(kind, []).append(call)

    def do(self, heard: Heard) -> None:
        """Do what was heard. The looks come last, since they see what the notices were told after."""
        self._has_to_restore |= heard.missed
        self._look_at_everything |= heard.missed or heard.overflowed
        self._stale |= heard.stale
        for server, notice in heard.notices:
            kind = None if notice is None else type(notice)
            if kind is None:
                self._gone(server)
            elif kind in self._handlers:
                self._handlers[kind](server, notice)
            for call in self._listeners.get(kind, ()):
                call(server, notice)
        for id, (tail, key) in heard.tails.items():
            self._moved(id, tail, key)
        for server, message in heard.live:
            for call in self._listeners.get(Live, ()):
                call(server, message)
        if self._has_to_restore:
            self._restore()
        if self._look_at_everything:
            self.look_at_everything()
            self._look_at_everything = self._look_at_tails = False
        elif self._look_at_tails:
            self._look_at(self._chat.logs.everything())
            self._look_at_private_logs()
            self._look_at_tails = False
        stale, self._stale = self._stale, set()
        self._refresh(stale)
        for server, pulse in heard.pulses.items():
            self._chat.pulses.heard(server, pulse)

    def _restore(self) -> None:
        """Hold the names of the sessions here again, and have the other servers learn of them."""
        directory, store = self._chat.directory, self._chat.store
        for session in directory.restore():
            session.replaced("", elsewhere=True)
        clients = [session.number for _, session in directory.held_here() if session.client]
        store.return_clients(self._chat.servers.here, clients)
        self._chat.servers.wills.restore(clients)
        self._chat.files.was_away()
        self._has_to_restore = False
        self._chat.outbox.tell(LookAgain())

    # Logs

    def _moved(self, id: int, tail: int, key: str) -> None:
        """A log has entries up to a number; `key` is that of a private log, else empty."""
        log = self._chat.logs.find(id)
        if log is not None:
            self._advance(log, tail)
        elif not key:
            self._learn(id)
        elif any(self._is_here(user) for user in key.split(":")):
            self._open_private_log(id)

    def _is_here(self, key: str) -> bool:
        user = self._chat.directory.find(key)
        return user is not None and bool(user.sessions)

    def _open_private_log(self, id: int) -> None:
        log = self._chat.logs.open(id)
        if log is not None:
            self._chat.follow_private_log(log)

    def _advance(self, log: Log, tail: int) -> None:
        """Bring a log to a tail: with the entries if it has followers, and if these are not too many."""
        missing = tail - log.tail
        if missing <= 0:
            return
        batches = []
        if log.follower_count and missing <= _MOST:
            batches = self._chat.store.read_batches(log.row, log.tail, missing, _SIZE)
        self._chat.journal.publish(log, tail, batches)

    def look(self) -> None:
        """Compare the tails of the logs that are followed here with those in the store. Called once a second."""
        self._look_at([log for log in self._chat.logs.everything() if log.follower_count])

    def _look_at(self, logs: Iterable[Log]) -> None:
        by_id = {log.row.id: log for log in logs}
        for row in self._chat.store.logs(by_id):
            self._advance(by_id[row.id], row.tail)

    def _look_at_private_logs(self) -> None:
        """Open the private logs that have something for a user who is connected here."""
        for id in self._chat.store.unread_private_logs(self._keys_here()):
            self._open_private_log(id)

    def _keys_here(self) -> list[str]:
        return [user.key for user in self._chat.directory.users() if user.sessions]

    # Channels

    def _learn(self, id: int) -> None:
        """Add a channel that another server has created, unless it is known."""
        if self._chat.logs.find(id) is None and (log := self._chat.logs.open(id)) is not None:
            self._stale.add(id)
            if log.channel is not None:
                self._chat.neighbours.channel_made(log)

    def _made(self, _server: int, notice: Made) -> None:
        self._learn(notice.log)

    def _removed(self, _server: int, notice: Removed) -> None:
        self._forget(notice.log)

    def _forget(self, id: int) -> None:
        log = self._chat.logs.find(id)
        if log is not None and log.channel is not None and self._chat.store.log(id) is None:
            self._chat.drop_channel(log)

    def _topic_set(self, _server: int, notice: TopicSet) -> None:
        self._refresh([notice.log])
        log = self._chat.logs.find(notice.log)
        if log is not None:
            told = TopicChanged(log.row.name, log.topic, notice.name)
            self._chat.neighbours.tell(log, notice.key, told)

    def _refresh(self, ids: Collection[int]) -> None:
        """Read the topics and the counts of members of channels."""
        if not ids:
            return
        counts = self._chat.store.member_counts(ids)
        for row in self._chat.store.logs(ids):
            log = self._chat.logs.find(row.id)
            if log is not None and log.channel is not None:
                log.topic, log.members = row.topic, counts.get(row.id, 0)

    # Members

    def _joined(self, _server: int, notice: Joined) -> None:
        self._membership_changed(notice.log, notice.key, notice.name, "join")

    def _left(self, _server: int, notice: Left) -> None:
        self._membership_changed(notice.log, notice.key, notice.name, "leave")
        self._chat.files.membership_ended()

    def _membership_changed(self, id: int, key: str, name: str, what: str) -> None:
        self._learn(id)
        log = self._chat.logs.find(id)
        if log is None:
            return
        self._stale.add(id)
        self._update_membership(log, key)
        self._chat.neighbours.tell(log, key, Presence(name, what, log.channel))

    def _update_membership(self, log: Log, key: str) -> None:
        """Have the sessions of a user here follow a channel, or stop, as the store has it."""
        user = self._chat.directory.find(key)
        if user is None or not user.sessions:
            return
        with self._chat.directory.turn(key):
            if not user.loaded:  # by a login, which is about to take its turn
                return
            cursor = self._chat.store.cursor(log.row, key)
            if cursor is None and log in user.joined:
                user.joined.pop(log, None)
                for session in user.sessions:
                    session.reader.membership_ended(log)
            elif cursor is not None and log not in user.joined:
                user.joined[log] = None
                for session in user.sessions:
                    session.reader.follow(log, cursor)

    # Users

    def _came(self, server: int, notice: Came) -> None:
        directory, here = self._chat.directory, self._chat.servers.here
        # A login here that the other one has replaced may not be in the directory yet, so wait for its turn.
        mine = any(place[0] == here for place in notice.instead)
        with directory.turn(notice.key) if mine else nullcontext():
            user, first, replaced = directory.came(server, notice)
        for session in replaced:
            session.replaced(notice.address, elsewhere=True)
            self._chat.outbox.tell(Went(session.number, user.key))  # others may hear of its `Came` only now
        if first:
            self._tell_presence(user, notice.channels, online=True)

    def _went(self, server: int, notice: Went) -> None:
        user = self._chat.directory.went(server, notice.connection, notice.key)
        if user is not None:
            self._tell_presence(user, notice.channels, online=False)

    def _tell_presence(self, user: User, ids: Collection[int] | None, *, online: bool) -> None:
        if ids is None:
            ids = self._chat.store.joined_channels([user.key]).get(user.key, [])
        logs = [log for id in ids if (log := self._chat.logs.find(id)) is not None]
        self._chat.neighbours.presence(user, logs, online=online)

    def _tell_presence_of(self, users: Collection[User], *, online: bool) -> None:
        joined = self._chat.store.joined_channels([user.key for user in users])
        for user in users:
            self._tell_presence(user, joined.get(user.key, []), online=online)

    def _cursor_moved(self, _server: int, notice: CursorMoved) -> None:
        user = self._chat.directory.find(notice.key)
        for session in user.sessions if user is not None else ():
            session.reader.notify(Delivered(notice.name, notice.number))

    # Files

    def _file_changed(self, _server: int, notice: FileChanged) -> None:
        self._chat.files.changed_elsewhere(notice.file)

    def _file_fetched(self, _server: int, notice: FileFetched) -> None:
        user = self._chat.directory.find(notice.key)
        for session in user.sessions if user is not None else ():
            session.reader.notify(Fetched(notice.file, notice.name, notice.user))

    def _registered(self, _server: int, notice: Registered) -> None:
        self._chat.directory.registered_elsewhere(notice.key)
        self._chat.files.registered(notice.key)

    def _password_tried(self, _server: int, notice: PasswordTried) -> None:
        self._chat.passwords.tried_elsewhere(notice.key, notice.network, right=notice.right)

    def _wanted(self, server: int, notice: Wanted) -> None:
        if notice.server != self._chat.servers.here:
            return
        kept = self._chat.directory.state(notice.key)
        if kept is not None:  # else `Went` follows
            self._chat.outbox.tell(Answered(server, notice.key, kept))

    def _answered(self, _server: int, notice: Answered) -> None:
        if notice.server == self._chat.servers.here:
            self._chat.directory.answered(notice.key, kept=notice.kept)

    # Servers

    def _gone(self, server: int) -> None:
        """A server is gone. It may have committed what it has told nobody."""
        self._look_at_tails = True
        self._chat.pulses.gone(server)
        self._chat.files.lines.end(server)
        self._tell_presence_of(self._chat.directory.gone(server), online=False)
        self._chat.files.look_again()

    def _look_again(self, _server: int, _notice: LookAgain) -> None:
        self._look_at_everything = True

    def look_at_everything(self) -> None:
        """Bring all that the servers share up to date from the store."""
        self._look_at_channels()
        self._chat.pulses.keep({each.number for each in self._chat.servers.others()})
        directory = self._chat.directory
        held, holdings = directory.held_here(), self._chat.servers.holdings()
        came, gone = directory.update(holdings)
        for session in directory.lost(held, holdings):
            session.replaced("", elsewhere=True)
        self._tell_presence_of(came, online=True)
        self._tell_presence_of(gone, online=False)
        self._look_at_memberships()
        self._look_at_private_logs()
        self._chat.files.look_again()

    def _look_at_channels(self) -> None:
        rows = {row.id: row for row in self._chat.store.channels()}
        counts = self._chat.store.member_counts()
        for log in self._chat.all_channels():
            row = rows.pop(log.row.id, None)
            if row is None:
                self._forget(log.row.id)  # unless it was created meanwhile
                continue
            log.topic, log.members = row.topic, counts.get(row.id, 0)
            self._advance(log, row.tail)
        for id in rows:
            self._learn(id)
        private = [log for log in self._chat.logs.everything() if log.channel is None]
        self._look_at(private)

    def _look_at_memberships(self) -> None:
        """Have the sessions here follow the channels that their users have joined at other servers."""
        keys = self._keys_here()
        stored = self._chat.store.joined_channels(keys)
        for key in keys:
            user = self._chat.directory.find(key)
            known = {log.row.id for log in list(user.joined)} if user is not None else set()
            for id in known.symmetric_difference(stored.get(key, [])):
                log = self._chat.logs.find(id)
                if log is not None:
                    self._update_membership(log, key)
