"""Floor 2: the connection and the server: status, ping, help, goodbye, and what could not be parsed."""

from __future__ import annotations

from wire.frames import Bye, Closing, Error, Help, HelpText, Malformed, Ping, Pong, ServerStatus, Status
from wire.text import help_lines

from ..session import PARTING, Session


def status(session: Session, _frame: Status) -> ServerStatus:
    """Return the status of the server and of its broker."""
    return session.chat.status()


def ping(_session: Session, frame: Ping) -> Pong:
    """Return the same payload."""
    return Pong(payload=frame.payload)


def help(_session: Session, frame: Help) -> HelpText:
    """Return the help of the text dialect's commands."""
    return HelpText(lines=help_lines(frame.command))


def bye(session: Session, frame: Bye) -> None:
    """Say goodbye, and read nothing more."""
    session.done = True
    session.note_read()
    session.reader.reply(Closing(reason="Goodbye.", ref=frame.ref))
    session.reader.wait_for_room(0, PARTING)


def malformed(_session: Session, frame: Malformed) -> Error:
    """Return the error of something that is not a frame."""
    return Error(code=frame.code, error=frame.error)
