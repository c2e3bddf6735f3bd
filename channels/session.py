"""Floor 2: a session: what one connection may ask, in which state, and how it is answered; the same for every door."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from channels.files import transfers
from channels.files.transfers import Transfers
from channels.requests import chat as requests
from channels.requests import offers
from store import Account, Membership, StoreError
from wire import VERSION
from wire.errors import PeerError, Refused
from wire.frames import (
    Answer,
    Attach,
    Bye,
    Cancel,
    Channels,
    Closing,
    Error,
    Hello,
    Help,
    History,
    Join,
    Leave,
    Line,
    LogState,
    Malformed,
    Msg,
    Offer,
    Ping,
    Register,
    Request,
    Say,
    Seen,
    Slowed,
    Status,
    Topic,
    Welcome,
    Who,
    Whois,
)
from wire.names import check_name, fold
from wire.text import commands

from . import accounts
from .chat import Chat
from .directory import User
from .journal import Posting
from .log import Log
from .rate_limit import Pace
from .receipts import Shortcut, receipts
from .session_reader import SessionReader

_PARTING = 5.0  # seconds that the last answers may take on a slow line


class Session:
    """One connection in the chat. All methods but those of postings are called by the connection's own thread."""

    __slots__ = (
        "_asked", "_carries", "_hung_up", "_pace", "_posted", "_settled", "_slowed", "_tries", "address", "chat",
        "current", "direct", "done", "door", "files", "reader", "shortcut", "user",
    )  # fmt: skip

    def __init__(self, chat: Chat, reader: SessionReader, door: str, address: str, *, shared: bool = False) -> None:
        """`shared`: the connection brings the posts of many, so they are not paced, and its owner carries them."""
        self.chat = chat
        self.reader = reader
        reader.hold()
        self.door = door
        self.address = address
        self.user: User | None = None
        self.current: Log | None = None
        self.files = Transfers(chat, reader)
        self.shortcut: Shortcut | None = None  # to receipts, if the protocol has one
        self.direct = False  # the peer fetches files straight from their senders
        self.done = False  # nothing more is to be read from the peer
        self._asked: str | None = None  # the registered name whose password was asked for
        self._tries = 0
        self._posted = 0  # postings handed to the journal, counted by the connection's thread
        self._settled = 0  # of those, the ones that were stored or refused, counted by the journal's leaders
        limit = chat.limits.posts_per_second
        self._pace = Pace(limit) if limit and not shared else None
        self._carries = not shared
        self._hung_up = False  # it is we who end the connection
        self._slowed = False  # the peer was told that it posts faster than that

    @property
    def named(self) -> bool:
        """Whether the peer has said who it is."""
        return self.user is not None or self.files.attached

    def handle(self, frames: Sequence[Request]) -> None:
        """Do what the frames ask, in their order. Posts that follow each other to one channel go as one."""
        self.note_arrived()
        posts: list[Say] = []
        for frame in frames:
            if type(frame) is Line and self.user is not None:
                frame = self._spoken(frame.text)
            if type(frame) is Say and self.user is not None:
                if posts and posts[0].channel != frame.channel:
                    self._say(posts)
                    posts = []
                posts.append(frame)
                continue
            if posts:
                self._say(posts)
                posts = []
            self._ask(frame)
            if self.done:
                return
        if posts:
            self._say(posts)

    def _ask(self, frame: Request) -> None:
        """Answer one request, after what was posted before it is stored."""
        if type(frame) is not Msg:
            self.settle()
        allowed = _NAMED if self.user is not None else _ATTACHED if self.files.attached else _NAMELESS
        handler = allowed.get(type(frame))
        try:
            if handler is None and not self.named:
                raise Refused("hello-first", "Say who you are first.")
            if handler is None and self.user is None:
                raise Refused("not-allowed", "This line is for files only.")
            if handler is None:
                raise Refused("already-named", "You have a name already.")
            answer = handler(self, frame)
        except Refused as refused:
            answer = Error(code=refused.code, error=refused.sentence)
        except StoreError as error:
            answer = Error(code="not-stored", error=str(error))
        if answer is not None:
            answer.ref = frame.ref
            self.reader.reply(answer)
        self.reader.wait_for_room(self.chat.limits.backlog)

    def settle(self) -> None:
        """Return when everything that this connection posted is stored or refused."""
        while self._settled < self._posted:
            self.chat.journal.carry(wait=True)

    # Posts

    def _spoken(self, text: str) -> Say:
        """A line that is no command: for the channel that it names, or for the current one."""
        addressed = commands.ADDRESSED.fullmatch(text)
        if addressed is not None and self.chat.channel(addressed[1]) is not None:
            return Say(addressed[2], addressed[1])
        return Say(text)

    def _say(self, posts: list[Say]) -> None:
        """Post what was said to one channel; whoever does not read the receipts is not read either."""
        self._try_to_say(posts)
        self.reader.wait_for_room(self.chat.limits.backlog)

    def _try_to_say(self, posts: list[Say]) -> None:
        try:
            log = self.joined(posts[0].channel)
        except Refused as refused:
            self.settle()
            for post in posts:
                self._refuse(post, refused)
            return
        if any([not post.text or post.text.isspace() for post in posts]):
            self.settle()
            for post in posts:
                if not post.text.strip():
                    self._refuse(post, Refused("empty", "There is no text to send."))
            posts = [post for post in posts if post.text.strip()]
        self._post(log, posts)

    def _post(self, log: Log, posts: Sequence[Say | Msg]) -> None:
        user = self.user
        assert user is not None
        while posts:
            count = len(posts) if self._pace is None else self._paced(self._pace, len(posts))
            posting = Posting(log, user.key, user.name, posts[:count], self._stored, self._refused)
            posts = posts[count:]
            self._posted += 1
            self.chat.journal.post(posting, carry=self._carries)

    def _paced(self, pace: Pace, wanted: int) -> int:
        if pace.rested():
            self._slowed = False
        elif pace.spent() and not self._slowed:
            self._slowed = True
            self.reader.notify(Slowed(rate=self.chat.limits.posts_per_second))
        return pace.take(wanted)

    def _refuse(self, post: Say | Msg, refused: Refused) -> None:
        channel, user = (post.channel or None, None) if isinstance(post, Say) else (None, post.user)
        self.reader.reply(
            Error(code=refused.code, error=refused.sentence, id=post.id, channel=channel, user=user, ref=post.ref)
        )

    def _refused(self, posting: Posting, refused: Refused) -> None:
        for post in posting.posts:
            self._refuse(post, refused)
        self._settled += 1

    def _stored(self, posting: Posting, numbers: Sequence[int]) -> None:
        """Called by the journal's leader: receipts for those who asked for them."""
        data = receipts(posting, numbers, self.reader.dialect.encode, self.chat.directory.is_there, self.shortcut)
        if data:
            self.reader.reply_bytes(data)
        self._settled += 1

    def _msg(self, frame: Msg) -> None:
        if not frame.text.strip():
            raise Refused("empty", "There is no text to send.")
        assert self.user is not None
        self._post(self.chat.direct(self.user.name, frame.user), [frame])

    # Login

    def _hello(self, frame: Hello) -> Answer | None:
        name = check_name(frame.name, "name")
        account = self.chat.store.open_account(name)
        proven = False
        if account.password is not None and frame.password is not None:
            proven = self._proven(frame.password, account.password)
        elif account.password is not None and frame.token is None:
            self._asked = account.name
            raise Refused("need-password", f"{account.name} is registered: what is the password?")
        user, memberships = self.enter(account, frame.token, proven=proven)
        self.direct = frame.direct
        self.reader.reply(self._welcome(user, memberships, frame))
        self.catch_up(user, memberships, {fold(label): number for label, number in frame.since.items()})
        return None

    def enter(self, account: Account, token: str | None, *, proven: bool) -> tuple[User, list[Membership]]:
        """Take a name on this connection, `proven` if its password fitted; the user, and what they are a member of.

        Raises Refused if somebody else holds it. What was missed comes with `catch_up`.
        """
        user, replaced, first = self.chat.directory.claim(account, self, token, proven=proven)
        for session in replaced:
            session.replaced()
        self.reader.user_key = user.key
        try:
            memberships = self.chat.store.memberships(user.key)
        except StoreError:
            self.chat.directory.release(user, self)
            raise
        channels = [self.chat.log(each.log) for each in memberships if each.log.kind == "channel"]
        self.chat.directory.load(user, channels)
        self.current = next(reversed(user.joined), None)
        self.user = user
        if first:
            self.chat.arrived(user)
        return user, memberships

    def _proven(self, password: str, kept: str) -> bool:
        if accounts.fits(password, kept):
            return True
        self._tries += 1
        if self._tries >= self.chat.limits.password_tries:
            raise PeerError("wrong-password", "That was the wrong password too often.")
        raise Refused("wrong-password", "That is not the password; try again.")

    def _welcome(self, user: User, memberships: Sequence[Membership], frame: Hello) -> Welcome:
        logs = [
            LogState(membership.log.tail, membership.cursor, membership.log.name)
            if membership.log.kind == "channel"
            else LogState(membership.log.tail, membership.cursor, user=self.chat.log(membership.log).peer(user.key))
            for membership in memberships
        ]
        return Welcome(
            name=user.name, server=f"partyline {VERSION}", token=user.token, registered=user.registered, logs=logs,
            ref=frame.ref,
        )  # fmt: skip

    def catch_up(self, user: User, memberships: Sequence[Membership], since: Mapping[str, int]) -> None:
        """Follow every log from where the user was: by `since`, if given, or else by the stored cursor."""
        starts: list[tuple[Log, int, int | None]] = []
        for membership in memberships:
            log = self.chat.log(membership.log)
            label = f"@{fold(log.peer(user.key) or '')}" if log.channel is None else log.row.key
            given = since.get(label)
            after = membership.cursor if given is None else min(given, membership.log.tail)
            missed = self.chat.limits.missed if log.channel is not None else self.chat.limits.lag
            if given is None and log.tail - after > missed:
                to = log.tail - missed
                self.reader.reply(self.reader.gap(log, after, to))
                after = to
            starts.append((log, after, membership.cursor))
        self.reader.begin(starts)
        for log, _, _ in starts:
            if log.channel is not None and log not in user.joined:  # left meanwhile, by another connection
                self.reader.unfollow(log)
        if self.reader.dialect.interactive:
            self.chat.arrivals.add(self)

    def _line(self, frame: Line) -> Answer | None:
        """The text dialect's login: a name, or the password that was asked for."""
        if self._asked is not None:
            return self._hello(Hello(name=self._asked, password=frame.text))
        return self._hello(Hello(name=frame.text))

    def replaced(self) -> None:
        """Called by another connection's thread: the same holder of the name has connected again."""
        self.reader.reply(Closing(reason="You have connected from elsewhere.", code="replaced"))
        self.hang_up()

    def hang_up(self) -> None:
        """Called by any thread: read nothing more from the peer, so that the connection's own thread ends it."""
        self._hung_up = True
        if self._pace is not None:
            self._pace.stop()
        self.reader.hang_up()

    # Requests

    def joined(self, channel: str) -> Log:
        """The channel of that name, or the current one, that this user is in. Raises Refused."""
        log = self.current if not channel else self.chat.known_channel(channel)
        if log is None:
            raise Refused("no-channel", "You are in no channel: /join lobby, for one.")
        if self.user is None or log not in self.user.joined:
            raise Refused("not-a-member", f"You are not in {log.row.name}: /join {log.row.name} first.")
        return log

    def leave(self, frame: Bye) -> None:
        """Say goodbye, and read nothing more."""
        self.done = True
        self.reader.reply(Closing(reason="Goodbye.", ref=frame.ref))
        self.reader.wait_for_room(0, _PARTING)

    def finish(self) -> None:
        """The peer has said all that it has to say: its answers, and what it has missed, have a while to go out."""
        if not self._hung_up:  # else somebody has taken its place, who gets it instead
            self.settle()
            self.reader.wait_until_level(_PARTING)

    # The end

    def note_arrived(self) -> bool:
        """A person cannot acknowledge: what their machine has taken is taken as read. Whether there is more to come.

        Looked at when they say something and when they leave, and by the thread of arrivals after a delivery.
        """
        if self.user is None:
            return False
        moved, more = self.reader.newly_read()
        for log, number in moved:
            self.chat.journal.move(log, self.user.key, number)
        return more

    def close(self) -> None:
        """The connection has ended: keep how far it came, let go of the name, tell the others."""
        self.files.close()
        self.settle()
        user = self.user
        self.chat.arrivals.remove(self)
        if user is not None:
            self.note_arrived()
            # Before the name is free: who comes next reads the stored cursors. At the end of all, `Chat.close` does it.
            self.chat.journal.carry(wait=not self.chat.closing)
            self.reader.close()
            if self.chat.directory.release(user, self):
                self.chat.departed(user)
            self.chat.journal.carry()
        self.reader.close()

    def parted(self) -> None:
        """The peer has ended its side, too: what its machine has taken by now is final."""
        self.note_arrived()
        self.chat.journal.carry()


_Handler = Callable[[Session, Any], Answer | None]

# What is asked in a state but is not in its table is refused.
_NAMELESS: dict[type[Request], _Handler] = {
    Hello: Session._hello,
    Attach: transfers.attach,
    Line: Session._line,
    Ping: requests.ping,
    Help: requests.help,
    Bye: Session.leave,
    Malformed: requests.malformed,
}
_NAMED: dict[type[Request], _Handler] = {
    Join: requests.join,
    Leave: requests.leave,
    Msg: Session._msg,
    Who: requests.who,
    Channels: requests.channels,
    Whois: requests.whois,
    History: requests.history,
    Topic: requests.topic,
    Register: requests.register,
    Seen: requests.seen,
    Status: requests.status,
    Ping: requests.ping,
    Help: requests.help,
    Bye: Session.leave,
    Malformed: requests.malformed,
    **offers.HANDLERS,
    **transfers.HANDLERS,
}
_ATTACHED: dict[type[Request], _Handler] = {**transfers.ATTACHED, Offer: offers.offer, Cancel: offers.cancel}
