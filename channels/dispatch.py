"""Floor 2: dispatch: one table of what a connection may ask, in which state, and who answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from enum import Enum, StrEnum
from typing import Any, NamedTuple, TypeAlias

from store import StoreError
from wire import frames
from wire.errors import Refused
from wire.frames import Answer, Error, Request

from .rates import (
    CHANNELS,
    DIRECT,
    JOINS,
    LOGINS,
    NAMES,
    OFFERS,
    PAGES,
    POST_BYTES,
    POSTS,
    REGISTERS,
    REQUESTS,
    TALKS,
    TOPICS,
    LimitClass,
)
from .requests import accounts, direct_transfers, files, history, login, people, posts, relay, rooms, system, transfers
from .session import Session, State

Handler: TypeAlias = Callable[[Session, Any], Answer | None]

_LONG = (frames.ChannelList, frames.FileList, frames.HelpText, frames.Members, frames.Page, frames.Ranges)
_NO_TURN = nullcontext()


class Role(StrEnum):
    """The role that a request needs."""

    ANYONE = "anyone"


class Order(Enum):
    """The order of a request and of the posts before it, which the journal may not have stored yet."""

    AFTER_POSTS = "after"  # answered when they are stored
    POST = "post"  # a post itself, which the journal keeps in order
    GATHERED = "gathered"  # a post that becomes one posting with those before and after it


class Row(NamedTuple):
    """One request: its handler, the states in which it may be asked, the role that may ask it, and its rate limit.

    `limit` is counted before the handler is called, for the requests that `counts` selects. `inner_limits` are counted
    by what the handler calls, since they depend on what is there: a user who joins a channel twice has joined it once.
    `only_answers`: the request changes nothing, so the server drops it if the peer can get no answer any more. `size`
    returns how many bytes a long answer takes, for which there must be room; a handler that knows it reserves itself.
    `in_turn`: the answer takes some time to make, so the connections of an address take turns.
    """

    request: type[Request]
    handler: Handler
    states: tuple[State, ...]
    role: Role = Role.ANYONE
    order: Order = Order.AFTER_POSTS
    only_answers: bool = False
    limit: LimitClass | None = None
    counts: Callable[[Session, Any], bool] = lambda session, request: True
    inner_limits: tuple[LimitClass, ...] = ()
    size: Callable[[Session, Any], int] = lambda session, request: 0
    in_turn: bool = False


_NAMELESS, _NAMED, _ATTACHED = (State.NAMELESS,), (State.NAMED,), (State.ATTACHED,)
_FILES = (State.NAMED, State.ATTACHED)
_BYTES = (State.NAMED, State.ATTACHED, State.RELAYED)
_ALWAYS = tuple(State)


def _page(session: Session, _request: Request) -> int:
    return session.answer_size


def _named(session: Session, _request: Request) -> bool:
    """Return True if a user can be counted: before the login, `login_requests` limits the requests."""
    return session.named


where_it_is = relay.where_it_is

TABLE: tuple[Row, ...] = (
    # Login
    Row(frames.Hello, login.hello, _NAMELESS, inner_limits=(LOGINS, NAMES)),
    Row(frames.Attach, login.attach, _NAMELESS, inner_limits=(LOGINS,)),
    Row(frames.Relay, relay.relay, _NAMELESS, inner_limits=(LOGINS,)),
    Row(frames.Line, login.line, _NAMELESS, inner_limits=(LOGINS, NAMES)),
    Row(frames.Register, accounts.register, _NAMED, limit=REGISTERS),
    # Posts
    Row(frames.Say, posts.say, _NAMED, order=Order.GATHERED, inner_limits=(POSTS, POST_BYTES)),
    Row(frames.Line, posts.line, _NAMED, order=Order.GATHERED, inner_limits=(POSTS, POST_BYTES)),
    Row(frames.Msg, posts.msg, _NAMED, order=Order.POST, inner_limits=(POSTS, POST_BYTES, TALKS)),
    Row(frames.Query, posts.query, _NAMED, limit=REQUESTS, inner_limits=(POSTS, POST_BYTES, TALKS)),
    # Channels and users
    Row(frames.Join, rooms.join, _NAMED, inner_limits=(JOINS, CHANNELS)),
    Row(frames.Leave, rooms.leave, _NAMED, limit=JOINS),
    Row(frames.Channels, rooms.channels, _NAMED, only_answers=True, limit=PAGES, size=_page, in_turn=True),
    Row(frames.Topic, rooms.topic, _NAMED, limit=TOPICS, counts=rooms.sets_topic),
    Row(frames.Who, people.who, _NAMED, only_answers=True, limit=PAGES, size=_page, in_turn=True),
    Row(frames.Names, people.names, _NAMED, only_answers=True, limit=PAGES, size=_page, in_turn=True),
    Row(frames.Whois, people.whois, _NAMED, only_answers=True, limit=PAGES),
    Row(frames.History, history.history, _NAMED, only_answers=True, limit=PAGES, size=_page, in_turn=True),
    Row(frames.Seen, history.seen, _NAMED, limit=REQUESTS),
    # Files
    Row(frames.Offer, files.offer, _FILES, limit=OFFERS, inner_limits=(TALKS,)),
    Row(frames.Cancel, where_it_is(files.cancel, also_away=True), _BYTES, limit=OFFERS),
    Row(frames.Files, files.files, _NAMED, only_answers=True, limit=PAGES, size=_page, in_turn=True),
    Row(frames.SendFile, files.by_client, _NAMED, limit=REQUESTS),
    Row(frames.GetFile, files.by_client, _NAMED, limit=REQUESTS),
    Row(frames.Put, where_it_is(transfers.put), _BYTES),
    Row(frames.Finish, where_it_is(transfers.finish), _BYTES, limit=REQUESTS),
    Row(
        frames.Have,
        where_it_is(transfers.have, reads=True),
        _BYTES,
        only_answers=True,
        limit=REQUESTS,
        inner_limits=(PAGES,),
    ),
    Row(frames.Get, where_it_is(transfers.get, reads=True), _BYTES, only_answers=True),
    Row(frames.Sum, where_it_is(transfers.sum_of, reads=True), _BYTES, only_answers=True, limit=REQUESTS),
    Row(frames.Taken, where_it_is(transfers.taken, reads=True), _BYTES, limit=REQUESTS),
    Row(frames.Listen, where_it_is(direct_transfers.listen), _BYTES, limit=DIRECT),
    Row(frames.Reach, where_it_is(direct_transfers.reach), _BYTES, limit=DIRECT),
    # The connection and the server
    Row(frames.Status, system.status, (State.NAMELESS, State.NAMED), only_answers=True, limit=REQUESTS, counts=_named),
    Row(
        frames.Help,
        system.help,
        (State.NAMELESS, State.NAMED),
        only_answers=True,
        limit=REQUESTS,
        counts=_named,
        in_turn=True,
    ),
    Row(
        frames.Ping,
        system.ping,
        _ALWAYS,
        only_answers=True,
        limit=REQUESTS,
        counts=_named,
        size=lambda session, ping: len(ping.payload),
    ),
    Row(frames.Bye, system.bye, _ALWAYS),
    Row(frames.Malformed, system.malformed, _ALWAYS, limit=REQUESTS, counts=_named),
)

# The answer to what the table does not have in a state.
_ABSENT: Mapping[State, tuple[str, str]] = {
    State.NAMELESS: ("hello-first", "Give your name first."),
    State.NAMED: ("already-named", "You have logged in already."),
    State.ATTACHED: ("not-allowed", "This connection is for files only."),
    State.RELAYED: ("not-allowed", "This connection is for the bytes of files only."),
}

_HAS_ROLE: Mapping[Role, Callable[[Session], bool]] = {Role.ANYONE: lambda session: True}

_ROWS: Mapping[State, Mapping[type[Request], Row]] = {
    state: {row.request: row for row in TABLE if state in row.states} for state in State
}


def handle(session: Session, requests: Sequence[Request]) -> None:
    """Do what a connection asks, in order. Called by the connection's own thread. Raises PeerError."""
    gathered: Row | None = None  # of the last request, for those of the same type that follow it
    for request in requests:
        if gathered is not None and type(request) is gathered.request:
            gathered.handler(session, request)
            continue
        row = _ROWS[session.state].get(type(request))
        if row is not None and row.order is Order.GATHERED and _HAS_ROLE[row.role](session):
            gathered = row
            row.handler(session, request)
            continue
        gathered = None
        session.flush()
        _answer(session, row, request)
        if session.done:
            return
    session.flush()


def _answer(session: Session, row: Row | None, request: Request) -> None:
    """Have one request answered. A peer that does not read its answers is not read either. Raises PeerError."""
    if row is not None and row.only_answers and session.reader.is_broken():
        return
    nameless = not session.named
    if nameless:
        session.login_limit.take_request()
    if row is None or row.order is Order.AFTER_POSTS:
        session.settle()
    try:
        if row is None:
            raise Refused(*_ABSENT[session.state])
        if not _HAS_ROLE[row.role](session):
            raise Refused("not-allowed", f"You need the role {row.role} for that.")
        _check_limit(session, row, request)
        session.reserve(row.size(session, request))
        with session.turn if row.in_turn else _NO_TURN:
            answer = row.handler(session, request)
    except Refused as refused:
        if nameless:
            session.login_limit.take_refusal(refused)
        answer = Error(code=refused.code, error=refused.sentence)
    except StoreError as error:
        session.report.store_failed(str(error))
        answer = Error(code="not-stored", error=error.told)
    if isinstance(answer, Error):
        session.report.refused(type(request).__name__.lower(), answer.code, answer.error)
    if answer is not None:
        answer.ref = request.ref
        if nameless:
            session.login_limit.take_bytes(len(session.reader.dialect.encode(answer)))
        with session.turn if isinstance(answer, _LONG) else _NO_TURN:
            session.reader.reply(answer)
    session.reader.wait_for_room(session.chat.limits.backlog)
    session.release()  # not before: until here, a payload is in memory


def _check_limit(session: Session, row: Row, request: Request) -> None:
    """Count a request that has a rate limit. Raises Refused."""
    if row.limit is PAGES:
        session.reader.wait_for_page()
    if row.limit is not None and row.counts(session, request):
        session.check_rate(row.limit)
