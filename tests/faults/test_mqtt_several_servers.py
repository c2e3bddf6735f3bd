"""MQTT clients of several `server.py` on one PostgreSQL: sessions, wills and take-over hold, also if one is killed."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.clients import Json
from tests.support.load import Scene
from tests.support.mqtt import MqttLine
from tests.support.mqtt.load import Publisher, Subscriber, acknowledged, check, progress, read_all, until
from tests.support.postgres import shared_cluster
from tests.support.processes import Process
from tests.support.waiting import DEADLINE, ended, eventually, random_moment
from wire.frames import Entry, History, Join, Page, Register, Say
from wire.mqtt import V5, ConnAck, Connect, Disconnect, Properties, Reason, Will

Mqtt = Callable[..., MqttLine]
Connecting = Callable[..., Json]
Start = Callable[[int], list[Process]]
KILLS = 5
TURNS = int(os.environ.get("PARTYLINE_TAKE_OVERS", "40"))  # a thorough run has 1,000
PASSWORD = "correct-horse"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start so many servers on one empty database; killed afterwards."""
    cluster = shared_cluster()
    name = cluster.new_database()
    started: list[Process] = []

    def make(count: int) -> list[Process]:
        url = cluster.socket_url(name)
        started.extend(Process(tmp_path / f"server{at}", "--database", url) for at in range(count))
        return started

    yield make
    for process in started:
        process.kill()
    cluster.drop_database(name)


def postgres_has_settled() -> None:
    """Return when servers may be taken for dead."""
    up = "SELECT now() - pg_postmaster_start_time() > interval '5 seconds'"
    eventually(lambda: bool(shared_cluster().sql(up)[0][0]), lambda: "PostgreSQL has just started")


def test_sessions_go_on_at_other_servers_when_one_is_killed_under_load(start: Start) -> None:
    """Each client misses nothing, and what was acknowledged is there."""
    processes = start(3)
    postgres_has_settled()
    scenes = [Scene(process.address) for process in processes]
    subscribers = [Subscriber(scene, at) for at, scene in enumerate(scenes)]
    publishers = [Publisher(scenes[at % 3], at) for at in range(9)]
    threads = [scene.run(each.work, each.name) for scene, each in zip(scenes, subscribers, strict=True)]
    for scene in scenes:
        until(scene, lambda: all(each.subscribed for each in subscribers))
    threads += [scenes[at % 3].run(each.work, each.name) for at, each in enumerate(publishers)]
    try:
        for _ in range(KILLS):
            progress(scenes[0], publishers, random.randint(100, 800))
            random_moment()
            kill_one(processes, scenes)
        progress(scenes[0], publishers, 300)
        for scene in scenes:
            scene.drain.set()
        ended(threads[3:], lambda: acknowledged(publishers))
        logs = read_all(processes[0].address)
        for subscriber in subscribers:
            subscriber.wanted = {name: len(log) for name, log in logs.items()}
        ended(threads[:3], lambda: [sum(map(len, each.had.values())) for each in subscribers])
    finally:
        for scene in scenes:
            scene.stop.set()
            scene.drain.set()
        for process in processes:
            process.kill()
        for thread in threads:
            thread.join(DEADLINE)
    assert not [failure for scene in scenes for failure in scene.failures]
    check(logs, publishers, subscribers)
    assert not [process.log for process in processes if "Traceback" in process.log]


def kill_one(processes: list[Process], scenes: list[Scene]) -> None:
    """Kill one of the servers; its clients go on at another one, before it is started again."""
    victim, other = random.sample(processes, 2)
    for scene in scenes:
        if scene.address == victim.address:
            scene.address = other.address
    victim.restart()


def mortal(mqtt: Mqtt, process: Process, name: str, delay: int = 0) -> MqttLine:
    """Return a client with a will, whose session is kept."""
    will = Will(
        f"chat/from/{name}/say/lab", f"{name} is lost".encode(), properties=Properties(will_delay_interval=delay)
    )
    line = mqtt(process.address, name, will=will, clean=False, properties=Properties(session_expiry_interval=1_000))
    line.ping()
    return line


def said(watcher: Json) -> list[str]:
    """Return what was said in lab, sorted."""
    page = watcher.request(History(channel="lab", after=0))
    assert isinstance(page, Page)
    return sorted(entry.text for entry in page.entries)


def test_the_wills_of_a_killed_server_are_published_once(start: Start, connect: Connecting, mqtt: Mqtt) -> None:
    """By one of the two others: of a client that is back by then, none that has a delay."""
    one, other, third = start(3)
    postgres_has_settled()
    watcher = connect(third.address, "watcher")
    watcher.request(Join("lab"))
    for n in range(20):
        mortal(mqtt, one, f"user{n}", delay=n % 2)
    mortal(mqtt, one, "back", delay=30)
    one.kill()
    back = mqtt(other.address, "back", clean=False, properties=Properties(session_expiry_interval=1_000))
    assert back.connack.session_present
    for _ in range(20):
        watcher.expect(Entry, lambda entry: entry.text.endswith("is lost"))
    one.start()
    watcher.request(Say("the end", "lab"))
    assert said(watcher) == sorted([*(f"user{n} is lost" for n in range(20)), "the end"])


def test_a_server_that_was_alone_publishes_its_wills_after_a_kill(
    start: Start, connect: Connecting, mqtt: Mqtt
) -> None:
    [one] = start(1)
    postgres_has_settled()
    mortal(mqtt, one, "at-once")
    mortal(mqtt, one, "later", delay=1)
    mortal(mqtt, one, "back", delay=30)
    mortal(mqtt, one, "gone").disconnect()
    one.restart()
    watcher = connect(one.address, "watcher")
    watcher.request(Join("lab"))
    back = mqtt(one.address, "back", clean=False, properties=Properties(session_expiry_interval=1_000))
    assert back.connack.session_present
    eventually(lambda: len(said(watcher)) == 2, lambda: repr(said(watcher)))
    assert said(watcher) == ["at-once is lost", "later is lost"]


def test_a_client_that_connects_at_two_servers_at_the_same_moment_is_at_one(start: Start, connect: Connecting) -> None:
    """Many times; its session goes along each time, and nobody hangs."""
    processes = start(2)
    founder = connect(processes[0].address, "alice")
    founder.request(Register(PASSWORD))
    founder.close()
    before: list[MqttLine] = []
    for turn in range(TURNS):
        lines: list[MqttLine] = []

        def dial(process: Process, lines: list[MqttLine] = lines) -> None:
            line = MqttLine(process.address, connect=False)
            lines.append(line)
            keep = Properties(session_expiry_interval=1_000)
            line.send(
                Connect(
                    version=V5, client_id="phone", username="alice", password=PASSWORD.encode(), clean=False,
                    properties=keep,
                )
            )  # fmt: skip
            stays(line)

        threads = [threading.Thread(target=dial, args=(each,), name=each.address) for each in processes]
        for thread in threads:
            thread.start()
        ended(threads, lambda: [line.received for line in lines])  # noqa: B023
        eventually(lambda: sum(map(stays, [*before, *lines])) == 1, lambda: repr([line.received for line in lines]))  # noqa: B023
        if turn:
            answers = [each for line in lines for each in line.received if isinstance(each, ConnAck)]
            assert any(each.session_present for each in answers), answers
        for line in lines:
            if line.ended:
                assert kept_rules(line), line.received
                line.close()
        before = [line for line in lines if not line.ended]
    for line in before:
        line.close()
    assert not [process.warnings for process in processes if process.warnings]


def stays(line: MqttLine) -> bool:
    """Return whether a connection is there."""
    try:
        if not line.ended:
            line.ping()
    except (AssertionError, OSError):
        line.ended = True
    return not line.ended


def kept_rules(line: MqttLine) -> bool:
    """Return whether the server has ended a connection in order: as taken over, or as one that came too early."""
    answers = [each.reason for each in line.received if isinstance(each, ConnAck)]
    ends = [each.reason for each in line.received if isinstance(each, Disconnect)]
    if answers == [Reason.SUCCESS]:
        return ends in ([], [Reason.SESSION_TAKEN_OVER])
    return answers in ([], [Reason.SERVER_BUSY]) and not ends
