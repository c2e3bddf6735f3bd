"""Floor 0: the frames that are never on the wire: what dialects and the client hand on inside of one program."""

from __future__ import annotations

from .base import Frame, Request


class Line(Request, tag="line"):
    """A line of the text dialect that is not a command. The session decides which channel it is for."""

    text: str


class Malformed(Request, tag="malformed"):
    """Input that is not a frame. The session answers with the error."""

    code: str
    error: str


class Prompt(Frame, tag="prompt"):
    """A question of the text dialect's login."""

    text: str


class SendFile(Request, tag="send-file", kw_only=True):
    """`/send`: the client translates it into the frames of files."""

    to: str
    path: str
    direct: bool = False


class GetFile(Request, tag="get-file", kw_only=True):
    """`/get`: the client translates it into the frames of files."""

    file: str
    folder: str = ""
