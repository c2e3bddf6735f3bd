"""The contract of servers, on each database that several of them can use, and in one process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from store import Alone, Client, Holding, KeptWill, ServerRow, Servers, Store, open_store
from tests.support.servers import LocalServers, LocalSite, SharedStore
from tests.support.stores import PostgresPlace
from tests.support.waiting import eventually


class Heard:
    """The messages that one server has heard, and the servers that are gone."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.happened: list[tuple[int, str | None]] = []
        self.missed = 0
        servers.start(
            lambda server, message: self.happened.append((server, message)),
            lambda server: self.happened.append((server, None)),
            self._miss,
        )

    def _miss(self) -> None:
        self.missed += 1


class Meeting:
    """Three servers on one store that has the accounts ann and bob. `kill` lets one of them die.

    `stores` are the store as each of them sees it.
    """

    def __init__(self, stores: list[Store], kill: Callable[[Servers], None]) -> None:
        self.stores, self.store = stores, stores[0]
        for name in ("Ann", "Bob"):
            self.store.open_account(name)
        servers = [each.servers() for each in stores]
        self.heard = [Heard(each) for each in servers]
        self.one, self.other, _ = servers
        self.kill = kill

    def back(self, servers: Servers) -> None:
        """Let a server live again that was killed, as far as the store can see."""
        if isinstance(servers, LocalServers):
            servers.site.living[servers.here] = servers
        else:
            listener = servers._listener  # type: ignore[attr-defined]
            listener._join(listener._connect())
            listener._closed = False

    def close(self) -> None:
        """Close the servers."""
        for each in self.heard:
            each.servers.close()


@pytest.fixture(params=["local", "postgres"])
def meeting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Meeting]:
    """Servers of each kind."""
    if request.param == "local":
        local = open_store(tmp_path)
        site = LocalSite(local)
        shared = [cast("Store", SharedStore(local, site.server(), lambda: None)) for _ in range(3)]
        made = Meeting(shared, lambda servers: site.kill(servers.here))
        yield made
        made.close()
        local.close()
        return
    place = PostgresPlace()
    stores = [place.open(), place.open_another(), place.open_another()]
    made = Meeting(stores, die)
    yield made
    made.close()
    place.clear()


def die(servers: Servers) -> None:
    """Let a server end as its process does by kill -9, as far as PostgreSQL can see."""
    listener = servers._listener  # type: ignore[attr-defined]
    listener._closed = True
    os.write(listener._wake_there, b".")
    listener._thread.join()
    listener._drop()


def holding(
    servers: Servers, connection: int, name: str = "Ann", token: str = "mine", client: str = "",
    address: str = "127.0.0.1",
) -> Holding:  # fmt: skip
    """Return a holding of one of the servers."""
    return Holding(servers.here, connection, name.lower(), name, "socket", address, 7, token, client)


def test_a_pulse_is_heard_by_all_with_the_server_itself(meeting: Meeting) -> None:
    """In order with what it tells the others."""
    meeting.one.tell("before")
    meeting.one.pulse("pulse")
    meeting.one.tell("after")
    here = meeting.one.here
    for at, each in enumerate(meeting.heard):
        wanted = ["pulse"] if at == 0 else ["before", "pulse", "after"]
        eventually(lambda: len(each.happened) == len(wanted), lambda: repr(each.happened))  # noqa: B023
        assert each.happened == [(here, text) for text in wanted]


def test_each_server_hears_the_others_in_order(meeting: Meeting) -> None:
    for n in range(50):
        meeting.one.tell(f"one {n}")
        meeting.other.tell(f"other {n}\n\u2028ü")
    for at, each in enumerate(meeting.heard):
        others = [place for place in range(2) if place != at]
        eventually(lambda: len(each.happened) == 50 * len(others), lambda: repr(each.happened))  # noqa: B023
        for name, server in (("one", meeting.one), ("other", meeting.other)):
            texts = [text for place, text in each.happened if place == server.here]
            end = "\n\u2028ü" if name == "other" else ""
            assert texts in ([], [f"{name} {n}{end}" for n in range(50)])
        assert not each.missed


def test_the_servers_know_each_other(meeting: Meeting) -> None:
    numbers = [each.servers.here for each in meeting.heard]
    assert len({*numbers, 0}) == 4
    assert [each.number for each in meeting.one.others()] == sorted(numbers[1:])
    assert not meeting.one.alone


def test_the_servers_know_how_to_reach_each_other(meeting: Meeting) -> None:
    one, other, third = [each.servers for each in meeting.heard]
    assert one.others() == [ServerRow(other.here), ServerRow(third.here)]
    other.introduce("old", "old:1", "")
    other.introduce("lab-a", "lab-a:7000", "AB:CD")
    assert one.others() == [ServerRow(other.here, "lab-a", "lab-a:7000", "AB:CD", other.secret), ServerRow(third.here)]
    assert len({one.secret, other.secret, third.secret, ""}) == 4
    assert other.secret not in repr(one.others())


def test_a_guests_name_has_one_holding(meeting: Meeting) -> None:
    one, other = meeting.one, meeting.other
    assert one.hold(holding(one, 1), None, proven=False, own=[]).outcome == "held"
    for given in (None, "", "wrong"):
        refused = other.hold(holding(other, 1, token="new"), given, proven=False, own=[])
        assert (refused.outcome, refused.replaced) == ("taken", ())
    assert one.hold(holding(one, 2, "Bob"), None, proven=False, own=[]).outcome == "held"
    held = other.hold(holding(other, 1, token="new"), "mine", proven=False, own=[])
    assert (held.outcome, held.matched) == ("held", True)
    assert [(each.server, each.connection) for each in held.replaced] == [(one.here, 1)]
    assert [(each.server, each.connection, each.token) for each in one.holdings("ann")] == [(other.here, 1, "mine")]
    assert {each.name for each in other.holdings()} == {"Ann", "Bob"}


def test_a_registered_name_has_any_number_of_holdings(meeting: Meeting) -> None:
    one, other = meeting.one, meeting.other
    meeting.store.set_password("ann", "hash")
    assert one.hold(holding(one, 1), None, proven=False, own=[]).outcome == "registered"
    assert one.hold(holding(one, 1), None, proven=True, own=[]).outcome == "held"
    assert other.hold(holding(other, 1, token="new"), "wrong", proven=False, own=[]).outcome == "registered"
    assert other.hold(holding(other, 1, token="new"), None, proven=True, own=[]).replaced == ()
    held = other.hold(holding(other, 2, token="newer"), "mine", proven=False, own=[1])
    assert (held.outcome, held.replaced, held.matched) == ("held", (), True)
    assert sorted(each.token for each in one.holdings("ann")) == ["mine", "mine", "new"]


def test_a_client_replaces_itself_alone(meeting: Meeting) -> None:
    """Of a registered name, at whichever server: the other holdings stay."""
    one, other = meeting.one, meeting.other
    meeting.store.set_password("ann", "hash")
    for connection, client in ((1, "phone"), (2, "tablet"), (3, ""), (4, "")):
        assert one.hold(holding(one, connection, client=client), None, proven=True, own=range(9)).replaced == ()
    assert other.hold(holding(other, 1, "Bob", client="phone"), None, proven=True, own=[]).replaced == ()
    held = other.hold(holding(other, 2, client="phone", address="10.0.0.9"), None, proven=True, own=[])
    assert [(each.server, each.connection) for each in held.replaced] == [(one.here, 1)]
    held = other.hold(holding(other, 3, client="phone"), None, proven=True, own=[2])
    assert [(each.server, each.connection) for each in held.replaced] == [(other.here, 2)]
    assert other.hold(holding(other, 4, client="tablet"), "wrong", proven=False, own=[3]).outcome == "registered"
    kept = {(each.server, each.connection): each.client for each in one.holdings("ann")}
    assert kept == {(one.here, 2): "tablet", (one.here, 3): "", (one.here, 4): "", (other.here, 3): "phone"}


def test_a_guests_client_replaces_itself_at_its_own_address(meeting: Meeting) -> None:
    one, other = meeting.one, meeting.other
    one.hold(holding(one, 1, client="phone"), None, proven=False, own=[])
    for client, address in (("tablet", "127.0.0.1"), ("", "127.0.0.1"), ("phone", "10.0.0.9")):
        asked = holding(other, 1, token="new", client=client, address=address)
        assert other.hold(asked, None, proven=False, own=[]).outcome == "taken"
    held = other.hold(holding(other, 1, token="new", client="phone"), None, proven=False, own=[])
    assert (held.outcome, held.matched) == ("held", False)
    assert [(each.server, each.connection) for each in held.replaced] == [(one.here, 1)]
    assert [(each.server, each.token) for each in one.holdings("ann")] == [(other.here, "new")]
    other.release([1])
    other.hold(holding(other, 2), None, proven=False, own=[])
    taken = one.hold(holding(one, 2), None, proven=False, own=[])
    assert taken.outcome == "taken", "connections without a client id are never the same client"


# Sessions of MQTT clients


def session(servers: Servers, connection: int, state: str = "", expiry: int = 60) -> Client:
    """Return a session of ann's client that a connection at one of the servers has."""
    return Client("ann/dev", expiry, None, state, servers.here, connection)


def connected(meeting: Meeting) -> dict[str, tuple[int, bool]]:
    """Return the server that each session was at last, and whether its client is connected."""
    return {each.key: (each.server, each.until is None) for each in meeting.store.clients("")}


def take_over(meeting: Meeting) -> tuple[Client, Client]:
    """Have a client connect at one server, and then at another one. Return its session at each."""
    one, other = meeting.one, meeting.other
    assert one.hold(holding(one, 1, client="dev"), None, proven=False, own=[]).outcome == "held"
    assert meeting.stores[0].save_client(session(one, 1, "first"))
    assert other.hold(holding(other, 1, client="dev"), None, proven=False, own=[]).replaced
    assert meeting.stores[1].resume_client(session(other, 1, "second"))
    return session(one, 1, "first again"), session(other, 1, "second again")


def test_a_session_is_changed_by_its_owner_alone(meeting: Meeting) -> None:
    first, second = take_over(meeting)
    mine, owner = meeting.stores[0], (first.server, first.connection)
    mine.change_client_filters("ann/dev", {"late": 1}, (), *owner)
    assert not mine.part_client(first)
    mine.end_client("ann/dev", *owner)
    assert [each.state for each in meeting.store.clients("")] == ["second"]
    assert mine.client_filters("ann/dev") == {}
    theirs, owner = meeting.stores[1], (second.server, second.connection)
    theirs.change_client_filters("ann/dev", {"new": 1}, (), *owner)
    assert mine.client_filters("ann/dev") == {"new": 1}
    assert theirs.part_client(second)
    [left] = meeting.store.clients("")
    assert left.state == "second again"
    assert left.until is not None
    assert 59_000 < left.until - meeting.store.clock() <= 60_000
    theirs.end_client("ann/dev", *owner)
    assert meeting.store.clients("") == []
    assert not theirs.part_client(second), "a session that has ended does not come back"
    theirs.end_client("ann/dev", *owner)


def test_a_connection_that_has_lost_its_name_takes_up_no_session(meeting: Meeting) -> None:
    first, second = take_over(meeting)
    mine = meeting.stores[0]
    assert not mine.resume_client(first)
    assert not mine.drop_client("ann/dev", first.server, first.connection)
    assert not mine.save_client(first)
    assert connected(meeting) == {"ann/dev": (second.server, True)}
    assert meeting.stores[1].drop_client("ann/dev", second.server, second.connection)
    assert connected(meeting) == {}


def test_the_sessions_of_a_server_that_is_gone_are_those_of_clients_that_are_away(meeting: Meeting) -> None:
    """From that moment on, by the store's clock; a server that was only taken for dead has them again."""
    one, other = meeting.one, meeting.other
    for at, servers in enumerate((one, other)):
        servers.hold(holding(servers, 1, ("Ann", "Bob")[at], client="dev"), None, proven=False, own=[])
        client = session(servers, 1)
        assert meeting.stores[at].save_client(replace(client, key=("ann/dev", "bob/dev")[at]))
    meeting.store.save_client(Client("/mirror", None, None, ""))
    meeting.stores[1].part_clients()
    everyone = {"/mirror": (0, True), "ann/dev": (one.here, True), "bob/dev": (other.here, True)}
    assert connected(meeting) == everyone
    before = meeting.store.clock()
    meeting.kill(one)
    eventually(lambda: (one.here, None) in meeting.heard[1].happened, lambda: repr(meeting.heard[1].happened))
    assert connected(meeting) == everyone | {"ann/dev": (one.here, False)}
    parted = next(each.until for each in meeting.store.clients("ann"))
    assert parted is not None
    assert before + 60_000 <= parted <= meeting.store.clock() + 60_000
    meeting.stores[1].end_clients(spare=1)
    assert connected(meeting) == everyone | {"ann/dev": (one.here, False)}
    meeting.stores[1].return_clients(one.here, [1])
    assert connected(meeting) == everyone
    meeting.stores[1].part_clients()
    assert connected(meeting) == everyone | {"ann/dev": (one.here, False)}
    meeting.stores[1].end_clients(meeting.store.clock() + 61_000)
    assert sorted(connected(meeting)) == ["/mirror", "bob/dev"]


# Wills of MQTT clients


def armed(meeting: Meeting, at: int, connection: int, delay: int, client: str = "ann/dev") -> KeptWill:
    """Have a client connect at one of the servers, with a will. Its earlier will is not touched."""
    servers = meeting.stores[at].servers()
    name, client_id = client.split("/")
    servers.hold(holding(servers, connection, name.capitalize(), client=client_id), None, proven=False, own=[])
    will = KeptWill(servers.here, connection, client, delay, f'will {connection} of {at}: \0 "ü"')
    servers.wills.arm(will)
    return will


def test_a_will_is_due_when_its_connection_is_lost(meeting: Meeting) -> None:
    """After its delay, or sooner if the session ends; then its server publishes and forgets it."""
    wills = meeting.one.wills
    for connection, delay, seconds, wanted in ((1, 0, 9, 0), (2, 7, 0, 0), (3, 7, 9, 7), (4, 9, 7, 7)):
        armed(meeting, 0, connection, delay)
        assert not wills.take(meeting.one.here, connection), "it is not due"
        assert meeting.other.wills.lost(connection, seconds) is None, "it is another server's"
        assert wills.lost(connection, seconds) == wanted
        assert wills.lost(connection, seconds) is None, "it is due already"
        assert not meeting.other.wills.take(meeting.one.here, connection)
        assert wills.take(meeting.one.here, connection)
        assert not meeting.other.wills.forget(meeting.one.here, connection)
        assert wills.forget(meeting.one.here, connection)
        assert not wills.forget(meeting.one.here, connection)
        assert not wills.take(meeting.one.here, connection)
    assert wills.lost(5, 0) is None


def test_whoever_holds_a_name_learns_whether_its_client_has_wills(meeting: Meeting) -> None:
    armed(meeting, 0, 1, 0)
    for client, name, wanted in (("dev", "Ann", True), ("de", "Ann", False), ("dev", "Bob", False)):
        meeting.other.release(range(9))
        asked = holding(meeting.other, 1, name, client=client)
        held = meeting.other.hold(asked, "mine", proven=False, own=[])
        assert (held.outcome, held.has_wills) == ("held", wanted)


def test_a_connection_that_has_lost_its_name_arms_no_will(meeting: Meeting) -> None:
    one = meeting.one
    will = KeptWill(one.here, 1, "ann/dev", 0, "late")
    one.wills.arm(will)
    assert one.wills.lost(1, 0) is None


@pytest.mark.parametrize("clean", [False, True])
def test_the_delayed_wills_of_a_client_that_connects(meeting: Meeting, clean: bool) -> None:
    """They are dropped; after a clean start they are due, at the server that has the connection, or at the new one."""
    one, other = meeting.one.wills, meeting.other.wills
    here, there = meeting.one.here, meeting.other.here
    for connection, delay in ((1, 0), (2, 7), (3, 7), (4, 0), (5, 7)):
        armed(meeting, 0, connection, delay)
    waits, published = armed(meeting, 1, 6, 7), armed(meeting, 1, 7, 0)
    armed(meeting, 0, 8, 7, "bob/dev")
    assert [one.lost(3, 9), one.lost(4, 9), other.lost(6, 9), other.lost(7, 9)] == [7, 0, 7, 0]
    held = meeting.one.hold(holding(meeting.one, 9, client="dev"), None, proven=False, own=[8])
    assert held.has_wills
    found = one.connected("ann/dev", clean=clean)
    new = armed(meeting, 0, 9, 7)
    assert sorted(each.connection for each in found) == ([3, 6] if clean else [])
    assert not clean or waits.text in {each.text for each in found}
    assert [one.lost(each, 9) for each in (1, 2, 5, 8, 9)] == ([0, 0, 0, 7, 7] if clean else [0, None, None, 7, 7])
    assert not other.take(there, waits.connection)
    assert other.take(there, published.connection), "it was being published before"
    assert one.forget(here, new.connection)


def test_the_wills_of_a_server_that_is_gone_are_adopted_by_one_other(meeting: Meeting) -> None:
    """With what is left of their delays; a will whose client is back is not due any more."""
    one, other, third = [store.servers().wills for store in meeting.stores]
    here = meeting.one.here
    kept = {
        connection: armed(meeting, 0, connection, delay) for connection, delay in ((1, 0), (2, 70), (3, 70), (4, 0))
    }
    assert [one.lost(3, 50), one.lost(4, 0)] == [50, 0]
    assert other.adopt() == []
    meeting.kill(meeting.one)
    eventually(lambda: (here, None) in meeting.heard[2].happened, lambda: repr(meeting.heard[2].happened))
    found = {will.connection: (will, seconds) for will, seconds in other.adopt()}
    assert third.adopt() == other.adopt() == []
    assert {connection: will for connection, (will, _) in found.items()} == kept
    left = {connection: seconds for connection, (_, seconds) in found.items()}
    assert left[1] == left[4] == 0
    assert 69 < left[2] <= 70
    assert 49 < left[3] <= 50
    assert not third.take(here, 1)
    assert other.take(here, 1)
    assert other.take(here, 4)
    assert third.connected("ann/dev", clean=False) == []
    assert not other.take(here, 2)
    assert other.forget(here, 1)


def test_a_server_that_was_taken_for_dead_has_its_wills_again(meeting: Meeting) -> None:
    """But not one that another server publishes, or has published."""
    other = meeting.other.wills
    here = meeting.one.here
    for connection, delay in ((1, 0), (2, 70), (3, 70), (4, 0)):
        armed(meeting, 0, connection, delay)
    meeting.kill(meeting.one)
    eventually(lambda: (here, None) in meeting.heard[1].happened, lambda: repr(meeting.heard[1].happened))
    assert len(other.adopt()) == 4
    assert [other.take(here, connection) for connection in (1, 4)] == [True, True]
    assert other.forget(here, 1)
    meeting.back(meeting.one)
    meeting.one.wills.restore([1, 2, 4])
    assert [other.take(here, connection) for connection in (2, 3, 4)] == [False, True, True]
    assert [meeting.one.wills.lost(connection, 99) for connection in (1, 2, 3, 4)] == [None, 70, None, None]


def test_a_holding_that_its_server_has_given_up_holds_nothing(meeting: Meeting) -> None:
    """Its removal is on its way; until then, the same server does not count it."""
    one, other = meeting.one, meeting.other
    one.hold(holding(one, 1), None, proven=False, own=[])
    held = one.hold(holding(one, 2, token="new"), None, proven=False, own=[])
    assert (held.outcome, held.replaced) == ("held", ())
    assert [(each.connection, each.token) for each in one.holdings("ann")] == [(2, "new")]
    assert one.hold(holding(one, 3), None, proven=False, own=[2]).outcome == "taken"
    one.release([1, 2, 99])
    assert other.hold(holding(other, 1), None, proven=False, own=[]).outcome == "held"
    one.release([1])
    assert len(other.holdings("ann")) == 1


def test_a_name_without_an_account_is_not_held(meeting: Meeting) -> None:
    one = meeting.one
    assert one.hold(holding(one, 1, "Carol"), None, proven=True, own=[]).outcome == "forgotten"
    assert one.holdings() == []


@pytest.mark.parametrize("dies", [True, False])
def test_a_server_that_is_gone_holds_nothing(meeting: Meeting, dies: bool) -> None:
    one, other = meeting.one, meeting.other
    other.hold(holding(other, 1), None, proven=False, own=[])
    one.hold(holding(one, 1, "Bob"), None, proven=False, own=[])
    other.tell("last words")
    if dies:
        meeting.kill(other)
    else:
        other.close()
    for each in (meeting.heard[0], meeting.heard[2]):
        wanted = [(other.here, "last words"), (other.here, None)]
        eventually(lambda: each.happened == wanted, lambda: repr(each.happened))  # noqa: B023
    assert other.here not in [each.number for each in one.others()]
    assert [each.key for each in one.holdings()] == ["bob"]


def test_holdings_are_restored_unless_others_have_the_names(meeting: Meeting) -> None:
    one, other = meeting.one, meeting.other
    mine = [holding(one, 1), holding(one, 2, "Bob"), holding(one, 3, "Bob", "more"), holding(one, 4, "Bob", "", "dev")]
    meeting.store.set_password("bob", "hash")
    for each in mine:
        one.hold(each, None, proven=True, own=[2])
    assert one.hold_again(mine) == []
    one.release([1, 2, 3, 4])
    other.hold(holding(other, 1), None, proven=False, own=[])
    other.hold(holding(other, 2, "Bob"), None, proven=True, own=[])
    other.hold(holding(other, 3, "Bob", "other", "dev"), None, proven=True, own=[2])
    assert one.hold_again(mine) == [1, 4]
    found = {(each.server, each.connection): each.token for each in one.holdings()}
    assert found == {
        (other.here, 1): "mine", (other.here, 2): "mine", (other.here, 3): "other", (one.here, 2): "mine",
        (one.here, 3): "more",
    }  # fmt: skip


def test_a_store_for_one_server_has_no_others(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    servers = store.servers()
    assert servers is store.servers()
    assert servers.alone
    servers.introduce("lab-a", "lab-a:7000", "")
    assert servers.others() == []
    assert servers.secret == ""
    assert servers.hold(holding(servers, 1), None, proven=False, own=[]).outcome == "held"
    assert servers.holdings() == []
    assert isinstance(servers, Alone)
    store.close()


def test_a_message_of_any_size_is_heard(meeting: Meeting) -> None:
    """Also one that is too large for a notification, between small ones."""
    texts = ["small", "ü" * 5_000, "x" * 1_000_000, "small again"]
    for text in texts:
        meeting.one.tell(text)
    for each in meeting.heard[1:]:
        eventually(lambda: len(each.happened) == len(texts), lambda: str(len(each.happened)))  # noqa: B023
        assert each.happened == [(meeting.one.here, text) for text in texts]


class Turns:
    """What one server was told of its duty, and what all were told before it."""

    def __init__(self, servers: Servers, name: str, all_turns: list[tuple[str, bool]]) -> None:
        self.servers = servers
        self.name = name
        self.had: list[bool] = []
        self._all = all_turns
        servers.introduce(name, "127.0.0.1:7000", "")
        servers.share("sweep", self._change)

    def _change(self, ours: bool) -> None:
        self.had.append(ours)
        self._all.append((self.name, ours))


def on_duty(servers: Servers, duty: str) -> str | None:
    """Return the name of the server that has a duty."""
    row = servers.on_duty(duty)
    return None if row is None else row.name


def shared(meeting: Meeting) -> tuple[list[Turns], list[tuple[str, bool]]]:
    """Have all servers share a duty."""
    told: list[tuple[str, bool]] = []
    return [Turns(each.servers, f"server {at}", told) for at, each in enumerate(meeting.heard)], told


def wait_for_turn(turns: Turns, *had: bool) -> None:
    """Return when a server was told that of its duty."""
    eventually(lambda: turns.had == [*had], lambda: repr(turns.had))


def test_a_duty_is_one_servers_at_a_time(meeting: Meeting) -> None:
    (one, other, third), told = shared(meeting)
    wait_for_turn(one, True)
    for each in (one, other, third):
        assert on_duty(each.servers, "sweep") == "server 0"
        assert each.servers.on_duty("something else") is None
    one.servers.give_up("sweep")
    eventually(lambda: len(told) == 2, lambda: repr(told))
    assert told[1] in (("server 1", True), ("server 2", True))
    assert on_duty(third.servers, "sweep") == told[1][0]
    assert one.had == [True]


@pytest.mark.parametrize("dies", [True, False])
def test_a_duty_passes_on_when_its_server_is_gone(meeting: Meeting, dies: bool) -> None:
    (one, *others), told = shared(meeting)
    wait_for_turn(one, True)
    begun = time.monotonic()
    if dies:
        meeting.kill(one.servers)
    else:
        one.servers.close()
    eventually(lambda: any([each.had for each in others]), lambda: repr(told))
    assert time.monotonic() - begun < 5
    assert sum([each.had == [True] for each in others]) == 1


def test_a_server_has_all_duties_of_which_it_is_the_only_one(meeting: Meeting) -> None:
    told: list[tuple[str, bool]] = []
    duties = [f"sweep {at}" for at in range(3)]
    meeting.other.introduce("other", "127.0.0.1:7000", "")
    for duty in duties:
        meeting.other.share(duty, lambda ours, duty=duty: told.append((duty, ours)))  # type: ignore[misc]
    eventually(lambda: len(told) == 3, lambda: repr(told))
    assert told == [(duty, True) for duty in duties]
    meeting.other.give_up(duties[1])
    eventually(lambda: meeting.one.on_duty(duties[1]) is None, lambda: "it has the duty still")
    assert [on_duty(meeting.one, duty) for duty in duties] == ["other", None, "other"]


def test_the_only_server_of_a_store_has_each_duty() -> None:
    told: list[bool] = []
    Alone().share("sweep", told.append)
    assert told == [True]
    assert Alone().on_duty("sweep") is None
