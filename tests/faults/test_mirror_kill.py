"""`kill -9` of the server under load, with publishers on the broker.

What the broker acknowledged is in the log, and all that is in the log was on the broker, in order.
"""

from __future__ import annotations

import random

from tests.support.brokers import StartBroker
from tests.support.fixtures import StartProcess
from tests.support.load import Poster, Scene
from tests.support.long_runs import times
from tests.support.mirror_load import Publisher, Subscriber, audit, check, wait_for_entries
from tests.support.waiting import DEADLINE, random_moment

KILLS = times("CAMPAIGN_KILLS", 5)
_PUBLISHERS, _POSTERS = 4, 2


def test_kills_under_load(start_process: StartProcess, start_broker: StartBroker) -> None:
    broker = start_broker("mosquitto")
    process = start_process("--broker", broker.url)
    outside, inside = Scene(broker.address), Scene(process.address)
    subscriber = Subscriber(outside, 0)
    listening = outside.run(subscriber.work, subscriber.name)
    assert subscriber.ready.wait(DEADLINE)
    publishers = [Publisher(outside, at) for at in range(_PUBLISHERS)]
    posters = [Poster(inside, at) for at in range(_POSTERS)]
    threads = [outside.run(each.work, each.name) for each in publishers]
    threads += [inside.run(each.work, each.name) for each in posters]
    try:
        for _ in range(KILLS):
            wait_for_entries(process.address, random.randint(100, 600))
            random_moment()
            inside.up.clear()
            process.restart()
            inside.up.set()
        for scene in (outside, inside):
            scene.drain.set()
        logs = audit(process.address, publishers, posters, subscriber, threads, listening)
    finally:
        for scene in (outside, inside):
            scene.stop.set()
            scene.drain.set()
        process.kill()
        for thread in (*threads, listening):
            thread.join(DEADLINE)
    assert not outside.failures + inside.failures, outside.failures + inside.failures
    check(logs, publishers, subscriber)
    assert "Traceback" not in process.log, process.log
