"""Floor 4: the terminal client: options, wiring, start and stop. Nothing else.

With a terminal at both ends it is a screen for a person, otherwise a filter for scripts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from terminal.filter import Filter, Habits
from terminal.login import Login
from terminal.state import State
from wire import VERSION
from wire.errors import LocalError, Refused
from wire.names import check_name

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 7000

_EPILOG = """\
Without a terminal it reads commands line by line from stdin, prints what comes, and ends when everything it sent
has been answered: with 0, or with 1 if something was refused.

  echo 'lab: the kiln is hot' | client.py --name kiln
  client.py --name logger --listen < /dev/null >> chat.log
"""


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST`, `HOST:PORT`, `:PORT`, `[IPv6]`, `[IPv6]:PORT` or `IPv6`. Raises LocalError."""
    host, port = text, ""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise LocalError(f"{text!r} is no address: an IPv6 address with a port is written [::1]:{DEFAULT_PORT}.")
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise LocalError(f"{port!r} is no port: it is a number from 1 to 65535.")
    return host or DEFAULT_HOST, int(port or DEFAULT_PORT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="client.py",
        description="The terminal client of Partyline, a chat server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "address",
        nargs="?",
        default="",
        metavar="HOST[:PORT]",
        help=f"the server (default: {DEFAULT_HOST}:{DEFAULT_PORT})",
    )
    parser.add_argument(
        "--name", default=os.environ.get("PARTYLINE_NAME"), help="your name (default: PARTYLINE_NAME, or you are asked)"
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="its first line is your password (default: PARTYLINE_PASSWORD, or you are asked)",
    )
    parser.add_argument("--version", action="version", version=f"partyline client {VERSION}")
    scripts = parser.add_argument_group("without a terminal")
    scripts.add_argument("--json", action="store_true", help="print the frames as JSON lines")
    scripts.add_argument(
        "--listen",
        type=_seconds,
        nargs="?",
        default=0.0,
        const=None,
        metavar="SECONDS",
        help="stay on when all is done, and print what comes, for so long or until Ctrl-C",
    )
    scripts.add_argument(
        "--wait",
        type=_seconds,
        metavar="SECONDS",
        help="how long to try for a line (default: 10; once it listens, as long as it takes)",
    )
    return parser  # fmt: skip


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


_seconds.__name__ = "number of seconds"  # what argparse calls it


def _password(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get("PARTYLINE_PASSWORD")
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise LocalError(f"The password file {file} cannot be read: {reason}.") from None
    if not lines:
        raise LocalError(f"The password file {file} is empty.")
    return lines[0]


def _run(options: argparse.Namespace) -> int:
    host, port = parse_address(options.address)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    login = Login(check_name(options.name) if options.name else None, _password(options.password_file))
    if _has_screen():
        from terminal.screen import Screen  # not for a filter: prompt_toolkit takes its time

        return asyncio.run(Screen(State(login, where=where, curious=True), host, port).run())
    if not login.name:
        raise LocalError("Say who you are: --name NAME, or PARTYLINE_NAME.")
    habits = Habits(json=options.json, listen=options.listen, patience=options.wait)
    return asyncio.run(Filter(State(login, where=where), host, port, habits).run())


def _has_screen() -> bool:
    streams = (sys.stdin, sys.stdout)
    return all(stream is not None and stream.isatty() for stream in streams) and os.environ.get("TERM") != "dumb"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the client; the exit code is 2 if the options make no sense."""
    try:
        return _run(_parser().parse_args(arguments))
    except (LocalError, Refused) as error:
        print(f"client.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before there was anybody to say goodbye
        return 130


if __name__ == "__main__":
    sys.exit(main())
