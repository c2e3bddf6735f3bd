"""Floor 3: a speaker: the server's side of one protocol on one connection.

The connection's thread calls `receive` for all input; then `input_ended` if the peer has ended its side, `fail` after
an error (`overdue` returns that of a silent peer), `dismiss` if the server goes down; then always `close`; and last,
unless the connection is broken, `note_last_read`. Any thread calls `hang_up` to end the input, `stop_sending` to cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from channels import Chat, Outlet, SessionReport
from store import Entries
from wire.errors import PeerError
from wire.frames import Closing
from wire.limits import Limits
from wire.other_protocols import begins_text, without_whitespace


class Speaker(Protocol):
    """One peer's protocol. The connection's own thread calls every method that does not name another thread."""

    @property
    def done(self) -> bool:
        """True if nothing more is to be read from the peer."""

    @property
    def patience(self) -> float | None:
        """The seconds that the peer may be silent from now on; None for any time."""

    def receive(self, data: bytes) -> None:
        """Do what the bytes ask. Raises PeerError if nothing that comes after them can be understood."""

    def input_ended(self) -> None:
        """Finish: the peer has ended its side."""

    def overdue(self) -> PeerError:
        """Return the error for a peer that was silent for longer than `patience`."""

    def fail(self, error: PeerError) -> None:
        """Tell the peer and the operator why the connection ends."""

    def refuse(self, data: bytes, error: PeerError) -> None:
        """Tell the peer and the operator why the peer is turned away, by the code of `error`.

        `data`, the peer's first bytes, is not received: it only shows the version.
        """

    def dismiss(self) -> None:
        """Tell the peer that the server goes down, without blocking. Called by any thread, once."""

    def close(self) -> None:
        """Store what is to be kept, and tell the other users. Called once, when the connection has ended."""

    def note_last_read(self) -> None:
        """Store what the peer's machine has acknowledged in the end. Called once, after `close`.

        The peer has ended its side by then, or has had its time to do so.
        """

    def hang_up(self) -> None:
        """Have the connection's own thread read nothing more and end the connection. Called by any thread."""

    def walk(self, store: Entries, limits: Limits) -> None:
        """Send the peer what it has not had yet. Called by the write pump."""

    def stop_sending(self) -> None:
        """Send nothing more. Called by any thread."""


SpeakerFactory: TypeAlias = Callable[[Chat, Outlet, SessionReport], Speaker]
"""Makes the speaker of a connection, from the chat, the connection's outlet and its report, of unknown protocol yet."""


@dataclass(frozen=True, slots=True)
class Speakers:
    """The protocols of one port: the first byte that a peer sends chooses one.

    `text` is for what a person may type, and for a peer that sends nothing in the time to log in; `unknown` is for any
    other first byte. `greeting` is sent to a peer that is silent for a moment, and so may be a person; empty on a port
    that devices connect to. `refusal` encodes why a peer is turned away before its first byte; None if the port has no
    form for that. `tls_only`: the port takes no peer without TLS.
    """

    by_first_byte: Mapping[bytes, SpeakerFactory]
    text: SpeakerFactory
    unknown: SpeakerFactory
    greeting: bytes = b""
    refusal: Callable[[Closing], bytes] | None = None
    tls_only: bool = False

    def choose(self, first: bytes) -> SpeakerFactory:
        """Return the factory for a peer whose first bytes are `first`, which may be empty."""
        chosen = self.by_first_byte.get(without_whitespace(first)[:1])
        return chosen or (self.text if begins_text(first) else self.unknown)
