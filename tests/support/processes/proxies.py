"""HAProxy and nginx, each in a process of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Self

import pytest

from tests.support.waiting import DEADLINE, eventually

_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")  # of Debian's libnginx-mod-stream


class _Proxy:
    """A proxy that listens on `ports`. Used as a context manager."""

    def __init__(self, folder: Path, command: list[str], ports: tuple[int, ...]) -> None:
        self._log = folder / "proxy.log"
        self._ports = ports
        self._command = command

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


class HAProxy(_Proxy):
    """HAProxy with this configuration. Skips the test where the program is missing."""

    def __init__(self, folder: Path, configuration: str, *ports: int) -> None:
        file = folder / "haproxy.cfg"
        file.write_text(configuration)
        super().__init__(folder, [_program("haproxy"), "-db", "-f", str(file)], ports)


class Nginx(_Proxy):
    """nginx with this part of a configuration, in one process. Skips the test without it or its module `stream`."""

    def __init__(self, folder: Path, configuration: str, *ports: int) -> None:
        program = _program("nginx")
        if not _STREAM.exists():
            pytest.skip("nginx's module stream is not installed")
        file = folder / "nginx.conf"
        file.write_text(
            f"load_module {_STREAM};\ndaemon off;\nmaster_process off;\npid {folder}/nginx.pid;\n"
            f"error_log stderr notice;\nevents {{}}\n{configuration}"
        )
        super().__init__(folder, [program, "-e", "stderr", "-p", str(folder), "-c", str(file)], ports)


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
