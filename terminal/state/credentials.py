"""Floor 4: who we say that we are: the name, its password or token, and what a person has to be asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from wire.frames import Error, Hello, Ref, Welcome
from wire.names import check_name, fold

Question = Literal["name", "password"]

# What is wrong with a `hello`, and what a person has to be asked for then.
_QUESTIONS: dict[str, Question] = {
    "need-password": "password",
    "wrong-password": "password",
    "name-taken": "name",
    "bad-name": "name",
}


class Credentials:
    """What `hello` says. `question` is what a person must answer first; `complaint` is the server's sentence to it."""

    def __init__(self, name: str | None, password: str | None, *, direct: bool = False) -> None:
        """`direct`: we fetch files straight from their senders."""
        self.name = name or ""
        self.question: Question | None = None if name else "name"
        self.complaint = ""
        self._password = password
        self._token: str | None = None
        self._direct = direct

    @property
    def token(self) -> str:
        """Who has it may open further lines under our name; empty if there is none."""
        return self._token or ""

    def hello(self, since: Mapping[str, int], ref: Ref) -> Hello:
        """The greeting for a new line, or after another answer."""
        return Hello(
            name=self.name,
            password=self._password,
            token=self._token,
            since=dict(since),
            direct=self._direct,
            ref=ref,
        )

    def welcome(self, frame: Welcome) -> None:
        """We were let in."""
        self.name, self._token, self.question, self.complaint = frame.name, frame.token, None, ""

    def registered(self, password: str) -> None:
        """The name takes this password from now on; the next line needs it."""
        self._password = password

    def refused(self, error: Error) -> Question | None:
        """We were not let in. What a person has to be asked, if that can help."""
        if error.code == "wrong-password":
            self._password = None
        self.complaint = error.error
        self.question = _QUESTIONS.get(error.code)
        return self.question

    def answer(self, text: str) -> bool:
        """The answer to `question`; whether we are somebody else now. Raises Refused, and asks on.

        An empty password means: rather another name.
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
