"""Floor 2: what a connection may do before it has a name: few requests, few bytes, and few wrong names."""

from __future__ import annotations

from wire.errors import PeerError, Refused
from wire.limits import Limits


class LoginLimit:
    """Counts what one connection without a name does. The connection's own thread calls all methods.

    Each raises PeerError above a limit.
    """

    __slots__ = ("_bytes", "_limits", "_names", "_requests")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests = 0
        self._bytes = 0  # sent and received
        self._names = 0  # that broke the rule

    def take_request(self) -> None:
        """Count a request, before it is handled."""
        self._requests += 1
        if self._requests > self._limits.login_requests:
            raise _reached(f"make at most {self._limits.login_requests} requests")

    def take_bytes(self, count: int) -> None:
        """Count bytes that the peer has sent, or is about to be sent."""
        self._bytes += count
        if self._bytes > self._limits.login_bytes:
            raise _reached(f"send and receive at most {self._limits.login_bytes} bytes")

    def take_refusal(self, refused: Refused) -> None:
        """Count a name that breaks the rule."""
        self._names += refused.code == "bad-name"
        if self._names >= self._limits.name_tries:
            raise PeerError("bad-name", f"{refused.sentence} This was the last attempt.")


def _reached(what: str) -> PeerError:
    return PeerError("login-limit", f"Without a name, a connection may {what}.")
