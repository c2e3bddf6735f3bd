"""The embedded broker's process: it reports when it is ready, restarts when it dies, and ends with the server."""

from __future__ import annotations

import importlib.util
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bridge.embedded import BrokerSupervisor, supervisor
from bridge.mirror import BrokerConfig
from reporting import events
from store import open_store
from tests.support.brokers.access import free_port
from tests.support.clients import Text
from tests.support.fixtures import StartProcess, StartServer
from tests.support.mqtt import MqttLine
from tests.support.reported import Reported
from tests.support.repository import ROOT
from tests.support.waiting import DEADLINE, eventually
from wire.errors import LocalError
from wire.mqtt import V311

Make = Callable[..., BrokerSupervisor]


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """The folder of an open store."""
    store = open_store(tmp_path / "data")
    yield tmp_path / "data"
    store.close()


@pytest.fixture
def make(data: Path) -> Iterator[Make]:
    """Make a supervisor, on a free port by default; closed afterwards, with its thread."""
    made: list[BrokerSupervisor] = []

    def one(host: str = "127.0.0.1", port: int = 0) -> BrokerSupervisor:
        made.append(BrokerSupervisor(host, port, data, "chat"))
        return made[-1]

    yield one
    for broker in made:
        broker.close()
    assert "embedded-broker" not in {thread.name for thread in threading.enumerate()}


def started(broker: BrokerSupervisor) -> BrokerSupervisor:
    """Start it and wait until it is ready."""
    broker.start()
    assert broker.wait_until_ready(DEADLINE)
    return broker


def child(broker: BrokerSupervisor) -> int:
    """Return the process id of the child."""
    assert broker._child is not None
    return broker._child.pid


def stop(pid: int) -> None:
    """Stop a process, and wait until it has stopped: its threads go on for a moment after the signal."""
    os.kill(pid, signal.SIGSTOP)
    stat = Path(f"/proc/{pid}/stat")
    eventually(lambda: stat.read_text().rpartition(") ")[2].startswith("T"), lambda: f"{pid} does not stop")


def enter(broker: BrokerSupervisor, mqtt: Callable[..., MqttLine], **fields: Any) -> MqttLine:
    """Connect as the server does."""
    where = urlsplit(broker.url)
    assert where.scheme == "mqtt"
    password = (where.password or "").encode()
    return mqtt(f"{where.hostname}:{where.port}", where.username, version=V311, password=password, **fields)


class Watched:
    """Waits for the end of any process, not only a child's."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.pidfd_open(pid)

    def is_gone(self, seconds: float = DEADLINE) -> bool:
        """Return True if the process ends within `seconds`."""
        found = select.select([self._descriptor], [], [], seconds)[0]
        return bool(found)

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)


@pytest.fixture
def watch() -> Iterator[Callable[[int], Watched]]:
    """Watch a process."""
    made: list[Watched] = []

    def one(pid: int) -> Watched:
        made.append(Watched(pid))
        return made[-1]

    yield one
    for watched in made:
        watched.close()


def test_close_leaves_nothing(make: Make, watch: Callable[[int], Watched], mqtt: Callable[..., MqttLine]) -> None:
    broker = started(make())
    server = enter(broker, mqtt)
    process = watch(child(broker))
    broker.close()
    assert process.is_gone(0)
    assert server.until_closed() == []
    assert not broker.wait_until_ready(0)
    port = urlsplit(broker.url).port
    assert port is not None
    socket.create_server(("127.0.0.1", port)).close()  # the port is free again
    broker.close()  # a second call does nothing


def test_close_kills_a_process_that_hangs(
    make: Make, watch: Callable[[int], Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_STOP_TIMEOUT", 0.2)
    broker = started(make())
    process = watch(child(broker))
    stop(child(broker))
    broker.close()
    assert process.is_gone(0)


def test_close_before_ready_and_without_start(make: Make) -> None:
    make().close()
    broker = make()
    broker.start()
    broker.close()
    assert not broker.wait_until_ready(0)


def test_it_ignores_the_signals_of_the_terminal(make: Make, mqtt: Callable[..., MqttLine]) -> None:
    """The terminal sends Ctrl-C to the server and its child; the server decides when the child ends."""
    broker = started(make())
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(child(broker), number)
    enter(broker, mqtt).ping()


def test_it_restarts_after_a_kill(
    make: Make, watch: Callable[[int], Watched], mqtt: Callable[..., MqttLine], reported: Reported
) -> None:
    """On the same port and with the same secret; clients that connect meanwhile are served after the restart."""
    broker = started(make())
    url = broker.url
    for _ in range(2):
        process = watch(child(broker))
        server = enter(broker, mqtt)
        os.kill(child(broker), signal.SIGKILL)
        assert process.is_gone()
        assert server.until_closed() == []
        enter(broker, mqtt).ping()
        assert broker.wait_until_ready(DEADLINE)
    assert broker.url == url
    notice, *others = reported.events
    assert all(name in notice.SENTENCE for name in ("trusted network", "Mosquitto", "EMQX", "NATS", "RabbitMQ"))
    up, down = events.BrokerReady(f"127.0.0.1:{urlsplit(url).port}"), events.BrokerEnded("signal 9")
    assert others == [up, down, up, down, up]


def test_it_restarts_with_growing_pauses_and_logs_it_once(
    make: Make, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    pauses: list[float] = []
    enough = threading.Event()
    broker = make()

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 12:
            enough.set()
            return wait_for_real(None)
        return False

    wait_for_real = broker._stop.wait
    monkeypatch.setattr(broker._stop, "wait", wait)
    monkeypatch.setattr(supervisor, "_HOME", Path("/"))  # python finds no such module there
    broker.start()
    assert enough.wait(DEADLINE)
    bounds = [min(30.0, 0.2 * 2**number) for number in range(1, 13)]
    assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
    assert reported.events[1:] == [events.BrokerEnded("status 1")]


def test_the_mirror_to_it(tmp_path: Path, start_server: StartServer, mqtt: Callable[..., MqttLine]) -> None:
    """A person with nc and a device on the embedded broker share a room, also after the broker was killed."""
    data = tmp_path / "data"
    with closing(started(BrokerSupervisor("127.0.0.1", 0, data, "chat"))) as broker:
        server = start_server(data=str(data), broker=BrokerConfig(url=broker.url, trusted=True))
        where = urlsplit(broker.url)
        with Text(server.address, "nick") as nick:
            nick.send("/join lab")
            nick.expect("You are in lab")
            for turn in ("first", "second"):
                device = mqtt(f"{where.hostname}:{where.port}", "dev", version=V311)
                device.subscribe("chat/channels/lab/text", "chat/server")
                device.message("chat/server", lambda packet: packet.payload == b"online")
                device.publish("chat/from/dev/say/lab", f"{turn}, from the device")
                nick.expect(f"dev: {turn}, from the device")
                nick.send(f"{turn}, to the device")
                device.message("chat/channels/lab/text", lambda packet: packet.payload.endswith(b", to the device"))
                os.kill(child(broker), signal.SIGKILL)
                device.until_closed()


def test_the_server_runs_it(start_process: StartProcess, mqtt: Callable[..., MqttLine]) -> None:
    """`--broker embedded://…`: it starts and ends with the server."""
    port = free_port()
    process = start_process("--broker", f"embedded://127.0.0.1:{port}")
    with Text(process.address, "nick") as nick:
        nick.send("/join lab")
        nick.expect("You are in lab")
        device = mqtt(f"127.0.0.1:{port}", "dev", version=V311)
        device.subscribe("chat/server")
        device.message("chat/server", lambda packet: packet.payload == b"online")
        device.publish("chat/from/dev/say/lab", "from the device")
        nick.expect("dev: from the device")
        nick.send("/status")
        nick.expect(f"connected to 127.0.0.1:{port} over MQTT 3.1.1")
    assert process.stop() == 0
    with socket.create_server(("127.0.0.1", port)):
        pass  # the port is free


_PARENT = """
import sys
from pathlib import Path
from bridge.embedded import BrokerSupervisor
broker = BrokerSupervisor("127.0.0.1", 0, Path(sys.argv[1]), "chat")
broker.start()
broker.wait_until_ready(60)
print(broker._child.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("hangs", [False, True])
def test_the_process_ends_after_the_server_was_killed(data: Path, watch: Callable[[int], Watched], hangs: bool) -> None:
    """`kill -9` of the parent, also while the child is stopped: it ends as soon as it goes on."""
    command = [sys.executable, "-c", _PARENT, str(data)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        process = watch(pid)
        if hangs:
            stop(pid)
        parent.kill()
        parent.wait()
        if hangs:
            assert not process.is_gone(0)
            os.kill(pid, signal.SIGCONT)
        assert process.is_gone()


def test_the_secret_is_in_no_argument_and_no_environment(make: Make) -> None:
    broker = started(make())
    secret = (urlsplit(broker.url).password or "").encode()
    assert len(secret) >= 32
    for name in ("cmdline", "environ"):
        assert secret not in Path(f"/proc/{child(broker)}/{name}").read_bytes()
    assert urlsplit(make().url).password != secret.decode()


def test_a_port_in_use(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LocalError) as caught:
            make(port=port).start()
    assert str(caught.value) == (
        f"The embedded broker cannot start. Cannot listen on 127.0.0.1:{port}: another program uses this port. "
        "Choose another port."
    )
    with pytest.raises(LocalError, match=r"Cannot listen on 203\.0\.113\.7:"):
        make("203.0.113.7").start()


def test_without_amqtt(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LocalError, match=r"needs amqtt: pip install -r requirements\.txt"):
        make().start()


def test_the_url_reaches_it(make: Make, reported: Reported) -> None:
    broker = make("0.0.0.0")
    broker.start()
    assert "@127.0.0.1:" in broker.url
    assert [event.LEVEL for event in reported.events] == [logging.WARNING]  # other machines can reach it
    assert "@[::1]:1883" in BrokerSupervisor("::", 1883, Path(), "chat").url
