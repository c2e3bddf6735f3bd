"""Floor 0: the three kinds of frames, and the types of their fields."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

Ref: TypeAlias = int | Annotated[str, Meta(max_length=64)] | None
# An id that begins with a slash is the server's own.
Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[^/]")] | None
Name: TypeAlias = str
Number: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # every JSON library keeps these exactly
Payload: TypeAlias = bytes


class Frame(msgspec.Struct, tag_field="op", omit_defaults=True):
    """One message of the protocol."""


class Request(Frame, kw_only=True):
    """A request of a client. The answer has the same `ref`."""

    ref: Ref = None


class Answer(Frame, kw_only=True):
    """The answer of the server to a request, with the request's `ref`."""

    ref: Ref = None
