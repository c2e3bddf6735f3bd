"""Floor 4: the outbox: every request without an answer, in the order in which it was made.

It survives a lost connection: the client sends everything in it again on the next one, in order. The server stores a
post with an `id` once, and all other requests do no harm twice.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from wire.frames import Join, Leave, Msg, Ref, Request, Say
from wire.names import fold


@dataclass(frozen=True, slots=True)
class Asked:
    """A request without an answer. A `quiet` one is the client's own; its answer is not displayed."""

    request: Request
    quiet: bool


class Outbox:
    """Numbers requests and keeps them until they are answered."""

    def __init__(self, new_id: Callable[[], str] = lambda: uuid.uuid4().hex) -> None:
        self._new_id = new_id
        self._refs = itertools.count(1)
        self._asked: dict[Ref, Asked] = {}
        self._moves: dict[Ref, Join | Leave] = {}  # joins and leaves among them

    def new_ref(self) -> int:
        """Return a number that no other request of this client has."""
        return next(self._refs)

    def address(self, request: Request) -> Request:
        """Return the request with a `ref`; a post also gets an `id`, which it keeps however often it is sent."""
        ref = self.new_ref()
        if isinstance(request, Say | Msg):
            return msgspec.structs.replace(request, ref=ref, id=self._new_id())
        return msgspec.structs.replace(request, ref=ref)

    def keep(self, request: Request, *, quiet: bool = False) -> None:
        """Keep an addressed request until it is answered."""
        self._asked[_ref(request)] = Asked(request, quiet)
        if isinstance(request, Join | Leave):
            self._moves[request.ref] = request

    def answered(self, ref: Ref) -> Asked | None:
        """Remove and return the request with that `ref`; None if no request has it."""
        self._moves.pop(ref, None)
        return self._asked.pop(ref, None)

    def after_moves(self, joined: dict[str, str]) -> dict[str, str]:
        """Return the channels, key to name, that follow from `joined` and the joins and leaves in the outbox."""
        for move in self._moves.values():
            name = joined.pop(fold(move.channel), move.channel)
            if isinstance(move, Join):
                joined[fold(name)] = name
        return joined

    def posts(self) -> list[Say | Msg]:
        """Return the posts that are not known to be stored."""
        return [asked.request for asked in self._asked.values() if isinstance(asked.request, Say | Msg)]

    def __iter__(self) -> Iterator[Request]:
        return iter([asked.request for asked in self._asked.values()])

    def __len__(self) -> int:
        return len(self._asked)


def _ref(request: Request) -> Ref:
    return getattr(request, "ref", None)
