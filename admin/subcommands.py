"""Floor 4: the table of subcommands; the server program finds a handler in it and makes its help from it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridge.acl import BROKERS
from wire.names import shorten

from .acl import print_rules
from .cert import make_certificate
from .check import check_data
from .migrate import migrate_store
from .status import print_status


@dataclass(frozen=True, slots=True)
class Subcommand:
    """One row: `usage` is the arguments in short, `help` one line, both for `server.py --help`.

    `run` takes the arguments after the subcommand's name, and the name of the program; it returns the exit status.
    """

    usage: str
    help: str
    run: Callable[[Sequence[str], str], int]


SUBCOMMANDS: dict[str, Subcommand] = {
    "acl": Subcommand("|".join(BROKERS), "print the access rules for another broker", print_rules),
    "cert": Subcommand("[HOST …]", "make or renew this site's certificate for TLS", make_certificate),
    "check": Subcommand("", "look for damage in the data folder", check_data),
    "migrate": Subcommand("FROM TO", "copy everything to another database", migrate_store),
    "status": Subcommand(
        "[HOST[:PORT]]", "ask a running server, and the others of its chat, how they are", print_status
    ),
}


def unknown_subcommand(name: str, program: str) -> str:
    """Return a sentence about a name that no subcommand has."""
    near = difflib.get_close_matches(name.lower(), SUBCOMMANDS, 1)
    hint = f"Did you mean {near[0]}?" if near else f"{program} --help lists them."
    return f"There is no subcommand {shorten(name)}. {hint}"
