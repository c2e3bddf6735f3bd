"""Floor 4: `server.py acl`: print the access rules for another broker."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bridge.acl import BROKERS, NEED_CLIENTS, SERVER_USER, broker_rules
from net import print_error, print_out
from wire.errors import LocalError
from wire.topics import ROOT


def print_rules(arguments: Sequence[str], program: str) -> int:
    """Print the access rules for another broker. Return the exit status; 2 for wrong arguments."""
    parser = argparse.ArgumentParser(
        prog=f"{program} acl",
        description="Print the access rules with which another broker lets each client write below its own name only. "
        "The comments in the rules say where they go.",
    )
    parser.add_argument("broker", metavar="BROKER", help=" or ".join(BROKERS))
    parser.add_argument("--root", default=ROOT, help=f"first level of every topic (default {ROOT})")
    parser.add_argument(
        "--user", metavar="NAME", default=SERVER_USER, help=f"the server's user (default {SERVER_USER})"
    )
    parser.add_argument(
        "--clients", metavar="NAME,…", default="", help=f"the clients' users, for {' and '.join(NEED_CLIENTS)}"
    )
    options = parser.parse_args(arguments)
    try:
        clients = [name for name in options.clients.split(",") if name]
        print_out(broker_rules(options.broker, options.root, options.user, clients), end="")
    except LocalError as error:
        print_error(f"{program} acl: {error}")
        return 2
    return 0
