"""Floor 3: the embedded broker as the server sees it: amqtt in a process of its own, started, watched and ended."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
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
from channels.locks import leaf
from wire.errors import LocalError

log = logging.getLogger("partyline.broker")

_FIRST, _MOST = 0.2, 30.0  # seconds until it is started again, at first and at most
_STEADY = 60.0  # seconds after which a broker that ends was no failed start
_END = 4.0  # seconds that it has to end by itself
_BACKLOG = 128
_HOME = Path(__file__).resolve().parents[2]  # where `-m bridge.embedded.process` is found


class EmbeddedBroker:
    """amqtt as a supervised child process. start, wait_until_ready and close are for one thread; url is for any.

    The socket is opened here and inherited, so that the port stays ours, and clients wait, while it is started again.
    """

    def __init__(self, host: str, port: int, data: Path, root: str, user: str = SERVER_USER) -> None:
        """On that address (port 0: any free one), with the accounts in the folder `data`, which a store has open.

        `user` is the bridge's own name, below `root` it may do everything; nobody else may have it.
        """
        self._host, self._port = host, port
        self._data, self._root, self._user = data, root, user
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
        """Where the bridge connects, with its name and secret; valid once it is ready."""
        reach = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self._host, self._host)
        host = f"[{reach}]" if ":" in reach else reach
        return f"mqtt://{self._user}:{self._secret}@{host}:{self._port}"

    def start(self) -> None:
        """Have it started; returns at once. Raises LocalError with a sentence."""
        if importlib.util.find_spec("amqtt") is None:
            raise LocalError(
                "The embedded broker needs amqtt: pip install -r requirements.txt; or name another broker."
            )
        self._listener = self._listen()
        self._port = self._listener.getsockname()[1]
        local = self._listener.getsockname()[0] in ("127.0.0.1", "::1")
        log.log(
            logging.INFO if local else logging.WARNING,
            "the embedded broker on %s:%d is for a trusted network: MQTT 3.1.1 without TLS, some thousand messages a "
            "second, and nothing kept over a restart. For more, have Mosquitto, EMQX, NATS or RabbitMQ, and start with "
            "--broker mqtt://host:1883",
            self._host, self._port,
        )  # fmt: skip
        self._thread.start()

    def _listen(self) -> socket.socket:
        host, port = self._host, self._port
        try:
            family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
            return socket.create_server(where[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=both)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = (
                    f"Port {port} of {host} is taken, so the embedded broker cannot listen there; choose another one"
                )
            else:
                reason = f"The embedded broker cannot listen on {host}:{port}: {error.strerror or error}"
            raise LocalError(f"{reason}.") from error

    def wait_until_ready(self, seconds: float) -> bool:
        """Wait, at most that long, until clients are served; whether they are."""
        return self._ready.wait(seconds)

    def close(self) -> None:
        """End it; when this returns, the process is gone, even if it hung."""
        with self._lock:
            self._closing = True
            child = self._child
        self._stop.set()
        if self._thread.ident is not None:
            if child is not None:
                _tell(child, b"stop\n")
            self._thread.join(_END)
            if self._thread.is_alive() and child is not None:
                child.kill()
            self._thread.join()
        if self._listener is not None:
            self._listener.close()

    def _supervise(self) -> None:
        """Thread `embedded-broker`: starts the child, and starts it again when it has ended, unless it was told to."""
        tries = 0
        said = False  # whether the log has it that there is none
        while (child := self._spawn()) is not None:
            started = time.monotonic()
            assert child.stdout is not None
            for line in child.stdout:  # up to its end
                if line == b"ready\n":
                    self._ready.set()
                    log.info("the embedded broker is ready on %s:%d", self._host, self._port)
                    said = False
            self._ready.clear()
            status = child.wait()
            _put_away(child)
            if self._stop.is_set():
                return
            if not said:
                log.warning("the embedded broker has ended (%s); it is started again", _reason(status))
            said = True
            tries = 0 if time.monotonic() - started > _STEADY else tries + 1
            self._stop.wait(min(_MOST, _FIRST * 2 ** min(tries, 16)) * random.uniform(0.5, 1.0))

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        """A new child that has been told what is wanted; None if there is to be none any more."""
        assert self._listener is not None
        number = self._listener.fileno()
        wanted = {
            "listener": number,
            "data": os.path.abspath(self._data),
            "root": self._root,
            "user": self._user,
            "secret": self._secret,
        }
        with self._lock:
            if self._closing:
                return None
            self._child = child = subprocess.Popen(
                [sys.executable, "-m", "bridge.embedded.process"],
                cwd=_HOME, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(number,),
            )  # fmt: skip
            _tell(child, msgspec.json.encode(wanted) + b"\n")  # before close() says anything
        return child


def _tell(child: subprocess.Popen[bytes], line: bytes) -> None:
    """Say something to the child, if it is still there."""
    assert child.stdin is not None
    try:
        child.stdin.write(line)
        child.stdin.flush()
    except (OSError, ValueError):
        pass


def _put_away(child: subprocess.Popen[bytes]) -> None:
    """Close the pipes to a child that has ended."""
    for pipe in (child.stdin, child.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except OSError:  # what was written last had not been read
            pass


def _reason(status: int) -> str:
    """Why a process ended, for people."""
    return f"signal {-status}" if status < 0 else f"status {status}"
