"""Floor 4: what the client's state hands to whoever shows it: frames and notes to show, frames to send."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from wire.frames import Cancel, Frame, GetFile, SendFile


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """A frame to show. `past` entries were said while we were away; `mine` are our own."""

    frame: Frame
    past: bool = False
    mine: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence of the client's own: about the `line` to the server, or about something typed that is `waiting`."""

    text: str
    kind: Literal["line", "waiting"] = "line"


DisplayItem: TypeAlias = ShownFrame | Note


@dataclass(slots=True)
class Step:
    """What is to be done now, in this order: show, then send; then `drop` the line, if set, and dial again.

    `files` is for the transfer manager; what it has no use for comes back by `State.ask`.
    """

    show: list[DisplayItem] = field(default_factory=list)
    send: list[Frame] = field(default_factory=list)
    drop: bool = False
    files: list[SendFile | GetFile | Cancel] = field(default_factory=list)
