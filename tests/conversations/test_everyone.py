"""People by every door in one room: nobody can tell who came in where."""

from __future__ import annotations

from itertools import permutations

from tests.conversations.doors import every_broker_with_all_doors
from tests.support.fixtures import Meet
from tests.support.talkers import Said


@every_broker_with_all_doors
def test_everyone_hears_everyone_once_and_in_one_order(doors: tuple[str, ...], meet: Meet) -> None:
    people = {door: meet(door, f"in-{door}") for door in doors}
    for talker in people.values():
        talker.join("lab")
    said: list[Said] = []
    for turn in range(3):
        for talker in people.values():
            talker.say(f"{talker.name} {turn}")
            said.append((talker.name, f"{talker.name} {turn}"))
    for one, other in permutations(people.values(), 2):
        one.msg(other.name, f"{one.name} to {other.name}")
    for talker in people.values():
        talker.wait_for("lab", said[-1][1])
        talker.sync()
        assert talker.heard("lab") == said
    for one, other in permutations(people.values(), 2):
        one.wait_for(f"@{other.name}", f"{other.name} to {one.name}")
    for one, other in permutations(people.values(), 2):
        mine, theirs = (one.name, f"{one.name} to {other.name}"), (other.name, f"{other.name} to {one.name}")
        one.sync()
        assert sorted(one.heard(f"@{other.name}")) == sorted([mine, theirs]), "once each"
        assert one.heard(f"@{other.name}") == other.heard(f"@{one.name}"), "in one order"
