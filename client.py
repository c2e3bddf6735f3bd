"""Floor 4: the terminal client: options, wiring, start and stop. Nothing else.

With a terminal at both ends it is a screen for a person, otherwise a filter for scripts.
"""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":  # all that is imported takes a moment: until main() does better, a signal ends us silently
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, lambda number, _: os._exit(128 + number))

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from net import format_address
from terminal.files import DirectOptions, FileOptions
from terminal.links import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    Deliver,
    JsonLink,
    Link,
    parse_address,
    parse_url,
    tls_context,
)
from terminal.state import Credentials, State
from terminal.ui.script import Filter, ScriptOptions
from wire import VERSION
from wire.errors import LocalError, Refused
from wire.limits import Limits
from wire.names import check_name

_PATIENCE = 30.0  # seconds that a file waits on a screen for somebody who is there to fetch it directly
PROGRAM = "client.py"  # the name of the command, unless a package has given it another one
_EPILOG = """\
Without a terminal it reads commands line by line from stdin, prints what comes, and ends when everything it sent
has been answered: with 0, or with 1 if something was refused.

  echo 'lab: the kiln is hot' | {program} --name kiln
  {program} --name logger --listen < /dev/null >> chat.log

mqtt://[USER[:PASSWORD]@]HOST[:PORT][/ROOT] goes to a server, or to a broker that mirrors it, by MQTT (port 1883), and
mqtts:// by MQTT over TLS (port 8883): the same client, for where no other port can be reached. USER is your name. A
password on the command line can be seen by others on this machine. ROOT is the server's `root`, if that is not chat.

  {program} mqtt://bob@192.168.1.5
"""


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="The terminal client of Partyline, a chat server.",
        epilog=_EPILOG.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "address",
        nargs="?",
        default="",
        metavar="ADDRESS",
        help=f"the server: HOST[:PORT], or mqtt://HOST[:PORT] (default: {DEFAULT_HOST}:{DEFAULT_PORT})",
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
    parser.add_argument(
        "--ca", type=Path, metavar="FILE", help="for mqtts://: the certificate of the server, or of who vouches for it"
    )
    parser.add_argument("--version", action="version", version=f"partyline client {VERSION}")
    _add_file_options(parser)
    _add_script_options(parser)
    return parser


def _add_file_options(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument_group("files")
    files.add_argument(
        "--downloads",
        type=Path,
        default=Path(os.environ.get("PARTYLINE_DOWNLOADS", "downloads")),
        metavar="DIR",
        help="where /get puts files (default: PARTYLINE_DOWNLOADS, or downloads/)",
    )
    files.add_argument(
        "--largest",
        type=int,
        default=Limits().file_size,
        metavar="BYTES",
        help=f"the largest file that /get takes (default: {Limits().file_size}; 0: any)",
    )
    files.add_argument(
        "--direct",
        choices=("auto", "never"),
        default="auto",
        help="whether files may go straight from one client to the other, who then know each other's address",
    )
    files.add_argument(
        "--direct-port",
        type=_port,
        default=0,
        metavar="PORT",
        help="where to listen for who fetches a file from here (default: any free port)",
    )


def _add_script_options(parser: argparse.ArgumentParser) -> None:
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


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise ValueError
    return port


_port.__name__ = "port"
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


@dataclass(frozen=True, slots=True)
class _Server:
    """A server as a person names it, what its address says of the person, and how to make a link to it."""

    where: str
    make_link: Callable[[Deliver], Link]
    file_options: FileOptions
    name: str | None = None
    password: str | None = None


def _server(options: argparse.Namespace) -> _Server:
    broker = parse_url(options.address)
    if options.ca and (broker is None or not broker.tls):
        raise LocalError("--ca is for an address with mqtts://.")
    if broker is None:
        host, port = parse_address(options.address)
        direct = (
            DirectOptions(options.direct_port, _PATIENCE if _has_screen() else 0.0)
            if options.direct == "auto"
            else None
        )
        file_options = FileOptions(options.downloads, options.largest, host, port, direct)
        return _Server(format_address(host, port), partial(JsonLink, host, port), file_options)
    from terminal.links.mqtt.link import MqttLink  # not for a line without it: paho takes its time

    tls = tls_context(options.ca) if broker.tls else None
    file_options = FileOptions(options.downloads, options.largest)
    return _Server(str(broker), partial(MqttLink, broker, tls), file_options, broker.name, broker.password)


def _run(options: argparse.Namespace, program: str) -> int:
    server = _server(options)
    name, password = server.name or options.name, server.password
    if password is None:
        password = _password(options.password_file)
    direct = server.file_options.direct is not None
    credentials = Credentials(check_name(name) if name else None, password, direct=direct)
    if _has_screen():
        from terminal.ui.screen import Screen  # not for a filter: prompt_toolkit takes its time

        state = State(credentials, where=server.where, fetch_names=True)
        return asyncio.run(Screen(state, server.make_link, server.file_options).run())
    if not credentials.name:
        raise LocalError("Say who you are: --name NAME, or PARTYLINE_NAME.")
    script = ScriptOptions(json=options.json, listen=options.listen, patience=options.wait, program=program)
    return asyncio.run(
        Filter(State(credentials, where=server.where), server.make_link, server.file_options, script).run()
    )


def _has_screen() -> bool:
    streams = (sys.stdin, sys.stdout)
    return all(stream is not None and stream.isatty() for stream in streams) and os.environ.get("TERM") != "dumb"


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the client; the exit code is 2 if the options make no sense. `program` is the command's name in messages."""
    try:
        return _run(_parser(program).parse_args(arguments), program)
    except (LocalError, Refused) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before there was anybody to say goodbye
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
