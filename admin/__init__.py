"""Floor 4: the subcommands of the server program, `server.py SUBCOMMAND`: what an operator does beside the server.

`subcommands.py` has the table, one row each. Each row's handler is a file of its own: `acl.py`, `cert.py` and so on. A
handler takes the arguments after its name, and the name of the program for its messages; it returns the exit status.
"""

from __future__ import annotations

from .subcommands import SUBCOMMANDS, Subcommand, unknown_subcommand

__all__ = ["SUBCOMMANDS", "Subcommand", "unknown_subcommand"]
