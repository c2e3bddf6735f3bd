"""Floor 4: the credentials: name, password and token, and the question that the user must answer first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from wire.frames import Error, Hello, Ref, Welcome
from wire.names import check_name, fold

Question = Literal["name", "password"]

# The error codes of `hello` that an answer of the user can solve, and what to ask for.
_QUESTIONS: dict[str, Question] = {
    "need-password": "password",
    "wrong-password": "password",
    "name-taken": "name",
    "bad-name": "name",
}


class Credentials:
    """The content of `hello`. `question` is what the user must answer before the next one."""

    def __init__(self, name: str | None, password: str | None, *, direct: bool = False) -> None:
        """`direct`: this client fetches files directly from their senders."""
        self.name = name or ""
        self.question: Question | None = None if name else "name"
        self._password = password
        self._token: str | None = None
        self._direct = direct

    @property
    def token(self) -> str:
        """The server's token, which lets further connections in under our name; empty before the welcome."""
        return self._token or ""

    def hello(self, since: Mapping[str, int], ref: Ref) -> Hello:
        """Return the greeting for a new connection, or for another attempt after an answer."""
        return Hello(
            name=self.name,
            password=self._password,
            token=self._token,
            since=dict(since),
            direct=self._direct,
            ref=ref,
        )

    def welcome(self, frame: Welcome) -> None:
        """Take the name and the token from the server's welcome."""
        self.name, self._token, self.question = frame.name, frame.token, None

    def registered(self, password: str) -> None:
        """Keep the password of the name that was just registered, for the next connection."""
        self._password = password

    def refused(self, error: Error) -> Question | None:
        """Note why `hello` was refused. Return what to ask the user; None if no answer can help."""
        if error.code == "wrong-password":
            self._password = None
        self.question = _QUESTIONS.get(error.code)
        return self.question

    def answer(self, text: str) -> bool:
        """Take the user's answer to `question`. Return True if it changes the name.

        An empty password asks for another name instead. Raises Refused for an invalid name, and keeps the question.
        """
        if self.question == "password":
            self._password = text or None
            self.question = None if text else "name"
            return False
        name = check_name(text.strip(), "name")
        self.question = None
        renamed = bool(self.name) and fold(name) != fold(self.name)
        if renamed:
            self._token = self._password = None
        self.name = name
        return renamed
