"""Floor 1: make a call of the store again after a conflict with another transaction."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from ..contract import StoreError

_TIMES = 5  # that a call is made

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Conflict(StoreError):
    """Another transaction was in the way, and nothing was changed: the same call may succeed now."""


def again(call: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return a call that is made again after a Conflict, some times. It must do nothing but one transaction."""

    @wraps(call)
    def calling(*arguments: _P.args, **named: _P.kwargs) -> _T:
        for _ in range(_TIMES - 1):
            try:
                return call(*arguments, **named)
            except Conflict:
                continue
        return call(*arguments, **named)

    return calling
