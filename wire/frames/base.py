"""Floor 0: what all frames have in common: the three kinds, and the types of their fields."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

Ref: TypeAlias = int | Annotated[str, Meta(max_length=64)] | None
# One that begins with a slash is the server's own.
Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[^/]")] | None
Name: TypeAlias = str
Number: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # what every JSON library keeps whole
Payload: TypeAlias = bytes


class Frame(msgspec.Struct, tag_field="op", omit_defaults=True):
    """One message of the protocol."""


class Request(Frame, kw_only=True):
    """What a client may ask; `ref` comes back in the answer."""

    ref: Ref = None


class Answer(Frame, kw_only=True):
    """What the server answers to a request, with the request's `ref`."""

    ref: Ref = None
