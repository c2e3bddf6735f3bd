"""For the tests that kill something under load: what their threads share, and who posts."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from itertools import count

from tests.support.clients import Bulk, Gone
from tests.support.waiting import DEADLINE
from wire.frames import Error, Join, Msg, Say, Stored

_WINDOW = 30  # posts that one poster has on their way


class Scene:
    """State that all threads of a test share: is the server up, when to stop, which errors occurred."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.up = threading.Event()
        self.up.set()
        self.drain = threading.Event()  # post nothing new
        self.stop = threading.Event()
        self.failures: list[BaseException] = []

    def run(self, work: Callable[[], None], name: str) -> threading.Thread:
        """Start a thread that does `work` on one connection after another, until that returns."""

        def keep_on() -> None:
            while not self.stop.is_set():
                self.up.wait(DEADLINE)
                try:
                    work()
                    return
                except Gone:
                    continue
                except BaseException as error:
                    self.failures.append(error)
                    return

        thread = threading.Thread(target=keep_on, name=name)
        thread.start()
        return thread


class Poster:
    """Posts with ids to the channel and to a reader; sends what was not acknowledged again on the next connection."""

    def __init__(self, scene: Scene, at: int) -> None:
        self.name = f"poster{at}"
        self.numbers: dict[str, int] = {}  # by id, as acknowledged
        self.posts: dict[str, Say | Msg] = {}
        self._scene = scene
        self._open: dict[str, Say | Msg] = {}
        self._fresh = count()

    def work(self) -> None:
        """One connection; returns when all is acknowledged after `drain`."""
        scene = self._scene
        with Bulk(scene.address, self.name, since={"lab": 1 << 40}) as line:
            line.send(Join("lab"), *self._open.values())
            while self._open or not scene.drain.is_set():
                if not scene.drain.is_set() and len(self._open) < _WINDOW:
                    line.send(*[self._make() for _ in range(_WINDOW // 2)])
                for frame in line.take():
                    if isinstance(frame, Stored):
                        self._acknowledged(frame)
                    assert not isinstance(frame, Error), frame

    def _make(self) -> Say | Msg:
        id = f"{self.name}-{next(self._fresh)}"
        text = f"text of {id}"
        post = Msg("reader0", text, id, ref=id) if random.random() < 0.2 else Say(text, "lab", id, ref=id)
        self.posts[id] = self._open[id] = post
        return post

    def _acknowledged(self, frame: Stored) -> None:
        assert frame.id is not None
        assert self.numbers.setdefault(frame.id, frame.number) == frame.number, f"{frame.id} has two numbers"
        self._open.pop(frame.id, None)
