"""Real brokers as processes that enforce the output of `server.py acl`, for the tests of those rules."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from bench.programs import find_program
from bridge.acl import SERVER_USER

CLIENTS = ("alice", "bob", "hall-2")
PASSWORDS = {name: f"{name}-secret" for name in (SERVER_USER, *CLIENTS)}
# Topics that alice may or may not write, and filters that she may or may not subscribe to.
WRITES = {
    "chat/from/alice/say/lab": True,
    "chat/from/alice/register": True,
    "chat/from/alice/file/7/init": True,
    "chat/direct/bob/alice": True,
    "chat/from/bob/say/lab": False,
    "chat/from/alice2/say/lab": False,
    "chat/direct/bob/carol": False,
    "chat/direct/bob/x/alice": False,
    "chat/to/alice/msg/bob": False,
    "chat/to/bob/msg/alice": False,
    "chat/channels/lab": False,
    "chat/presence/alice": False,
    "chat/server": False,
    "chat/other": False,
}
READS = {
    "chat/channels/#": True,
    "chat/channels/lab/text": True,
    "chat/channels/+/text": True,
    "chat/presence/+": True,
    "chat/server": True,
    "chat/to/alice/#": True,
    "chat/to/alice/msg/+": True,
    "chat/direct/alice/+": True,
    "chat/to/bob/#": False,
    "chat/to/+/msg/bob": False,
    "chat/to/#": False,
    "chat/direct/+/bob": False,
    "chat/direct/bob/alice": False,
    "chat/from/alice/#": False,
    "chat/#": False,
    "chat/+/alice/#": False,
    "#": False,
    "+/to/alice/#": False,
}


class Running:
    """A running broker; `log` is its output so far."""

    def __init__(self, command: Sequence[str], ready: str, environment: Mapping[str, str] | None = None) -> None:
        """Start it and wait for the line of its log in which the pattern `ready` is found."""
        self.log: list[str] = []
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
        self.wait_for(ready)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Return the first match in the lines of its log that were not read yet."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"the broker ended: {''.join(self.log)}")

    def close(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


def need(*programs: str) -> None:
    """Skip the test if one of the programs is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def mosquitto(folder: Path, rules: str) -> tuple[Running, str]:
    """Start a mosquitto with these rules; return it and its address."""
    need("mosquitto", "mosquitto_passwd")
    port = free_port()
    (folder / "partyline.acl").write_text(rules)
    for name, password in PASSWORDS.items():
        new = [] if (folder / "partyline.passwd").exists() else ["-c"]
        subprocess.run(["mosquitto_passwd", *new, "-b", str(folder / "partyline.passwd"), name, password], check=True)
    (folder / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\nuser {getpass.getuser()}\nlog_dest stderr\n"
        f"password_file {folder}/partyline.passwd\nacl_file {folder}/partyline.acl\npersistence false\n"
    )
    return Running(["mosquitto", "-c", str(folder / "mosquitto.conf")], r"running$"), f"127.0.0.1:{port}"


def nats(folder: Path, rules: str) -> tuple[Running, str]:
    """Start a nats-server with these rules; return it and its MQTT address."""
    program = find_program("nats-server")
    if program is None:
        pytest.skip("nats-server is not installed")
    port = free_port()
    named = {f"PASSWORD_{name}": password for name, password in PASSWORDS.items()}
    outside = {"PASSWORD_alice": named.pop("PASSWORD_alice")}  # the others are in the file, as its comment allows
    (folder / "partyline-users.conf").write_text(
        "".join(f'{name}: "{password}"\n' for name, password in named.items()) + rules
    )
    (folder / "nats-server.conf").write_text(
        f'server_name: nats1\nlisten: "127.0.0.1:-1"\njetstream {{ store_dir: "{folder}/jetstream" }}\n'
        f'mqtt {{ listen: "127.0.0.1:{port}" }}\ninclude "partyline-users.conf"\n'
    )
    running = Running([program, "-c", str(folder / "nats-server.conf")], r"Server is ready", outside)
    return running, f"127.0.0.1:{port}"


BROKERS: dict[str, Callable[[Path, str], tuple[Running, str]]] = {"mosquitto": mosquitto, "nats": nats}
