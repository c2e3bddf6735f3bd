"""Floor 2: what one connection adds to the operator's log: its login, its end, and each kind of mistake once."""

from __future__ import annotations

from collections.abc import Callable

from reporting import events, report
from wire.errors import LIMIT_CODES, PeerError, Refused

from .passwords import PasswordDelayed


class SessionReport:
    """Reports the events of one connection. Its own thread calls every method that does not name another thread.

    `address` is the peer's IP address; for a client of another broker, the broker's `host:port`. `protocol` is text,
    json, mqtt-3.1.1, mqtt-5, embedded or broker, and unknown until the peer has shown it. `client` is the client id of
    MQTT. `encrypted` is True with TLS. `user` is the name of the user who has logged in, or else the last one that the
    peer has tried.
    """

    __slots__ = ("_is_server", "_told", "address", "client", "encrypted", "protocol", "user")

    def __init__(
        self, address: str, protocol: str = "unknown", *, encrypted: bool = False,
        is_server: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """`is_server` is called once the peer has shown that it is another server."""
        self.address = address
        self.protocol = protocol
        self.client = ""
        self.encrypted = encrypted
        self.user = ""
        self._is_server = is_server
        self._told: set[tuple[str, str]] = set()  # kinds of mistakes that the log has

    def logged_in(self, user: str, *, registered: bool | None = None) -> None:
        """The peer has logged in. `registered` is None if that is not known."""
        self.user = user
        report(events.LoggedIn(self.address, user, self.protocol, self.encrypted, registered, self.client))

    def is_server(self) -> None:
        """The peer is another server: the door counts it no longer for its address."""
        self._is_server()

    def logged_out(self) -> None:
        """The connection of a user has ended."""
        report(events.LoggedOut(self.address, self.user, self.protocol))

    def taken_over(self, by: str) -> None:
        """A new connection from the address `by` has taken over. Called by the new connection's thread."""
        report(events.TakenOver(by, self.user, self.address))

    def registered(self) -> None:
        """The user has set a password."""
        report(events.Registered(self.address, self.user, self.protocol))

    def wrong_password(self, user: str) -> None:
        """A password was wrong for that name."""
        self.user = user
        report(events.WrongPassword(self.address, user, self.protocol))

    def password_delayed(self, user: str, seconds: float) -> None:
        """A password for that name has to wait."""
        self.user = user
        report(events.PasswordDelayed(self.address, user, self.protocol, seconds))

    def refused_password(self, user: str, refused: Refused) -> None:
        """A password for that name was refused: it was wrong, has to wait, or could not be checked."""
        if isinstance(refused, PasswordDelayed):
            self.password_delayed(user, refused.seconds)
        else:
            self.refused_login(user, refused.code, refused.sentence)

    def refused_login(self, user: str, code: str, detail: str) -> None:
        """A login was refused; `code` is an error code."""
        if code == "wrong-password":
            self.wrong_password(user)
            return
        self.user = user
        report(events.RefusedLogin(self.address, user, self.protocol, code, detail))

    def refused_will(self, user: str, detail: str) -> None:
        """An MQTT client wanted a will that it may not have."""
        self.user = user
        report(events.RefusedWill(self.address, user, self.protocol, detail))

    def refused(self, request: str, code: str, detail: str) -> None:
        """A request was refused; `code` is an error code. Only limits and missing rights are for the log, each once."""
        if code in LIMIT_CODES and self._is_new(code, request):
            report(events.LimitReached(self.address, self.user, self.protocol, code, detail))
        elif code == "not-allowed" and self._is_new("request", request):
            report(events.RefusedRequest(self.address, self.user, self.protocol, request, detail))

    def limit_reached(self, limit: str) -> None:
        """The peer has reached the limit of that name in the config. Reported once."""
        if self._is_new("limit", limit):
            report(events.LimitReached(self.address, self.user, self.protocol, limit))

    def store_failed(self, error: str) -> None:
        """The store could not answer a request. Reported once."""
        if self._is_new("store", error):
            report(events.StoreProblem(error, "A request was refused."))

    def cut_off(self, error: PeerError) -> None:
        """The server ends the connection because of an error."""
        report(events.CutOff(self.address, self.user, self.protocol, error.code, error.sentence))

    def _is_new(self, kind: str, name: str) -> bool:
        if (kind, name) in self._told:
            return False
        self._told.add((kind, name))
        return True
