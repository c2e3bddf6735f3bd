"""HAProxy in a process of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Self

import pytest

from tests.support.waiting import DEADLINE, eventually


class HAProxy:
    """HAProxy with this configuration, whose frontends listen on `ports`. Used as a context manager.

    Skips the test where the program is missing.
    """

    def __init__(self, folder: Path, configuration: str, *ports: int) -> None:
        program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            pytest.skip("haproxy is not installed")
        file = folder / "haproxy.cfg"
        file.write_text(configuration)
        self._log = folder / "haproxy.log"
        self._ports = ports
        self._command = [program, "-db", "-f", str(file)]

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            eventually(self._is_ready, lambda: self.said)
        except BaseException:
            self.__exit__()
            raise
        return self

    @property
    def said(self) -> str:
        """All that it has written."""
        return self._log.read_text(errors="replace")

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self.said
        try:
            for port in self._ports:
                socket.create_connection(("127.0.0.1", port), DEADLINE).close()
        except ConnectionRefusedError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(DEADLINE)
