"""Other people's brokers as child processes, each on a free port of its own: mosquitto, nats-server and amqtt."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from bench.programs import find_program
from tests.support.waiting import DEADLINE
from wire.mqtt import V5, V311


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Broker(ABC):
    """A broker that keeps its port, and its folder unless it is to start empty. `said` is what it has written."""

    kind: ClassVar[str]
    version: ClassVar[int]  # the highest that it speaks
    ready: ClassVar[str]  # what it says when it accepts connections

    def __init__(self, folder: Path, *settings: str, port: int | None = None) -> None:
        """`settings` are lines of its config file. Skips the test if the broker is not installed."""
        self.check()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.settings: Sequence[str] = settings
        self.port = port or free_port()
        self.said: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """For --broker."""
        return f"mqtt://{self.address}"

    @classmethod
    @abstractmethod
    def check(cls) -> None:
        """Skip the test if it is not installed."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command that starts the broker in the foreground, with its log on standard error."""

    def start(self) -> None:
        """Start it; returns when it accepts connections."""
        up = threading.Event()
        process = self._process = subprocess.Popen(
            self._command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip

        def read() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                self.said.append(line.rstrip())
                if self.ready in line:
                    up.set()
            up.set()

        self._reader = threading.Thread(target=read, name=f"broker-{self.kind}")
        self._reader.start()
        up.wait(DEADLINE)
        assert process.poll() is None, f"{self.kind} did not start: {self.said[-10:]}"
        assert any(self.ready in line for line in self.said), self.said[-10:]

    def stop(self) -> None:
        """Have it end by itself."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It answers nobody any more, and closes no connection, until `resume`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def empty(self) -> None:
        """Forget, while it is down, all that it has kept."""
        assert self._process is None, "it is running"
        shutil.rmtree(self.folder)
        self.folder.mkdir()

    def restart(self, *settings: str) -> None:
        """Stop it, if it runs, and start it again, with other settings if there are some."""
        self.stop()
        if settings:
            self.settings = settings
        self.start()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._reader is not None:
            self._reader.join(DEADLINE)
        if process.stderr is not None:
            process.stderr.close()


def _program(name: str) -> str:
    """Return the path of a program, from an administrator's PATH as well. Skip the test if it is not installed."""
    path = find_program(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


class Mosquitto(Broker):
    """Without limits of its queues, so that what it has acknowledged comes; keeps nothing unless it is told to."""

    kind = "mosquitto"
    version = V5
    ready = " running"
    KEEPS = ("persistence true", "autosave_on_changes true", "autosave_interval 1")

    @classmethod
    def check(cls) -> None:
        _program("mosquitto")

    def _command(self) -> list[str]:
        lines = ["log_dest stderr", "max_queued_messages 0", "max_inflight_messages 0", "set_tcp_nodelay true"]
        if not any(line.startswith(("allow_anonymous", "password_file")) for line in self.settings):
            lines.append("allow_anonymous true")
        if os.geteuid() == 0:
            lines.append("user root")
        lines.append(f"persistence_location {self.folder}/")
        if not any(line.startswith("listener") for line in self.settings):
            lines.append(f"listener {self.port} 127.0.0.1")
        config = self.folder.with_name(f"{self.folder.name}.conf")
        config.write_text("\n".join([*lines, *self.settings]) + "\n")
        return [_program("mosquitto"), "-c", str(config)]


class Nats(Broker):
    """nats-server with its MQTT, which keeps sessions and retained messages in a folder; 3.1.1 only."""

    kind = "nats"
    version = V311
    ready = "Server is ready"

    @classmethod
    def check(cls) -> None:
        _program("nats-server")

    def _command(self) -> list[str]:
        config = self.folder.with_name(f"{self.folder.name}.conf")
        config.write_text(
            "\n".join(
                [
                    'listen: "127.0.0.1:-1"',
                    "server_name: tests",
                    f'jetstream {{ store_dir: "{self.folder}" }}',
                    f'mqtt {{ listen: "{self.address}", max_ack_pending: 10000 }}',
                    *self.settings,
                ]
            )
        )
        return [_program("nats-server"), "-c", str(config)]


_AMQTT = """
import asyncio, json, signal, sys
from amqtt.broker import Broker
async def main():
    broker = Broker(json.loads(sys.argv[1]))
    await broker.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("amqtt is ready", file=sys.stderr, flush=True)
    await stop.wait()
    await asyncio.wait_for(broker.shutdown(), 5)
asyncio.run(main())
"""


class Amqtt(Broker):
    """amqtt, which keeps nothing over a restart; 3.1.1 only."""

    kind = "amqtt"
    version = V311
    ready = "amqtt is ready"

    @classmethod
    def check(cls) -> None:
        if importlib.util.find_spec("amqtt") is None:
            pytest.skip("amqtt is not installed")

    def _command(self) -> list[str]:
        config = {
            "listeners": {"default": {"type": "tcp", "bind": self.address}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
        return [sys.executable, "-c", _AMQTT, json.dumps(config)]


BROKERS: dict[str, type[Broker]] = {kind.kind: kind for kind in (Mosquitto, Nats, Amqtt)}
StartBroker = Callable[..., Broker]


@contextlib.contextmanager
def brokers(folder: Path) -> Iterator[StartBroker]:
    """`start("mosquitto", "persistence true", …)`; killed afterwards."""
    made: list[Broker] = []

    def start(kind: str = "mosquitto", *settings: str, port: int | None = None) -> Broker:
        made.append(BROKERS[kind](folder / f"{kind}-{len(made)}", *settings, port=port))
        made[-1].start()
        return made[-1]

    try:
        yield start
    finally:
        for broker in made:
            broker.kill()
