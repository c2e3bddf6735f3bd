"""A server in a process of its own."""

from __future__ import annotations

import re
import signal
import socket
import weakref
from collections.abc import Sequence
from pathlib import Path

import msgspec
import yaml

from tests.support.clients import endpoint
from tests.support.limits import without_rates
from tests.support.processes.forks import Forked
from tests.support.waiting import DEADLINE
from wire.limits import Limits


class Process:
    """A server in a process of its own, which can be killed and started again on the same folder and port.

    `address` is where it listens, `ready` what it said then, `pid` its number; `log` is what it has written to
    standard error so far. MQTT has a free port of its own, unless a config file gives it another.
    """

    def __init__(self, folder: Path, *options: str, rates: bool = False) -> None:
        """Start it and wait until it is ready. `options` are those of server.py beside --port and --data.

        `rates`: it limits each user and address as a server does by default.
        """
        self.folder = folder
        self._rates = rates
        self.address = "127.0.0.1:0"
        self._options = [*options, *self._config(options)]
        self._stderr = folder.with_name(f"{folder.name}.stderr")
        self.start()

    def _config(self, options: Sequence[str]) -> list[str]:
        """The config file of the options, with a free port for MQTT: an option that is given twice counts last.

        Without `rates`, of the limits for each user and address the server has those that the file sets.
        """
        own = self.folder.with_name(f"{self.folder.name}.yaml")
        given = Path(options[options.index("--config") + 1]).read_text() if "--config" in options else "{}"
        settings = {"mqtt_port": 0, **yaml.safe_load(given)}
        limits = msgspec.convert(settings.get("limits", {}), Limits)
        settings["limits"] = msgspec.to_builtins(limits if self._rates else without_rates(limits))
        own.write_text(yaml.safe_dump(settings))
        return ["--config", str(own)]

    def start(self) -> None:
        """Start it, on the port that it had before; returns when it is ready."""
        if not endpoint(self.address)[1]:
            self.address = f"127.0.0.1:{self._reserve_port()}"
        where = ["--port", str(endpoint(self.address)[1]), "--data", str(self.folder)]
        self.process = Forked([*where, *self._options], self._stderr)
        self.ready = self.process.stdout.readline().decode()
        assert " is ready on " in self.ready, f"the server did not start: {self.ready}{self.log}"
        self.address = re.split("[,.] ", self.ready.split(" is ready on ")[1])[0]
        self.pid = self.process.pid

    def _reserve_port(self) -> int:
        """Return a free port. While this object exists, no other program gets it by chance, also between two starts.

        A server may listen there beside the socket that reserves it, since both set SO_REUSEADDR.
        """
        reserved = socket.socket()
        weakref.finalize(self, reserved.close)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        return int(reserved.getsockname()[1])

    @property
    def log(self) -> str:
        """Return what the server has written to standard error since the first start."""
        return self._stderr.read_text(errors="replace")

    @property
    def warnings(self) -> str:
        """The lines of `log` that tell of more than the normal course: not logins, start and stop."""
        return "".join(line for line in self.log.splitlines(keepends=True) if " INFO " not in line)

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and wait until it has ended by itself; its exit status."""
        return self._end(signal.SIGTERM)

    def restart(self) -> None:
        """`kill -9` it and start it again on the same folder and port."""
        self.kill()
        self.start()

    def _end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        try:
            return self.process.wait(DEADLINE)
        finally:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(DEADLINE)
            self.process.stdout.close()
