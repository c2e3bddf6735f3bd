"""Floor 4: the outbox: every request that has not been answered, in the order in which it was made.

It survives the line: on a new one everything in it is sent again, in order. The server keeps a post with an `id`
once, and all other requests can be made twice without harm.
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
    """A request that waits for its answer; a `quiet` one is the client's own, and its answer is not shown."""

    request: Request
    quiet: bool


class Outbox:
    """Numbers requests and keeps them until they are answered."""

    def __init__(self, new_id: Callable[[], str] = lambda: uuid.uuid4().hex) -> None:
        self._new_id = new_id
        self._refs = itertools.count(1)
        self._asked: dict[Ref, Asked] = {}
        self._moves: dict[Ref, Join | Leave] = {}  # those of them that change where we are

    def new_ref(self) -> int:
        """A number that no other request of this client has."""
        return next(self._refs)

    def address(self, request: Request) -> Request:
        """The request with a `ref`, and a post also with an `id`, which it keeps however often it is sent."""
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
        """Let go of the request with that `ref`, if there is one."""
        self._moves.pop(ref, None)
        return self._asked.pop(ref, None)

    def moved(self, joined: dict[str, str]) -> dict[str, str]:
        """Channels, key to name, as they will be when everything has been answered."""
        for move in self._moves.values():
            name = joined.pop(fold(move.channel), move.channel)
            if isinstance(move, Join):
                joined[fold(name)] = name
        return joined

    def posts(self) -> list[Say | Msg]:
        """The posts that are not known to be stored."""
        return [asked.request for asked in self._asked.values() if isinstance(asked.request, Say | Msg)]

    def __iter__(self) -> Iterator[Request]:
        return iter([asked.request for asked in self._asked.values()])

    def __len__(self) -> int:
        return len(self._asked)


def _ref(request: Request) -> Ref:
    return getattr(request, "ref", None)
