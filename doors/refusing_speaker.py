"""Floor 3: the speaker for peers of protocols that the server does not speak: one answer, and the end."""

from __future__ import annotations

from channels import Chat, Outlet, SessionReport
from store import Entries
from wire.errors import PeerError
from wire.frames import Error
from wire.limits import Limits
from wire.other_protocols import (
    PROXY_ANSWER,
    PROXY_SENTENCE,
    TLS_ANSWER,
    TLS_SENTENCE,
    UNKNOWN_SENTENCE,
    WrongProtocol,
)
from wire.proxy_protocol import SIGNATURE_2
from wire.text import TextLines


class RefusingSpeaker:
    """A speaker (see speaker.py) that reads nothing."""

    __slots__ = ("_outlet", "_refusal", "_report")

    done = False
    patience: float | None = 0.0

    def __init__(self, outlet: Outlet, report: SessionReport, refusal: WrongProtocol) -> None:
        self._outlet = outlet
        self._report = report
        self._refusal = refusal

    def receive(self, data: bytes) -> None:
        """Refuse. Raises WrongProtocol."""
        if data.startswith(SIGNATURE_2):
            self._refusal = WrongProtocol("PROXY", PROXY_SENTENCE, PROXY_ANSWER)
        raise self._refusal

    def input_ended(self) -> None:
        """No-op: `receive` comes first, and fails."""

    def overdue(self) -> PeerError:
        """Return the refusal."""
        return self._refusal

    def fail(self, error: PeerError) -> None:
        """Send the answer."""
        self._outlet.transmit(self._refusal.answer)

    def refuse(self, data: bytes, error: PeerError) -> None:
        """Tell the operator why the peer is turned away, and send the answer: the peer understands no other one."""
        self._report.cut_off(error)
        self.fail(error)

    def dismiss(self) -> None:
        """No-op: the peer has had its answer."""

    def close(self) -> None:
        """No-op: nothing is kept."""

    def note_last_read(self) -> None:
        """No-op: nothing is kept."""

    def hang_up(self) -> None:
        """No-op: the connection ends by itself."""

    def walk(self, store: Entries, limits: Limits) -> None:
        """No-op: nothing waits."""

    def stop_sending(self) -> None:
        """No-op: nothing waits."""


def refuse_tls(_chat: Chat, outlet: Outlet, report: SessionReport) -> RefusingSpeaker:
    """Return the speaker for a peer that begins with TLS, if the server has no certificate."""
    return RefusingSpeaker(outlet, report, WrongProtocol("TLS", TLS_SENTENCE, TLS_ANSWER))


def refuse_unknown(_chat: Chat, outlet: Outlet, report: SessionReport) -> RefusingSpeaker:
    """Return the speaker for a peer whose first byte begins nothing that the server speaks."""
    answer = TextLines.encode(Error(code="wrong-protocol", error=UNKNOWN_SENTENCE))
    return RefusingSpeaker(outlet, report, WrongProtocol("unknown", UNKNOWN_SENTENCE, answer))
