"""The servers under test: each class finds, configures, starts and ends one, on 127.0.0.1."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.programs import find_program
from bench.socket.dialects import Dialect, Irc, Mqtt, Nats, Partyline
from channels.rates import CLASSES

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 20.0
STOP_SECONDS = 15.0
_TICKS = os.sysconf("SC_CLK_TCK")


class PeerFailed(OSError):
    """A server did not start, or ended too early."""


@dataclass(frozen=True)
class RunningPeer:
    """A server that accepts connections."""

    process: subprocess.Popen[bytes]
    port: int
    dialect: Dialect
    started_in: float  # seconds from the start of the process until it was ready

    def cpu(self) -> float:
        """Return the seconds of processor time that the server has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def resources(self) -> tuple[int, int, int]:
        """Return the resident memory in bytes, the threads and the file descriptors."""
        of_process = Path(f"/proc/{self.process.pid}")
        threads, descriptors = (sum(1 for _ in (of_process / kind).iterdir()) for kind in ("task", "fd"))
        return self.memory(), threads, descriptors


class Peer(ABC):
    """The configuration and the start of one kind of server."""

    name: str
    dialect: Dialect
    prints_ready = False  # the server prints a line when it is ready
    window = 20_000  # undelivered messages in a saturated run; a larger window makes no server faster

    @abstractmethod
    def find(self) -> str | None:
        """Return the path of the program, or None if it is not installed."""

    @abstractmethod
    def command(self, program: str, folder: Path, port: int) -> list[str]:
        """Write the configuration into `folder` and return the command line."""

    def wait(self, process: subprocess.Popen[bytes], port: int) -> int:
        """Wait until the server accepts connections; return its port. Raises PeerFailed after READY_SECONDS."""
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except ConnectionRefusedError:
                time.sleep(0.01)  # a peer has no way to tell that it is ready
            else:
                return port
        raise PeerFailed(f"{self.name} did not open port {port}")

    @contextmanager
    def running(self, folder: Path, port: int | None = None) -> Iterator[RunningPeer]:
        """Start the server with its data in `folder`, on the given port or a free one; end it afterwards."""
        program = self.find()
        if program is None:
            raise PeerFailed(f"{self.name} is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        port = port or free_port()
        command = self.command(program, folder, port)
        with (folder / "output").open("wb") as log:
            out = subprocess.PIPE if self.prints_ready else log
            started = time.perf_counter()
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=log)
        try:
            port = self.wait(process, port)
            yield RunningPeer(process, port, self.dialect, time.perf_counter() - started)
        except Exception as error:
            error.add_note(f"{self.name}: exit {process.poll()}: {(folder / 'output').read_text()[-2000:]}")
            raise
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# All clients of the benchmark come from one address, each does as much as the server can, and row a60k has long lines.
LIMITS = {each.key: 0 for each in CLASSES} | {
    "connections_per_address": 0, "waiting_per_address": 0, "line": 131_072,
}  # fmt: skip


class PartylinePeer(Peer):
    """This checkout's `server.py` without rate limits: it commits every message to SQLite before it delivers it."""

    name = "Partyline"
    dialect: Dialect = Partyline()
    prints_ready = True

    def find(self) -> str | None:
        return sys.executable if (ROOT / "server.py").exists() else None

    def command(self, program: str, folder: Path, port: int) -> list[str]:
        config = folder / "partyline.yaml"
        config.write_text(yaml.safe_dump({"limits": LIMITS}))
        return [program, "server.py", "--config", str(config), "--port", "0", "--data", str(folder / "data")]

    def wait(self, process: subprocess.Popen[bytes], port: int) -> int:
        """Read the ready line, which names the addresses; return its first port, that of the socket door."""
        assert process.stdout
        line = process.stdout.readline().decode()  # returns at the end of the process, too
        found = re.search(r":(\d{2,5})\b", line)
        if not found:
            raise PeerFailed(f"no address in the ready line {line!r}")
        return int(found[1])


class Installed(Peer):
    """A peer that comes from PyPI, beside this Python, or else from the system's packages."""

    program: str

    def find(self) -> str | None:
        return find_program(self.program)


class NatsPeer(Installed):
    """NATS, core protocol: it stores nothing. A high `max_pending` keeps it from dropping a slow consumer."""

    name = "NATS"
    program = "nats-server"
    dialect: Dialect = Nats()

    def command(self, program: str, folder: Path, port: int) -> list[str]:
        config = folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{port}"\nmax_pending: 512MB\nwrite_deadline: "60s"\nping_interval: "1h"\n'
            f'pid_file: "{folder}/pid"\nlog_file: "{folder}/log"\n'
        )
        return [program, "-c", str(config)]


class NgircdPeer(Installed):
    """ngircd without flood protection, connection limits, name lookups and log."""

    name = "ngircd"
    program = "ngircd"
    dialect = Irc()

    def command(self, program: str, folder: Path, port: int) -> list[str]:
        config = folder / "ngircd.conf"
        config.write_text(
            f"[Global]\nName = bench.example.net\nInfo = bench\nListen = 127.0.0.1\nPorts = {port}\n"
            "MotdPhrase = bench\nServerUID = 0\nServerGID = 0\n"
            "[Limits]\nMaxConnections = 0\nMaxConnectionsIP = 0\nMaxJoins = 0\nMaxPenaltyTime = 0\n"
            "MaxNickLength = 20\nPingTimeout = 36000\nPongTimeout = 36000\n"
            "[Options]\nDNS = no\nIdent = no\nPAM = no\n"
        )
        return [program, "-n", "-f", str(config)]


class MosquittoPeer(Installed):
    """Mosquitto at QoS 0 without persistence, limits and log.

    Its rate does not depend on the window. With the window of the others, it would take 15 seconds to deliver the
    rest at the end of a run.
    """

    name = "Mosquitto"
    window = 1_000
    program = "mosquitto"
    dialect: Dialect = Mqtt()

    def command(self, program: str, folder: Path, port: int) -> list[str]:
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n"
            "max_inflight_messages 0\nmax_queued_bytes 0\nset_tcp_nodelay true\nlog_dest none\n"
        )
        return [program, "-c", str(config)]


PEERS: tuple[Peer, ...] = (PartylinePeer(), NatsPeer(), NgircdPeer(), MosquittoPeer())
