"""Floor 1: the connection on which one server lives, hears the others, and notices that one of them has died.

It holds a session-level advisory lock, so PostgreSQL itself knows that the server lives: when the process or its
machine ends, the lock is free. Whoever gets the lock of another server clears up after it in one transaction, which
also tells all. No server can be taken for dead and go on to hear, since both hang on one connection. The locks of
duties (duties.py) hang on it, too.

PostgreSQL ends the connection of a server that was silent for `_SILENCE`, so a machine or a network that hangs is as
good as dead. A server with a duty lets go of it earlier: `_LEASE` after the last question that was answered.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import psycopg

from reporting import events, report

from ..contract import StoreError
from .address import Address
from .connection import END_CONNECTIONS, TIMEOUT, LimitedConnection
from .database import CLOCK
from .duties import Duties, holder_query
from .errors import is_lost, store_error, unreachable

CHANNEL = "partyline_servers"
_CLASS = 0x5365_7276  # of the advisory locks of servers, in this database: "Serv"
_PERIOD = 0.5  # seconds between two looks at the locks of the others, and between two attempts to connect
_GRACE = 3.0  # seconds after a lost connection: the others may have lost theirs, too, and need a moment
_SILENCE = 3_000  # milliseconds without a question after which PostgreSQL ends the connection
_LEASE = 2.5  # seconds after a question that was answered, for which a duty is ours; less than `_SILENCE`
_PATIENCE = _LEASE - _PERIOD  # seconds that an answer may take while a duty is ours
_STARTED = "5 seconds"  # since PostgreSQL has started: before, all servers are on their way back

# The kinds of messages, each after its server's number.
TEXT, REFERENCE, PULSE, GONE, BACK = "m", "r", "p", "g", "b"

_SETTINGS = (
    "SET tcp_keepalives_idle = 1; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3;"
    f" SET tcp_user_timeout = {_SILENCE}; SET idle_session_timeout = {_SILENCE}; LISTEN {CHANNEL}"
)
_REGISTER = "INSERT INTO servers DEFAULT VALUES RETURNING id"
_ROW = (
    "INSERT INTO servers (id, name, address, fingerprint, secret, folder) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT "
)
_REGISTER_AGAIN = _ROW + "DO NOTHING"
INTRODUCE = (  # also if the row was removed by another server, which took this one for dead
    _ROW + "(id) DO UPDATE SET name = excluded.name, address = excluded.address, fingerprint = excluded.fingerprint,"
    " secret = excluded.secret, folder = excluded.folder"
)
_LOCK = f"SELECT pg_try_advisory_lock({_CLASS}, %s::integer)"
_UNLOCK = f"SELECT pg_advisory_unlock({_CLASS}, %s::integer)"
_DEAD = (
    "WITH others AS MATERIALIZED (SELECT id FROM servers WHERE id <> %s"
    f" AND now() - pg_postmaster_start_time() > interval '{_STARTED}')"
    f" SELECT id FROM others WHERE pg_try_advisory_lock({_CLASS}, id::integer)"
)
HOLDER = holder_query(_CLASS)
LIVES = (  # said of a row of the table `servers`
    "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    f" AND classid::bigint = {_CLASS} AND objid::bigint = servers.id)"
)
_SEEN = (
    "UPDATE accounts SET seen = (extract(epoch FROM now()) * 1000)::bigint"
    " WHERE key IN (SELECT key FROM holdings WHERE server = %s)"
)
_CLEAR = "DELETE FROM servers WHERE id = %s"  # and its holdings, so that none of its connections takes up a session
_PART = (
    f'UPDATE clients SET "until" = {CLOCK} + expiry * 1000 WHERE server = %s AND "until" IS NULL AND expiry IS NOT NULL'
)
_NOTIFY = f"SELECT pg_notify('{CHANNEL}', %s)"
_MESSAGE = "SELECT message FROM server_messages WHERE id = %s"
_STILL_HERE = "SELECT"
_END_BACKEND = "SELECT pg_terminate_backend(%s::integer)"


class Listener:
    """Owns the thread `store-servers` and its connection. `here` is the server's number, 0 before `start`."""

    def __init__(self, address: Address, connect: Callable[[], LimitedConnection]) -> None:
        self.here = 0
        self.introduced = ("", "", "", "", "")  # the other columns of the server's row
        self._address = address
        self._connect = connect
        self._link: LimitedConnection | None = None
        self._backend = 0  # PostgreSQL's process at the other end
        self._heard: deque[str] = deque()  # payloads, in order
        self._gone: set[int] = set()  # whose late messages are not heard
        self._has_heard = False  # of another server, ever
        self._closed = False
        self._duties = Duties()
        self._answered = 0.0  # by time.monotonic, when the last question was asked that was answered
        self._next_look = 0.0  # by time.monotonic
        self._next_clearing = 0.0  # by time.monotonic
        self._wake_here, self._wake_there = -1, -1
        self._thread = threading.Thread(target=self._run, name="store-servers", daemon=True)

    @property
    def connected(self) -> bool:
        """True while this server counts as living, as far as it knows."""
        return self._link is not None

    def start(self, hear: Callable[[int, str], None], gone: Callable[[int], None], missed: Callable[[], None]) -> None:
        """Be one of the servers; clear up after those that have died before. Raises StoreError."""
        self._hear, self._tell_gone, self._missed = hear, gone, missed
        try:
            self._join(self._connect())
            self._look()
        except psycopg.Error as error:
            self._drop()
            raise unreachable(self._address, error) from None
        self._wake_here, self._wake_there = os.pipe()
        os.set_blocking(self._wake_here, False)
        self._thread.start()

    def share(self, duty: str, changed: Callable[[bool], None]) -> None:
        """See `Servers.share`. Return after the first attempt to get the duty, or when the database is away."""
        tried = self._duties.add(duty, changed)
        self._look_now()
        tried.wait(TIMEOUT)

    def give_up(self, duty: str) -> None:
        """See `Servers.give_up`."""
        self._duties.remove(duty)
        self._look_now()

    def _look_now(self) -> None:
        self._next_look = 0.0
        if not self._closed:
            os.write(self._wake_there, b".")

    def _join(self, link: LimitedConnection) -> None:
        """Take this server's lock and listen. Others see the server only once it has its lock."""
        try:
            link.add_notify_handler(lambda notify: self._heard.append(notify.payload))
            link.execute("BEGIN")
            if self.here:
                link.execute(_REGISTER_AGAIN, (self.here, *self.introduced))
            else:
                self.here = int(_one(link, _REGISTER))
            if not _one(link, _LOCK, self.here):
                if self._backend:
                    link.execute(_END_BACKEND, (self._backend,))  # of the connection that was lost
                raise psycopg.OperationalError("another connection of this server is still open")
            link.execute("COMMIT")
            link.execute(_SETTINGS)
            link.execute(_NOTIFY, (f"{self.here} {BACK}",))
        except BaseException:
            link.close()
            raise
        self._backend = link.pgconn.backend_pid
        self._link = link

    def _drop(self) -> None:
        self._duties.end()
        if self._link is not None:
            self._link.close()
            self._link = None
        self._heard.clear()

    def _run(self) -> None:
        while True:
            try:
                if self._link is None:
                    self._return()
                if self._wait():
                    return
                self._check_lease()
                self._take()
                if time.monotonic() >= self._next_look:
                    self._look()
            except (psycopg.Error, StoreError) as error:
                self._lost(error)
                if self._wait():
                    return
            except Exception as error:  # noqa: BLE001 - it is reported, and the connection is made anew
                report(events.InternalError(part="store-servers", consequence="The server connects again."), error)
                self._drop()
                if self._wait():
                    return

    def _lost(self, error: Exception) -> None:
        if self._link is not None and self._has_heard:
            consequence = "The other servers may take this one for stopped until it is connected again."
            report(events.StoreProblem(str(unreachable(self._address, error)), consequence))
        self._drop()

    def _return(self) -> None:
        """Connect again after a lost connection. What was told meanwhile is lost, and perhaps the holdings are."""
        self._join(self._connect())
        self._next_clearing = time.monotonic() + _GRACE
        self._missed()

    def _wait(self) -> bool:
        """Wait for notifications, for the next look, or for the end; return True for the last one."""
        poll = select.poll()
        poll.register(self._wake_here, select.POLLIN)
        if self._link is not None:
            poll.register(self._link.pgconn.socket, select.POLLIN)
        seconds = min(_PERIOD, max(0.0, self._next_look - time.monotonic())) if self._link is not None else _PERIOD
        if any(descriptor == self._wake_here for descriptor, _ in poll.poll(seconds * 1000)):
            os.read(self._wake_here, 1_024)
        return self._closed

    def _take(self) -> None:
        """Hear what has come."""
        link = self._link
        assert link is not None
        link.pgconn.consume_input()
        while (notify := link.pgconn.notifies()) is not None:
            self._heard.append(bytes(notify.extra).decode())
        while self._heard:  # a statement may have read some, too
            server, _, message = self._heard.popleft().partition(" ")
            self._take_one(link, int(server), message[:1], message[1:])

    def _take_one(self, link: LimitedConnection, server: int, kind: str, rest: str) -> None:
        if server == self.here:
            if kind == PULSE:
                self._hear(server, rest)
            return
        self._has_heard = True
        if kind == GONE:
            self._gone.add(server)
            self._tell_gone(server)
        elif kind == BACK:
            self._gone.discard(server)
        elif server in self._gone:
            return
        elif kind in (TEXT, PULSE):
            self._hear(server, rest)
        elif kind == REFERENCE:
            found = link.execute(_MESSAGE, (int(rest),)).fetchone()
            if found is None:
                self._missed()
            else:
                self._hear(server, str(found[0]))

    def _check_lease(self) -> None:
        """Give up the duties if this thread has stood still, and bound the time of the next questions."""
        link = self._link
        assert link is not None
        if self._duties.held and time.monotonic() - self._answered > _LEASE:
            self._duties.lapse(link)
        link.limit = _PATIENCE if self._duties.held else TIMEOUT

    def _look(self) -> None:
        """Look whether the others live, and whether a duty is free. PostgreSQL sees that this server lives."""
        link = self._link
        assert link is not None
        begun = time.monotonic()
        self._next_look = begun + _PERIOD
        if begun >= self._next_clearing:
            self._clear_dead(link)
        else:
            link.execute(_STILL_HERE)
        self._duties.look(link, self.here)
        self._answered = begun

    def _clear_dead(self, link: LimitedConnection) -> None:
        """Clear up after servers whose locks are free. The others, and this one, hear of it by a message."""
        for (server,) in link.execute(_DEAD, (self.here,)).fetchall():
            try:
                link.execute(END_CONNECTIONS, (server,))
                self._clear(link, server)
            except psycopg.Error as error:
                if is_lost(error):
                    raise
                link.execute("ROLLBACK")
                report(events.StoreProblem(str(store_error(self._address, error)), "A dead server holds names longer."))
            link.execute(_UNLOCK, (server,))

    @staticmethod
    def _clear(link: LimitedConnection, server: int) -> None:
        link.execute("BEGIN")
        link.execute(_SEEN, (server,))
        link.execute(_CLEAR, (server,))
        link.execute(_PART, (server,))
        link.execute(_NOTIFY, (f"{server} {GONE}",))
        link.execute("COMMIT")

    def close(self) -> None:
        """Clear up after this server, tell the others, and end the thread. Raises StoreError."""
        if self._thread.ident is None or self._closed:
            return
        self._closed = True
        os.write(self._wake_there, b".")
        self._thread.join()
        os.close(self._wake_here)
        os.close(self._wake_there)
        link = self._link
        if link is None:
            return
        try:
            self._clear(link, self.here)
        except psycopg.Error as error:
            raise unreachable(self._address, error) from None
        finally:
            self._drop()


def _one(link: LimitedConnection, query: str, *values: Any) -> Any:
    """Return the first value of the first row."""
    row = link.execute(query, values).fetchone()
    assert row is not None
    return row[0]
