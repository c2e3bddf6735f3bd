"""Floor 0: the frames that are never on the wire: what dialects and the client hand on inside of one program."""

from __future__ import annotations

from .base import Answer, Frame, Name, Request


class Line(Request, tag="line"):
    """A line of the text dialect that is not a command. The session decides which channel it is for."""

    text: str


class Names(Request, tag="names"):
    """`/names`: `who` for the named channel, or for the current one. The session or the client knows which that is."""

    channel: Name = ""
    limit: int = 1_000


class Query(Request, tag="query"):
    """`/query`: what is typed goes to `user` from now on, beginning with `text`; without a user, to the channel again.

    It is about one connection of the text dialect, or about one client; other peers name the user in each request.
    """

    user: Name = ""
    text: str = ""


class Recipient(Answer, tag="recipient", kw_only=True):
    """What is typed goes to `user` from now on, who has never connected if it is not `known`, or else to `channel`."""

    user: Name = ""
    known: bool = True
    channel: Name = ""


class Malformed(Request, tag="malformed"):
    """Input that is not a frame. The session answers with the error."""

    code: str
    error: str


class Prompt(Frame, tag="prompt"):
    """A question of the text dialect."""

    text: str


class SendFile(Request, tag="send-file", kw_only=True):
    """`/send`: the client translates it into the frames of files.

    `unseen`: also to a user who has never connected.
    """

    to: str
    path: str
    direct: bool = False
    unseen: bool = False


class GetFile(Request, tag="get-file", kw_only=True):
    """`/get`: the client translates it into the frames of files."""

    file: str
    folder: str = ""
