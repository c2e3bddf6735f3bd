"""Partyline with a certificate, which `server.py cert` makes, and the context of clients that verify it."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from bench.peers import ROOT, PartylinePeer


class TlsPartylinePeer(PartylinePeer):
    """Partyline that serves TLS beside plain connections on its one port."""

    def command(self, program: str, folder: Path, port: int) -> list[str]:
        data = str(folder / "data")
        command = [program, "server.py", "cert", "--data", data, "127.0.0.1"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return super().command(program, folder, port)


def context(folder: Path) -> ssl.SSLContext:
    """Return the context of a client of the server with its data in `folder`."""
    return ssl.create_default_context(cafile=str(folder / "data" / "tls" / "ca.pem"))
