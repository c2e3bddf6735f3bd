"""The command `server.py status`: what a running server answers, also in TLS, and a sentence if none does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from doors import TlsConfig
from server import Server
from tests.support.certificates import Certificate
from tests.support.clients import Json
from tests.support.fixtures import StartProcess, StartServer
from tests.support.postgres import Cluster, shared_cluster
from tests.support.processes.forks import run
from tests.support.waiting import eventually
from wire import VERSION


def test_a_server_in_words_and_as_json(server: Server, connect: Callable[..., Json]) -> None:
    """The same as /status, with no name and without a trace of the question."""
    connect(server.address, "alice")
    done = run("status", server.address)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first.startswith(f"Partyline {VERSION}, running since ")
    assert second == "1 user online over 1 connection; 0 channels."
    done = run("status", "--json", server.address)
    shown = json.loads(done.stdout)
    assert (shown["op"], shown["users"], shown["connections"]) == ("server-status", 1, 1)
    assert "servers" not in shown
    assert server.chat.directory.find("status") is None


def test_the_config_file_says_where(server: Server, tmp_path: Path) -> None:
    """An address takes precedence. The other settings do not matter."""
    port = server.address.rpartition(":")[2]
    file = tmp_path / "config.yaml"
    file.write_text(f"host: 0.0.0.0\nport: {port}\nlimits: {{posts_per_second: 5}}\n")
    assert run("status", "--config", str(file)).returncode == 0
    assert run("status", "--config", str(file), "127.0.0.1:1").returncode == 1
    file.write_text("port: high\n")
    done = run("status", "--config", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"server.py status: The config file {file} is wrong: ")
    done = run("status", "--config", str(tmp_path / "missing"))
    assert done.stderr == f"server.py status: Cannot read the config file {tmp_path / 'missing'}: {_MISSING}.\n"


_MISSING = "No such file or directory"


def test_in_tls(start_server: StartServer, tls_server: Server, certificate: Certificate, tmp_path: Path) -> None:
    """If it is asked for. Without an authority, any certificate will do: nothing secret is sent."""
    port = tls_server.address.rpartition(":")[2]
    for address in (tls_server.address, f"tls://{tls_server.address}"):
        assert run("status", address).returncode == 0, address
    assert run("status", "--ca", str(certificate.file), f"tls://localhost:{port}").returncode == 0
    plain = start_server(data=str(tmp_path / "plain")).address
    wrong = run("status", "--ca", str(certificate.file), f"tls://{plain}")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith(f"server.py status: No server answers at {plain}: ")


def test_a_server_that_asks_for_tls(
    start_server: StartServer, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does of other machines."""
    monkeypatch.setattr("doors.connection.is_loopback", lambda host: False)
    server = start_server(tls=TlsConfig(str(certificate.file), str(certificate.key), required=True), mqtts_port=0)
    done = run("status", server.address)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def other_program() -> Iterator[Callable[[bytes], str]]:
    """Another program, which answers a connection with these bytes and ends it."""
    listening: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(answer: bytes) -> str:
        listening.append(socket.create_server(("127.0.0.1", 0)))

        def serve(here: socket.socket) -> None:
            taken, _ = here.accept()
            with taken:
                taken.sendall(answer)
                taken.shutdown(socket.SHUT_WR)
                while taken.recv(1_000):
                    pass

        threads.append(threading.Thread(target=serve, args=listening[-1:], daemon=True))
        threads[-1].start()
        return f"127.0.0.1:{listening[-1].getsockname()[1]}"

    yield start
    for each in listening:
        each.close()
    for thread in threads:
        thread.join()


def test_nobody_answers(other_program: Callable[[bytes], str]) -> None:
    """A sentence, and exit status 1."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    done = run("status", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"server.py status: No server answers at {address}: Connection refused.\n"
    for answer in (b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\xff\x00" * 100_000):
        address = other_program(answer)
        done = run("status", address)
        assert done.stderr.startswith(f"server.py status: {address} gives no answer. It is no Partyline server, or ")
        assert done.returncode == 1
    address = other_program(b'{"op":"closing","reason":"Too many connections come from your address."}\n')
    done = run("status", address)
    assert done.stderr == f"server.py status: {address} refuses: Too many connections come from your address.\n"
    assert run("status", "a:b:c:d:x").returncode == 1


def test_a_server_that_expects_a_proxy(start_server: StartServer) -> None:
    """It closes a connection that does not begin with a proxy's header."""
    server = start_server(proxies=("127.0.0.0/8",))
    done = run("status", server.address)
    assert done.returncode == 1
    assert "only through a proxy" in done.stderr


def test_several_servers(
    start_process: StartProcess, connect: Callable[..., Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is listed, at each of them, while it lives."""
    cluster: Cluster = shared_cluster()
    name = cluster.new_database()
    one, other = [start_process("--database", cluster.socket_url(name)) for _ in range(2)]
    connect(one.address, "alice")

    def shown(address: str) -> list[dict[str, object]]:
        found = json.loads(run("status", "--json", address).stdout).get("servers", [])
        return [{key: each.get(key) for key in ("address", "here", "connections")} for each in found]

    def both(here: str) -> list[dict[str, object]]:
        return [
            {"address": one.address, "here": here == one.address or None, "connections": 1},
            {"address": other.address, "here": here == other.address or None, "connections": None},
        ]

    for address in (one.address, other.address):
        eventually(lambda: shown(address) == both(address), lambda: repr(shown(address)))  # noqa: B023
    other.kill()
    eventually(lambda: len(shown(one.address)) == 1, lambda: repr(shown(one.address)))
    assert one.stop() == 0
    cluster.drop_database(name)
