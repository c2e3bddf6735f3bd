"""Partyline, a chat server for people in terminals and devices on MQTT, as an installed package.

All of it lies below this folder, and names itself as in the checkout (`wire`, `server`, …). So the two commands put
this folder first on the module path of their own process, and other programs see one name only: `partyline`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

SERVER, CLIENT = "partyline-server", "partyline"  # the commands


def run_server() -> int:
    """Run the command `partyline-server`; return its exit status."""
    _prepare()
    from server import main

    return main(program=SERVER)


def run_client() -> int:
    """Run the command `partyline`; return its exit status."""
    _prepare()
    from client import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    return main(program=CLIENT)


def _prepare() -> None:
    """Find the modules, and let a signal end the process silently while they are imported, which takes a moment."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os._exit(128 + number))
