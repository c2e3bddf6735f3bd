"""The data folder vanishes under a running server: what nobody would find again is not answered as stored."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from tests.support.clients import Json
from tests.support.processes import Process
from wire.frames import Error, Hello, Join, Ping, Pong, Say, Stored

POSTS = 100


def test_posts_are_refused_after_the_data_folder_was_removed(process: Process, connect: Callable[..., Json]) -> None:
    """Every one, with a sentence, and so is a login. The server goes on, says why in its log, and stops in order."""
    alice = connect(process.address, "alice")
    alice.request(Join("lab"))
    assert isinstance(alice.request(Say("before", "lab")), Stored)
    shutil.rmtree(process.folder)
    sentence = f"The data folder {process.folder} was moved or removed while the server was running."
    answers = [alice.request(Say(f"{at}", "lab")) for at in range(POSTS)]
    assert {(type(answer), answer.code) for answer in answers} == {(Error, "not-stored")}
    assert all(sentence in answer.error for answer in answers)
    newcomer = connect(process.address)
    refused = newcomer.request(Hello(name="bob"))
    assert (refused.code, sentence in refused.error) == ("not-stored", True)
    assert isinstance(alice.request(Ping()), Pong)
    assert sentence in process.log
    assert process.stop() == 0
    assert "Traceback" not in process.log
