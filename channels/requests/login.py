"""Floor 2: login: names, passwords, further connections, and what a user has missed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

from store import Account, Membership, StoreError
from wire import VERSION
from wire.errors import PeerError, Refused
from wire.frames import Attach, Attached, Hello, Line, LogState, Welcome
from wire.names import check_name, fold
from wire.text import command_word

from ..chat import Chat
from ..directory import ForgottenName
from ..log import Log
from ..rates import LOGINS, Origin
from ..session import Session
from ..user import User
from .relay import WRONG_TOKEN

# What a login is refused for in the course of asking for a password; `prove` has reported it, or it is no failure.
REPORTED = ("need-password", "wrong-password", "password-delayed", "busy")


def hello(session: Session, frame: Hello) -> None:
    """Log in under a name; the welcome is followed by what the user has missed."""
    name = check_name(frame.name, "name")
    session.chat.rates.check(LOGINS, Origin("", session.network))
    deadline = time.monotonic() + session.chat.limits.login_seconds
    while True:
        account = session.chat.open_account(name, session.network)
        try:
            user, memberships = take_name(session, account, frame.token, proven=_proven(session, account, frame))
            break
        except Refused as refused:
            if not may_try_again(session.chat, account, refused, deadline):
                if refused.code not in REPORTED:
                    session.report.refused_login(account.name, refused.code, refused.sentence)
                raise
    session.fetches_directly = frame.direct
    session.reader.reply(_welcome(session, user, memberships, frame))
    catch_up(session, user, memberships, {fold(label): number for label, number in frame.since.items()})


def line(session: Session, frame: Line) -> None:
    """Log in by the text dialect: the line is a name, or the password that was asked for.

    A word that may be meant as a command is a name when it comes a second time.
    """
    if session.asked is not None:
        hello(session, Hello(name=session.asked, password=frame.text))
        return
    command = command_word(frame.text)
    if command and frame.text != session.unclear:
        session.unclear = frame.text
        raise Refused("bad-name", f"{command}, or send {frame.text} again to take it as your name.")
    hello(session, Hello(name=frame.text))


def take_name(
    session: Session, account: Account, token: str | None, *, proven: bool, own: str | None = None
) -> tuple[User, list[Membership]]:
    """Take a name for this connection, `proven` if its password was verified; return the user and its memberships.

    `own` is the token that a new user gets, by default a new one. Raises Refused if somebody else holds the name.
    `catch_up` sends what was missed.
    """
    with session.chat.login_turn:
        user, memberships, first = _take_name(session, account, token, proven, own)
    if first:
        with session.turn:
            session.chat.connected(user)
    return user, memberships


def _take_name(
    session: Session, account: Account, token: str | None, proven: bool, own: str | None
) -> tuple[User, list[Membership], bool]:
    """Take a name. Return also True if this is the first connection of the user."""
    chat = session.chat
    try:
        claim = chat.directory.claim(account, session, token, proven=proven, own=own)
    except ForgottenName:
        account = chat.directory.remember(account.key, partial(chat.store.open_account, account.name))
        claim = chat.directory.claim(account, session, token, proven=proven, own=own)
    for other in claim.replaced:
        other.replaced(session.address)
    user, session.instead, session.has_wills = claim.user, claim.instead, claim.has_wills
    session.reader.user_key = user.key
    try:
        with chat.directory.turn(user.key):
            memberships = chat.store.memberships(user.key)
            chat.directory.load(user, [chat.log(each.log) for each in memberships if each.log.is_channel])
    except StoreError:
        chat.directory.announce(claim, session)
        chat.directory.release(user, session)
        raise
    chat.directory.announce(claim, session)
    session.current = next(reversed(user.joined), None)
    session.log_in(user)
    session.report.logged_in(user.name, registered=user.registered)
    return user, memberships, claim.first


def may_try_again(chat: Chat, account: Account, refused: Refused, deadline: float) -> bool:
    """Return True if `take_name` may succeed now, although it raised `refused` for this account.

    That is so if the name was registered after the look at its account, or if its holder's connection has ended and has
    let go of the name by now; wait for that until `deadline`.
    """
    if refused.code == "need-password":
        return account.password is None
    return refused.code == "name-taken" and chat.directory.wait_until_free(account.key, deadline - time.monotonic())


def _proven(session: Session, account: Account, frame: Hello) -> bool:
    """Return True if the name's password was given. Raises Refused if it is wrong, or is needed and absent."""
    if account.password is None:
        return False
    if frame.password is None:
        if frame.token is not None:
            return False
        session.asked = account.name
        raise Refused("need-password", f"The name {account.name} is registered. What is the password?")
    try:
        prove(session, account, frame.password)
    except Refused as refused:
        session.tries += refused.code == "wrong-password"
        if session.tries >= session.chat.limits.password_tries:
            raise PeerError("wrong-password", "Too many wrong passwords.") from refused
        raise
    return True


def prove(session: Session, account: Account, password: str) -> None:
    """Wait until the password of a registered name is checked. Raises Refused if it is wrong or has to wait."""
    try:
        session.chat.passwords.check(account, password, session.network)
    except Refused as refused:
        session.report.refused_password(account.name, refused)
        raise


def _welcome(session: Session, user: User, memberships: Sequence[Membership], frame: Hello) -> Welcome:
    logs = [
        LogState(membership.log.tail, membership.cursor, membership.log.name)
        if membership.log.is_channel
        else LogState(membership.log.tail, membership.cursor, user=session.chat.log(membership.log).partner(user.key))
        for membership in memberships
    ]
    return Welcome(
        name=user.name, server=f"partyline {VERSION}", token=user.token, registered=user.registered, logs=logs,
        ref=frame.ref,
    )  # fmt: skip


def catch_up(session: Session, user: User, memberships: Sequence[Membership], since: Mapping[str, int]) -> None:
    """Follow every log from the number that `since` gives for it, or else from its stored cursor."""
    chat, reader = session.chat, session.reader
    starts: list[tuple[Log, int, int | None]] = []
    for membership in memberships:
        log = chat.log(membership.log)
        label = f"@{fold(log.partner(user.key) or '')}" if log.channel is None else log.row.key
        given = since.get(label)
        after = membership.cursor if given is None else min(given, membership.log.tail)
        missed = chat.limits.missed if log.channel is not None else chat.limits.lag
        if given is None and log.tail - after > missed:
            to = log.tail - missed
            reader.reply(reader.gap(log, after, to))
            after = to
        starts.append((log, after, membership.cursor))
    reader.begin(starts)
    for log, _, _ in starts:
        if log.channel is not None and log not in user.joined:  # another connection has left it meanwhile
            reader.membership_ended(log)
    if not reader.dialect.acknowledges:
        chat.read_tracker.add(session)


def attach(session: Session, frame: Attach) -> Attached:
    """Be a further connection of a user who is connected. Raises Refused for a wrong token."""
    session.chat.rates.check(LOGINS, Origin("", session.network))
    user = session.chat.bearer(check_name(frame.name), frame.token)
    if user is None:
        raise Refused("not-allowed", WRONG_TOKEN)
    session.attach(user)
    return Attached(name=user.name, most=session.chat.limits.payload)
