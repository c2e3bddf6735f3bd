"""The servers under test: how each is found, configured, started on 127.0.0.1 and ended by its process id."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.socket.dialects import Dialect, Irc, Mqtt, Nats, Partyline

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 20.0
STOP_SECONDS = 15.0
_TICKS = os.sysconf("SC_CLK_TCK")


class PeerFailed(OSError):
    """A server did not start, or ended before it was asked to."""


@dataclass(frozen=True)
class RunningPeer:
    """A server that answers."""

    process: subprocess.Popen[bytes]
    port: int
    dialect: Dialect
    started_in: float  # seconds from the start of the process until it was ready

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> int:
        """Resident memory in bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


class Peer(ABC):
    """A kind of server."""

    name: str
    dialect: Dialect
    prints_ready = False  # it prints a line when it is ready
    window = 20_000  # messages on their way in a saturated run; more does not make any of them faster

    @abstractmethod
    def find(self) -> str | None:
        """The program, or None if it is not installed."""

    @abstractmethod
    def command(self, program: str, folder: Path, port: int) -> list[str]:
        """Write the configuration into `folder` and give the command line."""

    def wait(self, process: subprocess.Popen[bytes], port: int) -> int:
        """Wait until the server accepts connections and give its port."""
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except ConnectionRefusedError:
                time.sleep(0.01)  # a peer has no way to tell us that it is ready
            else:
                return port
        raise PeerFailed(f"{self.name} did not open port {port}")

    @contextmanager
    def running(self, folder: Path, port: int | None = None) -> Iterator[RunningPeer]:
        """Start it with its data in `folder`, on that port or a free one, and end it."""
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
    """A TCP port of 127.0.0.1 that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PartylinePeer(Peer):
    """This checkout's `server.py`, with what it does by default: every message is in SQLite before it is delivered."""

    name = "Partyline"
    dialect: Dialect = Partyline()
    prints_ready = True

    def find(self) -> str | None:
        return sys.executable if (ROOT / "server.py").exists() else None

    def command(self, program: str, folder: Path, port: int) -> list[str]:
        return [program, "server.py", "--port", "0", "--data", str(folder / "data")]

    def wait(self, process: subprocess.Popen[bytes], port: int) -> int:
        """The ready line names the addresses; the first port in it is the socket door."""
        assert process.stdout
        line = process.stdout.readline().decode()  # the end of the process ends this, too
        found = re.search(r":(\d{2,5})\b", line)
        if not found:
            raise PeerFailed(f"no address in the ready line {line!r}")
        return int(found[1])


class Installed(Peer):
    """A peer that comes from the system's packages."""

    program: str

    def find(self) -> str | None:
        return shutil.which(self.program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class NatsPeer(Installed):
    """NATS, core protocol: nothing is stored. `max_pending` is raised so that it never drops a slow consumer."""

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
    """ngircd without flood protection, connection limits, name look-ups and log."""

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

    Its rate does not depend on the window, and with that of the others it would take it a quarter of a minute to
    deliver what is still on its way when a run ends.
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
