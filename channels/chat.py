"""Floor 2: the chat: everything that connections share: channels and private logs by name, users, files, the journal.

It knows users and logs. What a connection may ask is in dispatch.py, and how it is answered in requests/.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from reporting import events, report
from store import Account, Holding, LogRow, Store, StoreError, private_key
from wire import VERSION
from wire.clock import now
from wire.errors import Refused
from wire.frames import (
    BridgeStatus,
    ChannelInfo,
    ChannelList,
    Delivered,
    History,
    Member,
    Page,
    Presence,
    ServerStatus,
    TopicChanged,
    UserInfo,
)
from wire.limits import Limits
from wire.names import check_name, fold

from .channel_index import ChannelIndex
from .cleanup import Cleanup
from .directory import Directory
from .encoded_pages import EncodedPages
from .files import Files
from .hearing import Hearing
from .journal import Journal
from .log import Log
from .neighbours import Neighbours, Watcher
from .open_logs import OpenLogs
from .pages import count_within
from .passwords import Passwords
from .rates import CHANNELS, JOINS, NAMES, TALKS, Origin, RateLimits
from .read_tracker import ReadTracker
from .ring import FileChanged, Inbox, Joined, Left, Made, Outbox, PasswordTried, Pulses, Removed, TopicSet
from .user import User
from .waiting import WaitingBytes


class Chat:
    """Everything that connections share. All methods may be called from any thread."""

    def __init__(self, store: Store, limits: Limits) -> None:
        """Be one of the servers on the store. Raises StoreError."""
        self.store = store
        self.limits = limits
        self.hearing = Hearing(self)
        self._inbox = Inbox(self.hearing.do, self._look)
        self.servers = store.servers()
        self.servers.start(self._inbox.hear, self._inbox.gone, self._inbox.missed)  # what changes from here on is told
        self.outbox = Outbox(self.servers)
        self.pulses = Pulses(self.servers)
        self.rates = RateLimits(limits)
        self.waiting_bytes = WaitingBytes(limits.waiting_per_address)
        self.passwords = Passwords(limits, None if self.outbox.alone else self._password_tried)
        self.directory = Directory(self.servers, self.outbox)
        # A baton: a thread holds it for each part of a login that reads the store. If a crowd logs in at once, one of
        # its threads competes with the chat for the interpreter lock, and the others wait here.
        self.login_turn = threading.Lock()
        self.neighbours = Neighbours(limits)
        self.files = Files(store, limits, self.servers, lambda id: self.outbox.tell(FileChanged(id)))
        committed = None if self.outbox.alone else self._committed
        self.journal = Journal(store, limits, self._moved, self._deliver, self._delivered, committed)
        self.read_tracker = ReadTracker(self.journal.carry)
        self.cleanup = Cleanup(store, limits, self.directory.forget_older, self._forget_guest, self._remove_log)
        self.since = now()
        # Set by a mirror. Any thread calls it, with no lock held.
        self.mirror_status: Callable[[], BridgeStatus] | None = None
        self.closing = False  # the server goes down, so no presence is sent
        self._channels = ChannelIndex()
        self._pages = EncodedPages(limits.cache_of_pages)
        self.logs = OpenLogs(store, self._opened)
        members = store.member_counts()
        for row in store.channels():
            self.logs.open_first(row).members = members.get(row.id, 0)
        self._start_ring()

    def _start_ring(self) -> None:
        """Begin to tell the other servers, and to hear them."""
        if not self.outbox.alone:
            self.directory.update(self.servers.holdings())
            self.outbox.start()
            self._inbox.start()

    def introduce(self, name: str, address: str, fingerprint: str) -> None:
        """Let the other servers know of this one; see `Servers.introduce`."""
        self.servers.introduce(name, address, fingerprint)
        self.pulses.introduce(name, address)

    def _look(self) -> None:
        """Called once a second by the thread that hears other servers."""
        self.outbox.pulse(self.pulses.beat(self.directory.count_here()))
        self.hearing.look()

    @property
    def watchers(self) -> list[Watcher]:
        """Those who are told of more than readers are."""
        return self.neighbours.watchers

    def _opened(self, log: Log) -> None:
        """Keep a channel: users find it by name. A private log leaves memory when nobody uses it."""
        if log.channel is not None:
            log.pages = self._pages
            self._channels.add(log)

    def log(self, row: LogRow) -> Log:
        """Return the one Log of a row. Raises Refused if the log has left the store meanwhile."""
        log = self.logs.open(row.id)
        if log is None:
            raise Refused("no-such-channel", "It was empty, and the server has removed it. Try again.")
        return log

    def log_of(self, id: int) -> Log | None:
        """Return the log of that id; None for an unknown id."""
        return self.logs.open(id)

    # Channels

    def channel(self, name: str) -> Log | None:
        """Return the channel of that name; None if it does not exist."""
        return self._channels.find(name)

    def has_channel(self, name: str) -> bool:
        """Return True if a channel of that name exists."""
        return self.channel(name) is not None

    def known_channel(self, name: str) -> Log:
        """Return the channel of that name. Raises Refused if it does not exist."""
        name = check_name(name, "channel name")
        log = self.channel(name)
        if log is None:
            raise Refused("no-such-channel", f"The channel {name} does not exist. /join {name} creates it.")
        return log

    def join(self, name: str, user: User, origin: Origin) -> tuple[Log, int]:
        """Make the user a member of a channel, which is created if needed, and have the user's readers follow it.

        Return the channel and the number after which the readers follow it, its tail for a user who is in it already.
        Raises Refused.
        """
        name = check_name(name, "channel name")
        known = self.channel(name)
        if known is not None and known in user.joined:
            return known, known.tail
        self.rates.check(JOINS, origin)
        if len(user.joined) >= self.limits.channels:
            raise Refused(
                "too-many-channels",
                f"You are in {self.limits.channels} channels, which is the limit. /leave one first.",
            )
        log = self.open_channel(name, origin)
        while (cursor := self._become_member(log, user)) is None:
            log = self.open_channel(name, origin)  # it was empty, and left the store at this moment
        self.outbox.tell(Joined(log.row.id, user.key, user.name))
        self.neighbours.tell(log, user.key, Presence(user.name, "join", log.channel))
        return log, cursor

    def _become_member(self, log: Log, user: User) -> int | None:
        """Have a user, and the user's readers, join a log. Return the cursor; None if the log has left the store."""
        with self.directory.turn(user.key):
            try:
                cursor, joined = self.store.join(log.row, user.key)
            except StoreError:
                if not log.removed and (self.outbox.alone or self.store.log(log.row.id) is not None):
                    raise
                removed = True
            else:
                removed = False
                log.count_members(joined)
                user.joined[log] = None
                for session in user.sessions:
                    session.reader.follow(log, cursor)
        if removed:
            self.drop_channel(log)
            return None
        self._members_changed(log)
        return cursor

    def _members_changed(self, log: Log) -> None:
        """Look at the topic and the members of a channel again, which another server may have changed meanwhile."""
        if not self.outbox.alone:
            self._inbox.changed(log.row.id)

    def open_channel(self, name: str, origin: Origin) -> Log:
        """Return the channel of a valid name, which is created if needed. Raises Refused."""
        log = self.channel(name)
        if log is None:
            self._check_new_channel(origin)
            log = self.log(self.store.open_channel(name, origin.user))
            self.outbox.tell(Made(log.row.id))
            self.neighbours.channel_made(log)
        return log

    def _check_new_channel(self, origin: Origin) -> None:
        """Raise Refused if the user may not create a channel."""
        most, of_all = self.limits.kept_channels, self.limits.all_channels
        if of_all and len(self._channels) >= of_all:
            raise Refused("too-many-channels", f"The server has {of_all:,} channels, which is the limit.")
        self.rates.check(CHANNELS, origin)
        if most and self.store.opened_logs(origin.user, private=False) >= most:
            sentence = f"{most} channels that you have created still exist, which is the limit."
            raise Refused("too-many-channels", sentence)

    def leave(self, log: Log, user: User) -> None:
        """End the user's membership, and tell the user's readers, which may read the channel without it."""
        with self.directory.turn(user.key):
            log.count_members(-self.store.leave(log.row, user.key))
            user.joined.pop(log, None)
            for session in user.sessions:
                session.reader.membership_ended(log)
        self.files.membership_ended()
        self._members_changed(log)
        self.outbox.tell(Left(log.row.id, user.key, user.name))
        self.neighbours.tell(log, user.key, Presence(user.name, "leave", log.channel))

    def all_channels(self) -> list[Log]:
        """Return every channel."""
        return self._channels.all()

    def channels(self, user: User, after: str, limit: int, size: int) -> ChannelList:
        """Return at most `limit` channels whose names follow the name `after`, sorted, as the user sees them.

        They take at most `size` bytes as JSON, but at least one of them is there.
        """
        limit = min(limit, self.limits.page)
        following = self._channels.page(after, limit + 1)
        infos = [
            ChannelInfo(log.row.name, log.members, log.tail, log.topic, log in user.joined) for log in following[:limit]
        ]
        infos = infos[: count_within(infos, size)]
        more = infos[-1].name if len(infos) < len(following) else None
        return ChannelList(channels=infos, total=len(self._channels), more=more)

    def members(self, log: Log, after: str = "", limit: int | None = None) -> list[Member]:
        """Return a channel's members whose names follow the name `after`, sorted by name, at most `limit`."""
        find, accounts = self.directory.find, self.store.members(log.row, after, limit)
        return [Member(account.name, find(account.key) is not None) for account in accounts]

    def set_topic(self, log: Log, topic: str, user: User) -> None:
        """Store a channel's topic, and tell the other members who are connected."""
        self.store.set_topic(log.row, topic)
        log.topic = topic
        self._members_changed(log)
        self.outbox.tell(TopicSet(log.row.id, user.key, user.name))
        self.neighbours.tell(log, user.key, TopicChanged(log.row.name, topic, user.name))

    def _remove_log(self, row: LogRow, before: int) -> bool:
        """Remove a log that was not used since a time, and that is still empty. Return False if it is not."""
        if not row.is_channel:
            return self.logs.while_idle(row.id, partial(self.store.remove_empty_log, row, before))
        log = self._channels.find(row.key)
        if log is None or log.tail or log.members or not self.journal.alone(partial(self._remove_channel, log, before)):
            return False
        self.outbox.tell(Removed(log.row.id))
        self.neighbours.channel_removed(log)
        return True

    def drop_channel(self, log: Log) -> None:
        """Forget a channel that has left the store, unless that was done."""
        if self.journal.alone(partial(self._drop_channel, log)):
            self.neighbours.channel_removed(log)

    def _drop_channel(self, log: Log) -> bool:
        """Called while nothing is committed."""
        if log.removed:
            return False
        log.removed = True
        self.logs.remove(log, self._channels.remove)
        return True

    def _remove_channel(self, log: Log, before: int) -> bool:
        """Called while nothing is committed."""
        log.removed = True
        try:
            log.removed = self.store.remove_empty_log(log.row, before)
        except StoreError:
            log.removed = False
            raise
        if log.removed:
            self.logs.remove(log, self._channels.remove)
        return log.removed

    # Private logs

    def private_log(self, one: str, other: str, origin: Origin) -> Log:
        """Return the private log of two users, by name, and have both users' readers follow it. Raises Refused."""
        other = check_name(other, "user name")
        log = self.logs.private(private_key(one, other))
        if log is None:
            if self.store.find_private_log(one, other) is None:
                self.rates.check(TALKS, origin)
                self._check_new_talk(one)
            log = self.log(self.store.open_private_log(one, other))
        self.follow_private_log(log)
        return log

    def _check_new_talk(self, name: str) -> None:
        """Raise Refused if the user may not begin a private conversation."""
        most = self.limits.guest_talks
        if not most or self.store.opened_logs(name, private=True) < most:
            return
        account = self.store.account(name)
        if account is None or account.password is None:
            sentence = f"A guest may begin {most} private conversations. /register your name to begin more."
            raise Refused("too-many-talks", sentence)

    def follow_private_log(self, log: Log) -> None:
        """Have both users' readers follow a private log, which may be new, or had nothing to send them until now."""
        for key in set(log.row.key.split(":")):
            user = self.directory.find(key)
            for session in user.sessions if user is not None else ():
                if not session.reader.follows(log):
                    session.reader.follow(log, self.store.cursor(log.row, key) or 0)

    def _deliver(self, log: Log) -> None:
        """Deliver a log, a private one also to users who have connected since the post. Called by the journal."""
        try:
            if log.channel is None:
                self.follow_private_log(log)
        except StoreError as error:
            report(events.StoreProblem(str(error), "A user gets a private message at the next login only."))
        finally:
            log.deliver()

    def _delivered(self) -> None:
        self.read_tracker.delivered()

    # Users

    def open_account(self, name: str, network: str | None) -> Account:
        """Return the account of a valid name, which is made if needed. Raises Refused.

        `network` is that of the address from which the name is asked for; None if it has no limit of new names.
        """
        with self.login_turn:
            account = self.store.account(name)
        if account is not None:
            return account
        self.rates.check(NAMES, Origin("", network))
        return self.store.open_account(name)

    def bearer(self, name: str, token: str) -> User | None:
        """Return the connected user of that name, at whatever server, if that is the user's token."""
        found = self.directory.bearer(fold(name), token)
        if not isinstance(found, Holding):
            return found
        account = self.store.account(found.name)
        return None if account is None else User(account, registered=account.password is not None)

    def _forget_guest(self, key: str, before: int) -> bool:
        """Remove a guest who was not connected since a time, if nothing is kept of the guest. Return False if not."""
        return self.directory.forget(key, partial(self._remove_account, key, before))

    def _remove_account(self, key: str, before: int) -> bool:
        left = self.store.forget_guest(key, before)
        for id in left or ():
            log = self.log_of(id)
            if log is not None:
                log.count_members(-1)
        return left is not None

    def account(self, name: str) -> Account:
        """Return the account of a user. Raises Refused for an unknown one."""
        name = check_name(name, "user name")
        account = self.store.account(name)
        if account is None:
            raise Refused("no-such-user", f"No user called {name} has ever connected.")
        return account

    def whois(self, name: str) -> UserInfo:
        """Return what is known of a user. Raises Refused for an unknown one."""
        account = self.account(name)
        channels = [
            membership.log.name for membership in self.store.memberships(account.key) if membership.log.is_channel
        ]
        info = UserInfo(
            name=account.name, online=False, registered=account.password is not None, channels=sorted(channels)
        )
        user = self.directory.find(account.key)
        if user is None or user.address is None:
            info.seen = account.seen or None
            return info
        info.online, info.since, info.address, info.doors = True, user.since, user.address, user.doors
        return info

    def status(self) -> ServerStatus:
        """Return the status of the server and its broker."""
        users, connections = self.directory.counts()
        return ServerStatus(
            version=VERSION,
            since=self.since,
            users=users,
            connections=connections,
            channels=len(self._channels),
            bridge=self.mirror_status() if self.mirror_status is not None else None,
            servers=self.pulses.servers(self.directory.count_here()),
        )

    def connected(self, user: User) -> None:
        """Tell the users who share a channel with a user that the user has connected."""
        self.neighbours.presence(user, list(user.joined), online=True)

    def disconnected(self, user: User) -> None:
        """Tell the users who share a channel with a user that the user has disconnected."""
        if not self.closing:
            self.neighbours.presence(user, list(user.joined), online=False)

    def _password_tried(self, key: str, network: str | None, right: bool) -> None:
        """Tell the other servers of a password. Called by a worker of the passwords, which does not wait for it."""
        self.outbox.tell(PasswordTried(key, network, right))

    def _committed(self, logs: Sequence[Log]) -> None:
        """Tell the other servers that logs have new entries. Called by the journal, which does not wait for it."""
        for log in logs:
            self.outbox.moved(log.row.id, log.tail, log.row.key if log.channel is None else "")

    def _moved(self, log: Log, user_key: str, number: int) -> None:
        """Tell the partner in a private log that a user's stored cursor has moved. Called by the journal."""
        if log.channel is not None:
            return
        one, other = log.row.key.split(":")
        partner = self.directory.find(one if other == user_key else other)
        if partner is None or partner.key == user_key:
            return
        reader_name = log.partner(partner.key)
        assert reader_name is not None
        for session in partner.sessions:
            session.reader.notify(Delivered(reader_name, number))
        if partner.elsewhere:
            self.outbox.cursor_moved(partner.key, reader_name, number)

    def close(self) -> None:
        """Commit what the connections have left, and end the threads. Called when every connection has ended."""
        self.passwords.close()
        self.cleanup.close()
        self.read_tracker.close()
        self.files.close()
        self.journal.carry(wait=True)
        self._inbox.close()
        self.outbox.close()
        try:
            self.store.servers().close()
        except StoreError as error:
            report(events.StoreProblem(str(error), "The other servers notice themselves that this one has stopped."))

    # History

    def history(self, log: Log, asked: History, size: int) -> Page:
        """Return the entries of a log that a request asks for.

        They take at most `size` bytes as JSON, but at least one of them is there. Raises Refused if all of them are
        damaged.
        """
        limit, tail, store = min(asked.limit, self.limits.page), log.tail, self.store
        page = Page(entries=[], tail=tail, channel=log.channel)
        if asked.after is not None:
            after, end = asked.after, min(asked.after + limit, tail)
        else:
            end = tail if asked.before is None else min(asked.before - 1, tail)
            after = max(0, end - limit)
        if end <= after:
            return page
        if asked.after is not None:
            entries = [entry for entry in store.read(log.row, after, end - after, size) if entry.number <= tail]
            page.entries = entries[: count_within(entries, size)]
            page.more = page.entries[-1].number if page.entries and page.entries[-1].number < end else None
        else:
            entries = store.read_back(log.row, end + 1, end - after, size)
            page.entries = entries[len(entries) - count_within(reversed(entries), size) :]
            page.more = page.entries[0].number if page.entries and page.entries[0].number > after + 1 else None
        if not entries:
            sentence = f"Messages {after + 1} to {end} are damaged on the server's disk, so they cannot be shown."
            raise Refused("damaged", sentence)
        return page
