"""The command `server.py migrate`: a server goes on where it was, on another database, and back."""

from __future__ import annotations

import os
import pty
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from store.sqlite import FILE
from tests.support.clients import Json
from tests.support.files.exchange import DATA, fetch, fill, offer, put
from tests.support.fixtures import StartProcess
from tests.support.mqtt import MqttLine
from tests.support.postgres import Cluster, shared_cluster
from tests.support.processes.forks import run
from tests.support.repository import ROOT
from tests.support.waiting import DEADLINE, eventually
from wire.frames import Have, History, Join, Page, Ranges, Register, Say, Stored, Topic
from wire.mqtt import V5, Properties, Publish

Connect = Callable[..., Json]
Mqtt = Callable[..., MqttLine]
_HALF = len(DATA) // 2


@pytest.fixture
def cluster() -> Cluster:
    """The cluster of this test run."""
    return shared_cluster()


@pytest.fixture
def new_url(cluster: Cluster) -> Iterator[Callable[[], str]]:
    """Create empty databases; return their URLs."""
    made: list[str] = []

    def new() -> str:
        made.append(cluster.new_database())
        return cluster.socket_url(made[-1])

    yield new
    for name in made:
        cluster.drop_database(name)


class Chat:
    """What people and a device do at one server after the other; each server has what was said at the last one."""

    def __init__(self, connect: Connect, mqtt: Mqtt) -> None:
        self._connect = connect
        self._mqtt = mqtt
        self._said = 0
        self._missed: list[str] = []
        self._files: list[str] = []

    def talk(self, address: str) -> None:
        """Look for what was before; then say more, with files, and have a device miss some of it."""
        alice = self._connect(address, "alice", password="correct-horse")
        alice.request(Join("lab"))
        self._look_back(alice, address)
        for _ in range(3):
            self._said += 1
            assert self._say(alice, self._said) == self._said
        alice.request(Topic("lab", f"topic {self._said}"))
        device = self._device(address)
        device.subscribe("chat/channels/lab/text")
        device.disconnect(expiry=3600)
        for _ in range(2):
            self._said += 1
            assert self._say(alice, self._said) == self._said
            self._missed.append(f"alice: text {self._said}")
        whole, half = offer(alice), offer(alice)
        fill(alice, whole)
        put(alice, half, 0, _HALF)
        self._files = [whole, half]
        alice.close()

    def _say(self, client: Json, at: int) -> int:
        stored = client.request(Say(f"text {at}", "lab", f"id{at}"))
        assert isinstance(stored, Stored)
        return stored.number

    def _device(self, address: str) -> MqttLine:
        return self._mqtt(address, "oven", version=V5, clean=False, properties=Properties(session_expiry_interval=3600))

    def _look_back(self, alice: Json, address: str) -> None:
        device = self._device(address)
        assert device.connack.session_present == bool(self._said)
        for text in self._missed:
            device.message("chat/channels/lab/text", partial(_says, text))
        device.disconnect(expiry=3600)
        self._missed = []
        if not self._said:
            return
        assert self._say(alice, 2) == 2, "an id of a post is known"
        page = alice.request(History(channel="lab", after=0, limit=100))
        assert isinstance(page, Page)
        assert [(each.number, each.text) for each in page.entries] == [
            (at, f"text {at}") for at in range(1, self._said + 1)
        ]
        whole, half = self._files
        assert fetch(alice, whole) == DATA
        state = alice.request(Have(file=half))
        assert isinstance(state, Ranges)
        assert state.have == [[0, _HALF]]
        put(alice, half, _HALF, len(DATA))


def _says(text: str, packet: Publish) -> bool:
    return packet.payload == text.encode()


def test_a_server_goes_on_after_each_move(
    start_process: StartProcess, connect: Connect, mqtt: Mqtt, new_url: Callable[[], str], tmp_path: Path
) -> None:
    """From a folder to PostgreSQL, to another PostgreSQL, and to a folder: numbers, ids, sessions, files, passwords."""
    chat = Chat(connect, mqtt)
    first = start_process()
    with Json(first.address, "alice") as alice:
        alice.request(Register("correct-horse"))
    chat.talk(first.address)
    assert first.stop() == 0
    data, here, there = str(first.folder), new_url(), new_url()
    done = run("migrate", data, here)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"Copied {data} to postgresql://")
    assert ": 7 messages, 3 accounts, 2 channels and private conversations, 3 memberships, 1 sessions" in lines[0]
    assert lines[2:] == [
        f"The bytes of 2 files are in no database. They stay in the folder files/ of the data folder {data}.",
        f"Start the server with: server.py --data {data} --database URL",
    ]
    second = start_process("--data", data, "--database", here)
    chat.talk(second.address)
    done = run("migrate", here, there)
    assert done.returncode == 0
    assert "what it stores from now on is not in the copy" in done.stderr
    assert second.stop() == 0
    third = start_process("--data", data, "--database", there)
    chat.talk(third.address)
    assert third.stop() == 0
    done = run("migrate", there, str(tmp_path / "back"), "--data", data)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    last = start_process("--data", str(tmp_path / "back"))
    chat.talk(last.address)
    assert last.stop() == 0
    checked = run("check", "--data", str(tmp_path / "back"))
    assert checked.stdout == "No damage in 28 messages and 8 files.\n"


def test_what_is_refused(new_url: Callable[[], str], start_process: StartProcess, tmp_path: Path) -> None:
    """In one sentence, with exit status 1."""
    nowhere = str(tmp_path / "nowhere")
    done = run("migrate", nowhere, new_url())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"server.py migrate: The data folder {nowhere} cannot be used: ")
    assert done.stderr.endswith(" Nothing was copied.\n")
    server = start_process()
    done = run("migrate", str(server.folder), str(server.folder))
    assert done.returncode == 1
    assert "in use" in done.stderr
    done = run("migrate", "mysql://u:secret@db/x", nowhere)
    assert done.returncode == 1
    assert "secret" not in done.stderr


def test_the_bytes_of_files_without_their_folder(
    start_process: StartProcess, connect: Connect, new_url: Callable[[], str], tmp_path: Path
) -> None:
    """It says what is to be copied."""
    process = start_process("--database", (url := new_url()))
    alice = connect(process.address, "alice")
    fill(alice, offer(alice))
    assert process.stop() == 0
    back = str(tmp_path / "back")
    done = run("migrate", url, back)
    assert done.returncode == 0
    assert f"Copy the folder files/ of the server's data folder to {back}/files/." in done.stdout
    assert f"Start the server with: server.py --data {back}\n" in done.stdout


@pytest.fixture
def filled(start_process: StartProcess, connect: Connect) -> Path:
    """A data folder with a message."""
    process = start_process()
    alice = connect(process.address, "alice")
    alice.request(Join("lab"))
    alice.request(Say("hello", "lab"))
    assert process.stop() == 0
    return process.folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_end_amid_a_copy(
    filled: Path, cluster: Cluster, new_url: Callable[[], str], number: signal.Signals
) -> None:
    """It ends at once, also while it waits for the database. The database stays empty, and the next copy works."""
    url = new_url()
    assert run("migrate", str(filled), url).returncode == 0
    cluster.sql("TRUNCATE accounts, logs, members, runs CASCADE", url.split("?")[0].split("/")[-1])
    with psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE accounts")
        process = subprocess.Popen(
            [sys.executable, "server.py", "migrate", str(filled), url],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        eventually(lambda: cluster.sql(waiting) == [(1,)], lambda: repr(process.poll()))
        process.send_signal(number)
        out, err = process.communicate(timeout=DEADLINE)
    if number != signal.SIGKILL:
        assert (process.returncode, out, err) == (1, "", "server.py migrate: Interrupted. Nothing was copied.\n")
    assert cluster.sql("SELECT count(*) FROM runs", url.split("?")[0].split("/")[-1]) == [(0,)]
    assert run("migrate", str(filled), url).returncode == 0


def test_damage_is_not_copied(filled: Path, tmp_path: Path) -> None:
    """One sentence, exit status 1, and no copy."""
    with sqlite3.connect(filled / FILE) as db:
        db.execute("UPDATE runs SET body = replace(body, 'hello', 'hallo')")
    db.close()
    done = run("migrate", str(filled), str(tmp_path / "copy"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "server.py migrate: Damaged messages in the channel lab: 1 (run 1). `server.py check` lists all damage. Nothing"
        " was copied.\n"
    )
    assert not (tmp_path / "copy" / FILE).exists()


def test_progress_on_a_terminal(filled: Path, tmp_path: Path) -> None:
    """One line that changes, and is gone at the end."""
    here, there = pty.openpty()
    done = subprocess.run(
        [sys.executable, "server.py", "migrate", str(filled), str(tmp_path / "copy")],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=there, check=False, timeout=DEADLINE,
    )  # fmt: skip
    os.close(there)
    shown = os.read(here, 100_000).decode()
    os.close(here)
    assert done.returncode == 0
    assert "\r[####################] copying runs: 1 of 1 rows, " in shown
    assert "verifying runs: 1 of 1 rows" in shown
    assert "\n" not in shown
    assert shown.endswith(" \r")
    assert (tmp_path / "copy" / FILE).stat().st_mode & 0o077 == 0
