"""Fixtures of all tests: servers inside this process and beside it, and clients that are closed afterwards."""

from __future__ import annotations

import os

from tests.support.reported import Reported, collected

os.environ["PARTYLINE_CHECK_LOCKS"] = "1"  # before channels.locks is imported: every leaf lock asserts that it is one

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from channels.passwords import hasher
from channels.passwords.hash_process import HashProcess
from doors import TlsConfig
from server import Config, Server
from store import Durability, Store, open_store
from tests.support.certificates import Certificate, make_certificate
from tests.support.clients import Json, Text
from tests.support.files import PHOTO
from tests.support.fixtures import StartProcess, StartServer
from tests.support.leftovers import nothing_left
from tests.support.limits import without_rates
from tests.support.mqtt import VERSIONS, MqttLine
from tests.support.postgres import cluster_removed
from tests.support.processes import Process
from tests.support.processes.clients import Running, runners
from tests.support.processes.screens import Screen, screens
from tests.support.stores import WatchedStore
from wire.limits import Limits

pytest_plugins = ["tests.support.brokers.site"]  # its fixtures: site, start_broker, broker_kind, quick, fluent

# A shared machine may stall anything for a while: deadlines of single examples would only make noise.
settings.register_profile(
    "partyline", max_examples=36, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("partyline"), max_examples=5_000)  # --hypothesis-profile
settings.load_profile("partyline")

# A password's hash takes 40 ms, 19 MiB and a process by design, which most tests have no use for. Servers in a process
# of their own have the real one.
_REAL_HASHER = hasher._hasher
hasher._hasher = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
_REAL_ASK = HashProcess._ask
HashProcess._ask = lambda *_: None  # type: ignore[method-assign]

# The beginnings of the names of a server's threads.
THREADS = (
    "connection-", "door-", "pump", "read-tracker", "expiry", "cleanup", "mqtt-timer", "mirror", "password-",
    "embedded-broker", "store-checkpointer", "log-repeats", "ring-in", "ring-out", "server-line-", "store-servers",
)  # fmt: skip


def pytest_xdist_auto_num_workers() -> int:
    """Three workers for two cores, as a good part of the tests waits for something."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


@pytest.fixture(scope="session", autouse=True)
def _nothing_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail if the tests of this process have left files or processes behind."""
    with nothing_left(tmp_path_factory.getbasetemp()), cluster_removed():
        yield


@pytest.fixture
def slow_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords take their time, for tests of what happens meanwhile."""
    monkeypatch.setattr(hasher, "_hasher", _REAL_HASHER)


@pytest.fixture
def hash_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed in processes, as in a server of its own."""
    monkeypatch.setattr(HashProcess, "_ask", _REAL_ASK)


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> list[WatchedStore]:
    """The stores of the servers inside this process, in the order of their start: each watches the locks."""
    made: list[WatchedStore] = []

    def watched(url: str | Path, durability: Durability = "process", *, folder: Path | None = None) -> Store:
        made.append(WatchedStore(open_store(url, durability, folder=folder)))
        return cast("Store", made[-1])

    monkeypatch.setattr("server.open_store", watched)
    return made


@pytest.fixture
def start_server(tmp_path: Path, stores: list[WatchedStore]) -> Iterator[StartServer]:
    """Start a server inside this process: `start_server(limits=Limits(…), …)` with the fields of Config.

    Of the limits for each user and address, it has those that the test sets; with `rates=True` all of them. It listens
    on a free port and keeps its data below the test's folder, unless told otherwise. Afterwards it is closed, and all
    of its threads must have ended.
    """
    started: list[Server] = []

    def start(*, rates: bool = False, **fields: Any) -> Server:
        limits = fields.pop("limits", Limits())
        fields["limits"] = limits if rates else without_rates(limits)
        server = Server(Config(**{"port": 0, "mqtt_port": 0, "data": str(tmp_path / "data"), **fields}))
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith(THREADS)]
    assert not left, f"threads that outlived their server: {left}"


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """A server inside this process with the defaults; `server.address` is where it listens."""
    return start_server()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for this machine that signs itself."""
    return make_certificate(tmp_path_factory.mktemp("certificate"), "DNS:localhost", "IP:127.0.0.1", "IP:::1")


@pytest.fixture
def tls_server(start_server: StartServer, certificate: Certificate) -> Server:
    """A server inside this process with a certificate."""
    return start_server(tls=TlsConfig(str(certificate.file), str(certificate.key)), mqtts_port=0)


@pytest.fixture
def reported() -> Iterator[Reported]:
    """The events that this process reports to the operator during the test."""
    with collected() as made:
        yield made


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[StartProcess]:
    """Start a server beside this process: `start_process("--log-level", "debug")`; killed afterwards."""
    started: list[Process] = []

    def start(*options: str, folder: Path | None = None) -> Process:
        process = Process(folder or tmp_path / "process-data", *options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def process(start_process: StartProcess) -> Process:
    """A server beside this process with the defaults."""
    return start_process()


@pytest.fixture
def connect() -> Iterator[Callable[..., Json]]:
    """Connect a program: `connect(server.address, "alice", since={…})`; closed afterwards."""
    made: list[Json] = []

    def make(address: str, name: str = "", **hello: Any) -> Json:
        client = Json(address, name, **hello)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def dial() -> Iterator[Callable[..., Text]]:
    """Connect a person: `dial(server.address, "alice")`; closed afterwards."""
    made: list[Text] = []

    def make(address: str, name: str = "") -> Text:
        client = Text(address, name)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def mqtt() -> Iterator[Callable[..., MqttLine]]:
    """Connect by MQTT: `mqtt(server.address, "alice", version=…)`; closed afterwards."""
    made: list[MqttLine] = []

    def make(address: str, name: str | None = None, **fields: Any) -> MqttLine:
        made.append(MqttLine(address, name, **fields))
        return made[-1]

    yield make
    for line in made:
        line.close()


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> int:
    """Each version of MQTT in turn."""
    return VERSIONS[str(request.param)]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A file to send: PHOTO."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(PHOTO)
    return path


@pytest.fixture
def alice(server: Server, mqtt: Callable[..., MqttLine], version: int) -> MqttLine:
    """Somebody by MQTT who reads all that is hers."""
    line = mqtt(server.address, "alice", version=version)
    line.subscribe("chat/to/alice/#", "chat/direct/alice/+")
    return line


@pytest.fixture
def running() -> Iterator[Callable[..., Running]]:
    """Start clients that go on; killed afterwards."""
    with runners() as start:
        yield start


@pytest.fixture
def start_screen() -> Iterator[Callable[..., Screen]]:
    """Start clients on screens of their own."""
    with screens() as start:
        yield start
