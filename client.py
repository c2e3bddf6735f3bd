"""Floor 4: the terminal client: options, wiring, start and stop.

If stdin and stdout are a terminal it is a screen for a person, otherwise a filter for scripts.
"""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":  # the imports take a moment; a signal meanwhile ends the program silently
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, lambda number, _: os._exit(128 + number))

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from net import flush_standard_streams, is_loopback, print_error
from terminal.files import DirectOptions, FileOptions, JsonFileConnections, MqttFileConnections, OpenConnection
from terminal.links import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    Deliver,
    Endpoint,
    JsonAddress,
    JsonLink,
    Link,
    MqttAddress,
    known_hosts,
    parse_server,
    trusting_contexts,
)
from terminal.state import Credentials, State
from terminal.ui.script import Filter, ScriptOptions
from wire import VERSION
from wire.errors import LocalError, Refused
from wire.limits import Limits
from wire.names import check_name

_PATIENCE = 30.0  # seconds that a file of the screen waits for its receiver to fetch it directly
PROGRAM = "client.py"  # the name of the command, unless a package has given it another one
_EPILOG = """\
Without a terminal, the client reads commands from stdin, one a line, and prints what comes. It ends when every
command is answered. The exit code is 0, or 1 if a command was refused or a message could not be sent.

  echo 'lab: the kiln is hot' | {program} --name kiln
  {program} --name logger --listen < /dev/null >> chat.log

tls://HOST[:PORT] connects encrypted. If nobody vouches for the server's certificate, a person is asked once whether to
trust it; a script needs --ca or --trust.

  {program} tls://192.168.1.5 --ca ca.pem

mqtt://[USER[:PASSWORD]@]HOST[:PORT][/ROOT] connects by MQTT (port 1883), mqtts:// by MQTT over TLS (port 8883): to a
Partyline server, or to a broker that mirrors one. USER is your name. Other users of this machine can see a password on
the command line. ROOT is the server's topic root, if it is not chat.

  {program} mqtt://bob@192.168.1.5

HOST[:PORT],HOST2[:PORT],… are servers of one chat, also after tls://, mqtt:// and mqtts://. The client connects to the
first one that answers. When it loses that one, it goes on to the next, with everything that is not sent yet.

  {program} tls://chat1.lan,chat2.lan:7001
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
        help="the server: HOST[:PORT], tls://HOST[:PORT] or mqtt://HOST[:PORT]; several servers of one chat: "
        f"HOST[:PORT],HOST2[:PORT] (default: {DEFAULT_HOST}:{DEFAULT_PORT})",
    )
    parser.add_argument(
        "--name",
        default=os.environ.get("PARTYLINE_NAME"),
        help="your name (default: $PARTYLINE_NAME; the screen asks for it)",
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="read your password from the first line (default: $PARTYLINE_PASSWORD; the screen asks for it)",
    )
    parser.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help="for tls:// and mqtts://: certificates of authorities to trust, in PEM format",
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="SHA256",
        help="for tls:// and mqtts://: trust the server's certificate, which has this SHA-256, from now on; "
        "may be repeated for several servers",
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
        help="folder for files from /get (default: $PARTYLINE_DOWNLOADS or downloads/)",
    )
    files.add_argument(
        "--largest",
        type=int,
        default=Limits().file_size,
        metavar="BYTES",
        help=f"largest file in bytes that /get accepts (default: {Limits().file_size}; 0: any)",
    )
    files.add_argument(
        "--direct",
        choices=("auto", "never"),
        default="auto",
        help="auto: files may go directly between clients, which shows each the other's address; never: they do not",
    )
    files.add_argument(
        "--direct-port",
        type=_port,
        default=0,
        metavar="PORT",
        help="port on which others fetch files directly from here (default: any free port)",
    )


def _add_script_options(parser: argparse.ArgumentParser) -> None:
    scripts = parser.add_argument_group("without a terminal")
    scripts.add_argument("--json", action="store_true", help="print frames as JSON lines")
    scripts.add_argument(
        "--listen",
        type=_seconds,
        nargs="?",
        default=0.0,
        const=None,
        metavar="SECONDS",
        help="after the last answer, stay and print what comes, for SECONDS or until Ctrl-C",
    )
    scripts.add_argument(
        "--wait",
        type=_seconds,
        metavar="SECONDS",
        help="give up after SECONDS without a connection (default: 10 for the first, 30 after a lost one; "
        "with --listen, only for the first)",
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
_seconds.__name__ = "number of seconds"  # argparse puts it into its error message


def _password(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get("PARTYLINE_PASSWORD")
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise LocalError(f"Cannot read the password file {file}: {reason}.") from None
    if not lines:
        raise LocalError(f"The password file {file} is empty.")
    return lines[0]


@dataclass(frozen=True, slots=True)
class _Servers:
    """The servers as the user names them, the link and file connections to them, and what else the address says."""

    names: Sequence[str]
    make_link: Callable[[Deliver], Link]
    open_connection: OpenConnection
    file_options: FileOptions
    name: str | None = None
    password: str | None = None


def _servers(options: argparse.Namespace) -> _Servers:
    address = parse_server(options.address)
    for option in ("ca", "trust"):
        if getattr(options, option) and not address.tls:
            raise LocalError(f"--{option} needs an address that begins with tls:// or mqtts://.")
    endpoints = _endpoints(options, address)
    if isinstance(address, MqttAddress):
        return _over_mqtt(options, address, endpoints)
    return _over_json(options, address, endpoints)


def _endpoints(options: argparse.Namespace, address: JsonAddress | MqttAddress) -> list[Endpoint]:
    """Return the servers of an address. Raises LocalError if the certificate of one is not trusted."""
    if not address.tls:
        named = zip(address.places, address.names(), strict=True)
        return [Endpoint(*place, None, name, exposed=not is_loopback(place[0])) for place, name in named]
    ask = _agreed if _has_screen() else None
    contexts = trusting_contexts(address.places, known_hosts(), ca=options.ca, trust=options.trust, ask=ask)
    trusted = zip(address.places, contexts, address.names(), strict=True)
    return [Endpoint(*place, context, name) for place, context, name in trusted]


def _over_json(options: argparse.Namespace, address: JsonAddress, endpoints: Sequence[Endpoint]) -> _Servers:
    direct = (
        DirectOptions(options.direct_port, _PATIENCE if _has_screen() else 0.0) if options.direct == "auto" else None
    )
    connections = JsonFileConnections()
    return _Servers(
        address.names(),
        partial(connections.make_link, partial(JsonLink, endpoints)),
        connections.open,
        FileOptions(options.downloads, options.largest, direct),
    )


def _over_mqtt(options: argparse.Namespace, address: MqttAddress, endpoints: Sequence[Endpoint]) -> _Servers:
    from terminal.links.mqtt import MqttLink  # only here, because importing paho takes time

    connections = MqttFileConnections()
    return _Servers(
        address.names(),
        partial(connections.make_link, partial(MqttLink, endpoints, address.root)),
        connections.open,
        FileOptions(options.downloads, options.largest),
        address.name,
        address.password,
    )


def _agreed(question: str) -> bool:
    """Ask on the terminal, before the screen is there."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _run(options: argparse.Namespace, program: str) -> int:
    servers = _servers(options)
    name, password = servers.name or options.name, servers.password
    if password is None:
        password = _password(options.password_file)
    direct = servers.file_options.direct is not None
    credentials = Credentials(check_name(name) if name else None, password, direct=direct)
    if _has_screen():
        from terminal.ui.screen import Screen  # only here, because importing prompt_toolkit takes time

        state = State(credentials, fetch_names=True, asks=True)
        return asyncio.run(Screen(state, servers.make_link, servers.open_connection, servers.file_options).run())
    if not credentials.name:
        raise LocalError("Your name is missing: give --name NAME or set PARTYLINE_NAME.")
    script = ScriptOptions(
        json=options.json, listen=options.listen, patience=options.wait, program=program, servers=servers.names
    )
    return asyncio.run(
        Filter(State(credentials), servers.make_link, servers.open_connection, servers.file_options, script).run()
    )


def _has_screen() -> bool:
    streams = (sys.stdin, sys.stdout)
    return all(stream is not None and stream.isatty() for stream in streams) and os.environ.get("TERM") != "dumb"


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the client and return its exit code; 2 means wrong options. `program` is the command's name in messages."""
    try:
        options = _parser(program).parse_args(arguments)
        return _run(options, program)
    except (LocalError, Refused) as error:
        print_error(f"{program}: {error}")
        return 2
    except KeyboardInterrupt:  # before the connection was open
        return 130
    finally:
        flush_standard_streams()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
