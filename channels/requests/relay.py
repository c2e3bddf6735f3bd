"""Floor 2: requests about files whose bytes are at another server, at both ends: asked there, and answered there."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from store import Account
from wire.errors import Refused
from wire.frames import Answer, Error, Get, Ok, Ranges, Relay
from wire.names import check_name, fold

from ..files import AwayFiles
from ..rates import LOGINS, PAGES, Origin
from ..session import Session, State
from ..user import User

WRONG_TOKEN = "That token does not belong to that name."


def relay(session: Session, frame: Relay) -> Ok:
    """Answer another server about files for one of its users. Raises Refused for whoever is no such server."""
    secret = session.chat.servers.secret
    if not secret or not hmac.compare_digest(secret.encode(), frame.secret.encode()):
        session.chat.rates.check(LOGINS, Origin("", session.network))
        raise Refused("not-allowed", WRONG_TOKEN)
    name = check_name(frame.name)
    session.relay(User(Account(fold(name), name, None, 0), registered=False), frame.address)
    return Ok()


def where_it_is(
    handler: Callable[[Session, Any], Answer], *, reads: bool = False, also_away: bool = False
) -> Callable[[Session, Any], Answer]:
    """Return a handler that has a request about a file answered where its bytes are.

    `reads`: the request needs the bytes only, and no change of the file. `also_away`: it needs no byte, so this server
    can do it for one that is gone.
    """

    def handle(session: Session, request: Any) -> Answer:
        if not session.chat.files.site.several:
            return handler(session, request)
        try:
            return _answer(session, request, handler, reads=reads)
        except Refused as refused:
            if refused.code != "file-away":
                raise
        # The file may just have been adopted by a server, this one perhaps.
        if session.away is not None:
            session.away.forget(request.file)
        try:
            return _answer(session, request, handler, reads=reads)
        except Refused as refused:
            relayed = session.state is State.RELAYED
            if refused.code != "file-away" or not also_away or relayed or not _has_no_home(session, request.file):
                raise
            return handler(session, request)

    return handle


def _has_no_home(session: Session, file: str) -> bool:
    """Return True if the server that writes a file is gone."""
    row = session.chat.files.find(file, session.reader.user_key)
    return row.home not in (session.chat.files.site.here, *session.chat.files.site.others())


def _answer(session: Session, request: Any, handler: Callable[[Session, Any], Answer], *, reads: bool) -> Answer:
    if session.files.serves(request.file, reads=reads):
        return handler(session, request)
    departures = session.chat.files.departures
    known = session.away.known(request.file, departures) if session.away is not None else None
    if known is None:
        row, server = session.chat.files.locate(request.file, session.reader.user_key, reads=reads)
        if server is None:
            return handler(session, request)
        session.files.forget(request.file)
        if session.state is State.RELAYED:
            raise session.chat.files.site.moved(row)
        known = server, row.id
    if session.away is None:
        lines = session.chat.files.lines
        session.away = AwayFiles(lines, session.reader, session.holder.name, session.address)
    if isinstance(request, Get):
        session.reader.wait_for_room(0)
        session.reserve(min(request.length, session.chat.limits.chunk))
    answer = session.away.ask(*known, request, departures)
    if isinstance(answer, Error):
        raise Refused(answer.code, answer.error)
    if isinstance(answer, Ranges) and answer.parts:  # a long list, as in `transfers.have`
        session.reader.wait_for_page()
        session.check_rate(PAGES)
        session.reserve(session.chat.limits.folder_bytes)
    return answer
