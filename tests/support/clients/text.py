"""A client of the text dialect."""

from __future__ import annotations

from tests.support.clients.connection import Connection


class Text(Connection):
    """A person's connection, like nc. `seen` is all that came; `expect` goes on where the last one found its line."""

    def __init__(self, address: str, name: str = "") -> None:
        """Connect; with a `name`, say it at once (without, the server greets after 0.3 s)."""
        super().__init__(address)
        self.seen = ""
        self._raw = b""
        self._at = 0
        if name:
            self.send(name)
            self.expect(f"Welcome, {name}")

    def send(self, *lines: str) -> None:
        """Type lines."""
        self.send_bytes("".join(f"{line}\n" for line in lines).encode())

    def expect(self, part: str) -> str:
        """The next whole line that contains `part`; what came before it is passed over."""
        while True:
            while (end := self.seen.find("\n", self._at)) >= 0:
                line, self._at = self.seen[self._at : end], end + 1
                if part in line:
                    return line
            self._more(repr(part))

    def _more(self, wanted: str) -> None:
        if self.ended:
            raise AssertionError(f"no {wanted} before the connection ended; it said {self.seen!r}")
        try:
            self._raw += self._receive()
        except TimeoutError:
            raise AssertionError(f"no {wanted} came in time; it said {self.seen!r}") from None
        whole = self._raw.rfind(b"\n") + 1
        self.seen += self._raw[:whole].decode()
        self._raw = self._raw[whole:]

    def until_closed(self) -> str:
        """All that came up to the end of the connection, from the start."""
        while not self.ended:
            self._more("end of the connection")
        return self.seen
