"""Floor 4: a step: what the state wants displayed and sent next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from wire.frames import Cancel, Frame, GetFile, SendFile


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """A frame to display. `past` entries were posted while we were away; `mine` are our own."""

    frame: Frame
    past: bool = False
    mine: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence of the client itself, or with kind `unsent`, a typed line that is not sent yet."""

    text: str
    kind: Literal["client", "unsent"] = "client"


DisplayItem: TypeAlias = ShownFrame | Note


@dataclass(slots=True)
class Step:
    """The next actions, in this order: display `show`, send `send`; with `drop`, close the connection and reconnect.

    `files` are commands for the transfer manager; a Cancel that concerns the server comes back through `State.cancel`.
    """

    show: list[DisplayItem] = field(default_factory=list)
    send: list[Frame] = field(default_factory=list)
    drop: bool = False
    files: list[SendFile | GetFile | Cancel] = field(default_factory=list)
