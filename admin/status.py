"""Floor 4: `server.py status`: ask a running server how it is, and the others of its chat."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from net import (
    NetError,
    ask,
    client_context,
    format_address,
    parse_address,
    print_error,
    print_out,
    reason,
    unverified_context,
)
from wire.errors import LocalError
from wire.frames import Closing, Error, Frame, ServerStatus, Status
from wire.jsonlines import JsonLines
from wire.text import render

_HOST, _PORT = "127.0.0.1", 7000
_TLS = "tls://"
_SECONDS = 5.0  # for each wait
_MOST = 1 << 20  # bytes of the answer
_NO_ANSWER = (
    "gives no answer. It is no Partyline server, or one that takes connections from this machine only through a proxy"
    " (`proxies` in its config); then ask the proxy."
)


class _Where(msgspec.Struct):
    """The settings of the config file that say where the server listens."""

    host: str = _HOST
    port: int = _PORT


def print_status(arguments: Sequence[str], program: str) -> int:
    """Print the status of a server. Return the exit status: 1 if none answers, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(
        prog=f"{program} status",
        description="Ask a running server for its version and counts, for its connection to another broker, and for "
        "the servers that are one chat with it. It needs no name. The exit status is 1 if no server answers.",
    )
    parser.add_argument(
        "server",
        nargs="?",
        metavar="[tls://]HOST[:PORT]",
        help=f"where the server listens (default: as the config file says, else {_HOST}:{_PORT})",
    )
    parser.add_argument("--config", metavar="FILE", help="the server's config file")
    parser.add_argument("--ca", metavar="FILE", help="PEM file of the authority that signed the server's certificate")
    parser.add_argument("--json", action="store_true", help="print the answer as one JSON object")
    options = parser.parse_args(arguments)
    try:
        host, port, encrypted = _place(options.server, options.config)
        status = _ask(host, port, options.ca, encrypted=encrypted or options.ca is not None)
    except (LocalError, NetError) as error:
        print_error(f"{program} status: {error}")
        return 1
    print_out(msgspec.json.encode(status).decode() if options.json else "\n".join(_lines(status)))
    return 0


def _lines(status: ServerStatus) -> list[str]:
    """Return what `/status` shows, without the marks of a conversation."""
    return [line.removeprefix("* ") for line in render(status)]


def _place(given: str | None, config: str | None) -> tuple[str, int, bool]:
    """Return host and port of the server, and True for TLS."""
    where = _read(config) if config is not None else _Where()
    text = given or ""
    host, port = parse_address(text.removeprefix(_TLS), where.host, where.port)
    if host in ("0.0.0.0", "::"):
        host = _HOST if host == "0.0.0.0" else "::1"
    return host, port, text.startswith(_TLS)


def _read(file: str) -> _Where:
    try:
        return msgspec.yaml.decode(Path(file).read_bytes(), type=_Where)
    except OSError as error:
        raise LocalError(f"Cannot read the config file {file}: {error.strerror}.") from error
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise LocalError(f"The config file {file} is wrong: {' '.join(str(error).split())}.") from error


def _ask(host: str, port: int, ca: str | None, *, encrypted: bool) -> ServerStatus:
    """Return the server's answer; in TLS if it asks for that. Raises LocalError and NetError."""
    # Nothing secret is sent, so that without an authority any certificate will do.
    context = client_context(ca) if ca is not None else unverified_context()
    answer = _answer(host, port, context if encrypted else None)
    if isinstance(answer, Error) and answer.code == "tls-required":
        answer = _answer(host, port, context)
    if isinstance(answer, ServerStatus):
        return answer
    where = format_address(host, port)
    said = answer.error if isinstance(answer, Error) else answer.reason if isinstance(answer, Closing) else ""
    raise LocalError(f"{where} refuses: {said}" if said else f"{where} {_NO_ANSWER}")


def _answer(host: str, port: int, context: ssl.SSLContext | None) -> Frame | None:
    """Return the first frame that answers, or that ends the connection; None if there is none."""
    # The greeting of a person may come first, and is no frame.
    lines, size = JsonLines(client=True), 0
    try:
        with closing(ask(host, port, JsonLines.encode(Status(ref=1)), _SECONDS, context)) as pieces:
            for data in pieces:
                for frame in lines.receive(data):
                    if isinstance(frame, ServerStatus | Error | Closing):
                        return frame
                size += len(data)
                if size > _MOST:
                    break
    except (ConnectionResetError, BrokenPipeError):
        return None  # it was connected
    except TimeoutError as error:
        raise LocalError(
            f"No server answers at {format_address(host, port)}: nothing came within {_SECONDS:g} seconds."
        ) from error
    except (OSError, UnicodeError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise LocalError(f"No server answers at {format_address(host, port)}: {why}.") from error
    return None
