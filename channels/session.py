"""Floor 2: a session: one connection in the chat, the same for every door; dispatch.py says what it may ask."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from itertools import count

from net import network_of
from store import Holding, StoreError
from wire.clock import now
from wire.errors import PeerError, Refused
from wire.frames import Closing, Error, Msg, Say, Slowed

from .chat import Chat
from .files import AwayFiles, OpenFiles
from .journal import Posting
from .log import Log
from .login_limit import LoginLimit
from .rates import POST_BYTES, POSTS, LimitClass, Origin, counted_bytes
from .receipts import Shortcut, receipts
from .session_reader import SessionReader
from .session_report import SessionReport
from .user import User

_AROUND = 1_024  # bytes of an answer beside its list
_SHORT = 16_384  # bytes of an answer for which no room is reserved
_numbers = count(1)
PARTING = 5.0  # seconds that the last answers may take on a slow line


class State(StrEnum):
    """The state of a connection's login, which decides what it may ask."""

    NAMELESS = "nameless"  # the peer has not logged in
    NAMED = "named"  # the peer has logged in
    RELAYED = "relayed"  # another server asks about files for a user who has logged in there
    ATTACHED = "attached"  # a further connection, for files only, of a user who has logged in on another one


class Session:
    """One connection. Its own thread calls every method that does not name another thread."""

    __slots__ = (
        "_gathered", "_hung_up", "_origin", "_pause", "_posted", "_reserved", "_settled", "_shared", "_slowed",
        "address", "asked", "attached_to", "away", "chat", "client", "current", "done", "fetches_directly", "files",
        "gone_elsewhere", "has_wills", "instead", "login_limit", "network", "number", "partner", "reader", "report",
        "shortcut", "spare_posts", "state", "taken_over", "transport", "tries", "turn", "unclear", "user",
    )  # fmt: skip

    def __init__(
        self, chat: Chat, reader: SessionReader, transport: str, report: SessionReport, *, shared: bool = False
    ) -> None:
        """`transport` is socket, mqtt or broker. `report` takes what the operator's log has of the connection.

        `shared`: the connection brings the posts of many users, whose own addresses are unknown. It does not wait for
        one of them: posts above the rate limit are refused. Its owner carries the journal.

        The reader is held: it sends no entry before `SessionReader.begin`, which `requests.login.catch_up` calls.
        """
        self.chat = chat
        self.number = next(_numbers)
        self.reader = reader
        reader.hold()
        self.transport = transport
        self.report = report
        self.address = report.address
        self.network = None if shared else network_of(report.address)  # for the limits of an address
        self.turn: AbstractContextManager[object] = nullcontext()  # of long answers: see `AddressBytes`
        if self.network is not None:
            reader.count_for(chat.waiting_bytes, self.network)
            self.turn = chat.waiting_bytes.turn(self.network)
        self.state = State.NAMELESS
        self.login_limit = LoginLimit(chat.limits)  # until the peer has logged in
        self.user: User | None = None  # who has logged in on this connection
        self.attached_to: User | None = None  # for whom this is a further connection
        self.current: Log | None = None  # the channel that a request is for which names none
        self.partner = ""  # the user to whom posts go that name no channel; empty: they go to the current channel
        self.files = OpenFiles(chat.files, reader)
        self.away: AwayFiles | None = None  # files whose bytes are at other servers
        self.shortcut: Shortcut | None = None  # to receipts, if the protocol has one
        self.client = ""  # the id of an MQTT client
        self.instead: Sequence[Holding] = ()  # the connections at other servers that this one has replaced
        self.has_wills = False  # the store had wills of the same MQTT client when this one logged in
        self.taken_over = self.gone_elsewhere = False  # another connection has replaced this one; one elsewhere
        self.fetches_directly = False  # the peer fetches files from the clients that send them
        self.done = False  # nothing more is to be read from the peer
        self.asked: str | None = None  # the registered name for which the peer was asked for a password
        self.tries = 0  # wrong passwords
        self.unclear = ""  # the last line, if the peer was asked whether it is meant as a command
        self._origin: Origin | None = None
        self._gathered: list[Say] = []  # consecutive posts to one channel that the journal does not have yet
        self._posted = 0  # postings handed to the journal, counted by the connection's thread
        self._settled = 0  # postings stored or refused, counted by the journal's leaders
        self.spare_posts = 0  # of a shared connection: posts that may go above the rate limit
        self._shared = shared
        self._pause: threading.Event | None = None  # of posts that wait for the rate limit; set when this side ends it
        self._reserved = 0  # bytes of room for a long answer, or for a payload
        self._hung_up = False  # this side ends the connection
        self._slowed = False  # the peer was told that it posts faster than the limit

    @property
    def named(self) -> bool:
        """True once the peer has logged in, or is attached to a connection that has."""
        return self.state is not State.NAMELESS

    @property
    def holder(self) -> User:
        """The user who has logged in here, or on the connection that this one is attached to. Not before that."""
        user = self.user or self.attached_to
        assert user is not None
        return user

    @property
    def ending(self) -> bool:
        """True if the peer has ended the connection, or this side has. Any thread may ask."""
        return self.done or self._hung_up or self.reader.peer_has_ended()

    @property
    def origin(self) -> Origin:
        """The user and the address that the rate limits count for. Not before the login."""
        assert self._origin is not None
        return self._origin

    def check_rate(self, limit: LimitClass, count: int = 1) -> None:
        """Count requests for the limit. One too many waits, if the limit is such; otherwise this raises Refused.

        The sentence says how long to wait. A connection that many users share waits for none of them. What another
        server asks was counted there.
        """
        if self.state is State.RELAYED:
            return
        if not limit.waits or self._shared:
            self.chat.rates.check(limit, self.origin, count)
            return
        if self._hung_up:  # it would not wait, and so take what others of the address wait for
            return
        seconds = self.chat.rates.spend(limit, self.origin, count)
        if seconds:
            self.report.limit_reached(limit.key)
            self._wait(seconds)

    @property
    def answer_size(self) -> int:
        """The bytes that a list in one answer may take as JSON; few for a peer that takes small packets only."""
        most, largest = self.chat.limits.page_bytes, self.reader.dialect.largest
        return min(most, max(0, largest - _AROUND)) if largest else most

    def reserve(self, size: int) -> None:
        """Keep room free for a long answer or a payload. Raises Refused if there is none after a while."""
        if size <= _SHORT:
            return
        if not self.reader.reserve(size):
            self.report.limit_reached("waiting_per_address")
            raise Refused("busy", "Too many bytes wait for the connections of your address. Try again later.")
        self._reserved = size

    def await_payload(self, size: int) -> None:
        """Keep room free for a payload of which a part has come; 0: for none. Raises PeerError if there is none.

        It takes twice its size: the pieces in which it comes become one.
        """
        if 2 * size == self._reserved:
            return
        self.release()
        try:
            self.reserve(2 * size)
        except Refused as refused:
            raise PeerError(refused.code, refused.sentence) from None

    def release(self) -> None:
        """Keep no room free any longer."""
        if self._reserved:
            self._reserved = 0
            self.reader.release()

    def log_in(self, user: User) -> None:
        """Be this user's connection from now on."""
        self.user = user
        self._origin = Origin(user.key, self.network)
        self.state = State.NAMED

    def attach(self, user: User) -> None:
        """Be a further connection of this user from now on."""
        self.attached_to = user
        self._origin = Origin(user.key, self.network)
        self.reader.user_key = user.key
        self.state = State.ATTACHED

    def relay(self, user: User, address: str) -> None:
        """Be the connection of another server, which asks for a user with that IP address."""
        self.attach(user)
        self.address = address
        if address:  # that of a user on another broker is not known
            self.network = network_of(address)
            self.reader.count_for(self.chat.waiting_bytes, self.network)
        self.state = State.RELAYED
        self.report.is_server()

    def joined(self, channel: str) -> Log:
        """Return the channel of that name, or the current one for an empty name. Raises Refused for a non-member."""
        if not channel and self.partner:
            raise Refused("no-channel", f"You are talking with {self.partner}. Name the channel, or /query ends that.")
        log = self.current if not channel else self.chat.known_channel(channel)
        if log is None:
            raise Refused("no-channel", "You are in no channel. /join lobby joins one.")
        if self.user is None or log not in self.user.joined:
            raise Refused("not-a-member", f"You are not in {log.row.name}: /join {log.row.name} first.")
        return log

    def join(self, channel: str) -> tuple[Log, int]:
        """Join a channel for the user; see `Chat.join`. Raises Refused."""
        return self.chat.join(channel, self.holder, self.origin)

    # Posts

    def gather(self, post: Say) -> None:
        """Post to a channel. Consecutive posts to one channel become one posting, at the latest with `flush`."""
        gathered = self._gathered
        if gathered and gathered[0].channel != post.channel:
            self.flush()
            gathered = self._gathered
        gathered.append(post)

    def flush(self) -> None:
        """Hand the gathered posts to the journal. A peer that reads no receipts is not read either."""
        if self._gathered:
            posts, self._gathered = self._gathered, []
            self._post_or_refuse(posts)
            self.reader.wait_for_room(self.chat.limits.backlog)

    def _post_or_refuse(self, gathered: Sequence[Say]) -> None:
        """Post to the channel that all posts name. Refuse posts without text, and all posts to a channel not joined.

        Posts that name no channel go to the user who is talked with, if there is one.
        """
        posts: Sequence[Say | Msg] = gathered
        try:
            if self.partner and not gathered[0].channel:
                posts = [Msg(self.partner, post.text, post.id, ref=post.ref) for post in gathered]
                log = self._private_log()
            else:
                log = self.joined(gathered[0].channel)
        except Refused as refused:
            self._wait_for_journal()
            for post in posts:
                self._refuse(post, refused)
            return
        if any([not post.text or post.text.isspace() for post in posts]):
            self._wait_for_journal()
            for post in posts:
                if not post.text.strip():
                    self._refuse(post, Refused("empty", "The message has no text."))
            posts = [post for post in posts if post.text.strip()]
        if posts:
            self._hand_to_journal(log, posts)

    def _private_log(self) -> Log:
        """Return the log with the user who is talked with. Raises Refused, also if the store fails."""
        try:
            return self.chat.private_log(self.holder.name, self.partner, self.origin)
        except StoreError as error:
            self.report.store_failed(str(error))
            raise Refused("not-stored", error.told) from None

    def post(self, log: Log, post: Msg) -> None:
        """Post to a log, after everything that was gathered."""
        self.flush()
        self._hand_to_journal(log, [post])

    def _hand_to_journal(self, log: Log, posts: Sequence[Say | Msg]) -> None:
        user = self.user
        assert user is not None
        if self.chat.limits.posts_per_second or self.chat.limits.post_bytes_per_second:
            if self._shared:
                posts = self._refuse_excess(posts)
            else:
                while (count := self._pace(posts)) < len(posts):
                    self._hand_over(log, user, posts[:count])
                    posts = posts[count:]
        if posts:
            self._hand_over(log, user, posts)

    def _hand_over(self, log: Log, user: User, posts: Sequence[Say | Msg]) -> None:
        self._posted += 1
        posting = Posting(log, user.key, user.name, posts, self._stored, self._refused)
        self.chat.journal.post(posting, carry=not self._shared)

    def _pace(self, posts: Sequence[Say | Msg]) -> int:
        """Return how many of the posts may go; wait until one may, unless this side has ended the connection."""
        rates, origin = self.chat.rates, self.origin
        if self._slowed and rates.rested(POSTS, origin) and rates.rested(POST_BYTES, origin):
            self._slowed = False
        count, seconds = rates.reserve(POSTS, origin, len(posts))
        size, longer = counted_bytes([post.text for post in posts[:count]]), 0.0
        if size:
            longer = rates.spend(POST_BYTES, origin, size)
        if seconds or longer:
            self._slow_down(seconds, longer)
        return count

    def _slow_down(self, seconds: float, longer: float) -> None:
        """Wait `seconds` for the limit of posts, or `longer` for that of their bytes. Tell the peer once."""
        limits = self.chat.limits
        if not self._slowed:
            self._slowed = True
            size = limits.post_bytes_per_second if longer > seconds else None
            self.reader.notify(Slowed(rate=limits.posts_per_second, bytes=size))
            self.report.limit_reached((POSTS if size is None else POST_BYTES).key)
        self._wait(max(seconds, longer))

    def _wait(self, seconds: float) -> None:
        """Wait for a rate limit, or until this side ends the connection."""
        self._pause = threading.Event()
        if not self._hung_up:  # `hang_up` sets this before it looks for the pause
            self._pause.wait(seconds)
        self._pause = None

    def _refuse_excess(self, posts: Sequence[Say | Msg]) -> Sequence[Say | Msg]:
        """Refuse the posts above the rate limit; return the others."""
        for at in range(len(posts)):
            try:
                self.check_rate(POSTS)
                if size := counted_bytes([posts[at].text]):
                    self.chat.rates.check(POST_BYTES, self.origin, size)
            except Refused as refused:
                count = at + min(self.spare_posts, len(posts) - at)
                self.spare_posts -= count - at
                if posts[count:]:
                    self._wait_for_journal()
                for post in posts[count:]:
                    self._refuse(post, refused)
                return posts[:count]
        return posts

    def _refuse(self, post: Say | Msg, refused: Refused) -> None:
        self.report.refused("post", refused.code, refused.sentence)
        channel, user = (post.channel or None, None) if isinstance(post, Say) else (None, post.user)
        self.reader.reply(
            Error(code=refused.code, error=refused.sentence, id=post.id, channel=channel, user=user, ref=post.ref)
        )

    def _refused(self, posting: Posting, refused: Refused) -> None:
        """Called by the journal's leader."""
        try:
            for post in posting.posts:
                self._refuse(post, refused)
        except Exception:
            self.hang_up()  # the peer waits for the answer
            raise
        finally:
            self._settled += 1

    def _stored(self, posting: Posting, numbers: Sequence[int]) -> None:
        """Send the receipts that were asked for. Called by the journal's leader."""
        try:
            data = receipts(posting, numbers, self.reader.dialect.encode, self.chat.directory.is_there, self.shortcut)
            if data:
                self.reader.reply_bytes(data)
        except Exception:
            self.hang_up()  # the peer waits for the receipts
            raise
        finally:
            self._settled += 1

    def settle(self) -> None:
        """Return when everything that this connection posted is stored or refused."""
        self.flush()
        self._wait_for_journal()

    def _wait_for_journal(self) -> None:
        while self._settled < self._posted:
            self.chat.journal.carry(wait=True)

    # The end

    def replaced(self, by: str, *, elsewhere: bool = False) -> None:
        """End the connection, since the same user has connected again from the IP address `by`.

        Called by the new connection's thread, by two of them if two take over. `elsewhere`: at another server.
        """
        if not self._hung_up:
            self.report.taken_over(by)
        self.taken_over, self.gone_elsewhere = True, self.gone_elsewhere or elsewhere
        self.reader.reply(Closing(reason="You have connected from elsewhere.", code="replaced"))
        self.hang_up()

    def hang_up(self) -> None:
        """Read nothing more from the peer, so that the connection's own thread ends it. Called by any thread."""
        self._hung_up = True
        pause = self._pause
        if pause is not None:
            pause.set()
        self.reader.hang_up()

    def finish(self) -> None:
        """Give the answers and the missed entries a while to go out: the peer has sent its last request."""
        if not self._hung_up:  # else they go to the connection that has taken over
            self.note_read()
            self.settle()
            self.reader.wait_until_level(PARTING)

    def note_read(self) -> bool:
        """Have the cursors moved over what the peer's machine has acknowledged, for a peer that cannot do it itself.

        Return True if more is on its way. Called by the thread `read-tracker` some seconds after a delivery; and at the
        end, before the last words, which the machine has not acknowledged yet. For each line that a person types it
        would cost a transaction beside that of the line.
        """
        if self.user is None:
            return False
        moved, more = self.reader.newly_read()
        for log, number in moved:
            self.chat.journal.move(log, self.user.key, number)
        return more

    def close(self) -> None:
        """Store the cursors, let go of the name, and tell the other users. The connection has ended."""
        self.files.close()
        if self.away is not None:
            self.away.close()
        self.settle()
        user = self.user
        self.chat.read_tracker.remove(self)
        if user is not None:
            self.note_read()
            self.chat.journal.saw(user.key, now())
            # Before the name is free, since the next connection reads the stored cursors. When the server goes down,
            # `Chat.close` commits them.
            self.chat.journal.carry(wait=not self.chat.closing)
            self.reader.close()
            self.report.logged_out()
            if self.chat.directory.release(user, self):
                with self.turn:
                    self.chat.disconnected(user)
        self.reader.close()

    def note_last_read(self) -> None:
        """Store what the peer's machine has acknowledged in the end: the peer has ended its side, too."""
        self.note_read()
        self.chat.journal.carry()
