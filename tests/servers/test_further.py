"""The floors above tell the other servers something, and their functions there hear it."""

from __future__ import annotations

import msgspec

from tests.servers.conftest import StartServers
from tests.support.servers import LocalSite
from tests.support.waiting import eventually


class Lamp(msgspec.Struct):
    """Something that one server tells."""

    room: str
    on: bool


def test_a_further_notice_reaches_the_function_for_its_kind(start_servers: StartServers, site: LocalSite) -> None:
    one, other, third = start_servers(3)
    heard: list[tuple[int, Lamp]] = []
    gone: list[int] = []
    other.chat.hearing.on("lamp", Lamp, lambda server, lamp: heard.append((server, lamp)))
    other.chat.hearing.on_gone(gone.append)
    one.chat.hearing.tell("unknown", Lamp("hall", True))  # to a server of an older version
    one.chat.hearing.tell("lamp", Lamp("lab", True))
    third.chat.hearing.tell("lamp", Lamp("lab", False))
    eventually(lambda: len(heard) == 2, lambda: repr(heard))
    assert sorted(heard, key=lambda each: each[0]) == [(1, Lamp("lab", True)), (3, Lamp("lab", False))]
    site.kill(3)
    eventually(lambda: gone == [3], lambda: repr(gone))
