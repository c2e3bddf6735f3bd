"""Floor 3: what stands behind a connection: one peer's side of the chat, in whichever protocol its first byte chose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from channels.chat import Chat
from channels.reader import Outlet
from store import Entries
from wire.errors import PeerError
from wire.limits import Limits


class Speaker(Protocol):
    """One peer's side of the chat. What is not marked otherwise is called by the connection's own thread."""

    @property
    def done(self) -> bool:
        """Nothing more is to be read from the peer."""

    @property
    def patience(self) -> float | None:
        """How many seconds the peer may be silent now; None for as long as it likes."""

    def receive(self, data: bytes) -> None:
        """Do what the bytes ask. Raises PeerError if nothing that comes can be understood any more."""

    def end(self) -> None:
        """The peer has said all that it has to say."""

    def overdue(self) -> PeerError:
        """What to tell a peer that was silent for longer than `patience`."""

    def fail(self, error: PeerError) -> None:
        """Tell the peer why the connection ends."""

    def dismiss(self) -> None:
        """Tell the peer that the server goes down."""

    def close(self) -> None:
        """The connection has ended: keep what is to be kept, and tell the others."""

    def parted(self) -> None:
        """After `close`, when the peer has ended its side, too, or has had its time to do so."""

    def hang_up(self) -> None:
        """Called by any thread: have the connection's own thread read nothing more and end it."""

    def walk(self, store: Entries, limits: Limits) -> None:
        """Called by the pump: send what the peer has not had yet."""

    def discard(self) -> None:
        """Called by any thread: send nothing more."""


Speak: TypeAlias = Callable[[Chat, Outlet, str], Speaker]
"""Makes the speaker of a connection, from the chat, the connection's outlet and the peer's IP address."""
