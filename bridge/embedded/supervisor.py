"""Floor 3: the supervisor of the embedded broker: it starts amqtt as a child process, restarts it and stops it."""

from __future__ import annotations

import importlib.util
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from bridge.acl import SERVER_USER
from channels import leaf
from net import NetError, format_address, listen
from reporting import LogOptions, events, report
from store import absolute_url
from wire.errors import LocalError
from wire.limits import Limits

from .settings import ProcessSettings

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0  # seconds before a restart, the first time and at most
_STEADY = 60.0  # seconds after which the end of the process does not count as a failed start
_STOP_TIMEOUT = 4.0  # seconds that the process has to end by itself
_BACKLOG = 128
_HOME = Path(__file__).resolve().parents[2]  # the folder where Python finds `-m bridge.embedded.process`


class BrokerSupervisor:
    """Runs amqtt as a child process. One thread calls start, wait_until_ready and close; any thread may read url.

    The supervisor opens the listening socket and the child inherits it: during a restart the port stays ours, and
    clients wait in the backlog.
    """

    def __init__(
        self, host: str, port: int, store: str | Path, root: str, user: str = SERVER_USER,
        log: LogOptions | None = None, limits: Limits | None = None,
    ) -> None:  # fmt: skip
        """Listen on `host` and `port` (0: a free one). The accounts are those of the store at the URL `store`.

        `log` has the options of the process's log, which goes to the same stream as the server's; `limits` those of its
        clients.

        `user` is the server's own name: it may write and read everything below `root`, and nobody else may use it.
        """
        self._host, self._port = host, port
        self._address = ""  # set by `start`
        self._store, self._root, self._user = store, root, user
        self._log = log or LogOptions()
        self._limits = limits or Limits()
        self._secret = secrets.token_urlsafe(32)
        self._lock = leaf()
        self._closing = False
        self._child: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._supervise, name="embedded-broker", daemon=True)

    @property
    def url(self) -> str:
        """The URL for the mirror, with the server's name and secret. Valid after `start`."""
        reach = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self._host, self._host)
        return f"mqtt://{self._user}:{self._secret}@{format_address(reach, self._port)}"

    def start(self) -> None:
        """Open the socket and start the process in the background. Raises LocalError if that is impossible."""
        if importlib.util.find_spec("amqtt") is None:
            raise LocalError(
                "The embedded broker needs amqtt: pip install -r requirements.txt; or choose another broker."
            )
        try:
            self._listener = listen(self._host, self._port, _BACKLOG)
        except NetError as error:
            raise LocalError(f"The embedded broker cannot start. {error}") from error
        self._port = self._listener.getsockname()[1]
        self._address = format_address(self._host, self._port)
        local = self._listener.getsockname()[0] in ("127.0.0.1", "::1")
        report((events.BrokerNotice if local else events.BrokerExposed)(self._address))
        self._thread.start()

    def wait_until_ready(self, seconds: float) -> bool:
        """Wait at most `seconds` until the broker serves clients. Return False after a timeout."""
        return self._ready.wait(seconds)

    def close(self) -> None:
        """Stop the process, and kill it if it hangs. It has ended when this returns."""
        with self._lock:
            self._closing = True
            child = self._child
        self._stop.set()
        if self._thread.ident is not None:
            if child is not None:
                _send_line(child, b"stop\n")
            self._thread.join(_STOP_TIMEOUT)
            if self._thread.is_alive() and child is not None:
                child.kill()
            self._thread.join()
        if self._listener is not None:
            self._listener.close()

    def _supervise(self) -> None:
        """Thread `embedded-broker`: start the child, and restart it when it has ended, until `close`."""
        failures = 0
        warned = False  # True if the last line of the log says that the broker ended
        while (child := self._spawn()) is not None:
            started = time.monotonic()
            assert child.stdout is not None
            for line in child.stdout:  # until the child ends
                if line == b"ready\n":
                    self._ready.set()
                    report(events.BrokerReady(self._address))
                    warned = False
            self._ready.clear()
            status = child.wait()
            _close_pipes(child)
            if self._stop.is_set():
                return
            if not warned:
                report(events.BrokerEnded(_reason(status)))
            warned = True
            failures = 0 if time.monotonic() - started > _STEADY else failures + 1
            self._stop.wait(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures, 16)) * random.uniform(0.5, 1.0))

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        """Start a child and send it its settings. Return None after `close`."""
        assert self._listener is not None
        number = self._listener.fileno()
        settings = ProcessSettings(
            number, absolute_url(self._store), self._root, self._user, self._secret, self._log, self._limits
        )
        with self._lock:
            if self._closing:
                return None
            self._child = child = subprocess.Popen(
                [sys.executable, "-m", "bridge.embedded.process"],
                cwd=_HOME, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(number,),
            )  # fmt: skip
            _send_line(child, msgspec.json.encode(settings) + b"\n")  # before close() sends anything
        return child


def _send_line(child: subprocess.Popen[bytes], line: bytes) -> None:
    """Send a line to the child, unless it has ended."""
    assert child.stdin is not None
    try:
        child.stdin.write(line)
        child.stdin.flush()
    except (OSError, ValueError):
        pass


def _close_pipes(child: subprocess.Popen[bytes]) -> None:
    """Close the pipes of a child that has ended."""
    for pipe in (child.stdin, child.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except OSError:  # the child had not read the last line
            pass


def _reason(status: int) -> str:
    """Return how a process ended, for the log."""
    return f"signal {-status}" if status < 0 else f"status {status}"
