"""Messages reach whoever is connected at another server: each once, in order, and without falling behind."""

from __future__ import annotations

import threading

import pytest

from channels import Log
from channels.reader import Reader
from tests.servers.alike import Connect, joined, numbers, wait_for, wait_until_alike, wait_until_level
from tests.servers.conftest import StartServers
from tests.support.clients import Json
from tests.support.servers import LocalSite
from tests.support.waiting import ended, eventually
from wire.frames import Delivered, Entry, History, Msg, Page, Say, Seen, Stored


def test_a_channel_is_one_at_all_servers(start_servers: StartServers, connect: Connect) -> None:
    one, other, third = start_servers(3)
    alice, bob, carol = joined(connect, one, "alice"), joined(connect, other, "bob"), joined(connect, third, "carol")
    for turn, client in enumerate((alice, bob, carol, alice)):
        assert client.request(Say(f"turn {turn}", "lab")).number == turn + 1
        for each in (alice, bob, carol):
            wait_for(each, f"turn {turn}")
    assert [numbers(each) for each in (alice, bob, carol)] == [[1, 2, 3, 4]] * 3
    lab = third.chat.known_channel("lab")
    assert [entry.text for entry in third.chat.store.read(lab.row, 0, 9)] == [f"turn {turn}" for turn in range(4)]


def test_under_load_from_all_sides_everybody_gets_each_number_once_and_in_order(
    start_servers: StartServers, connect: Connect
) -> None:
    """The commits of the servers alternate, so that each of them has gaps to fill before its own entries."""
    servers = start_servers(3)
    clients = [joined(connect, server, f"user{at}") for at, server in enumerate(servers)]
    posts, of_each = 40, 25

    def flood(client: Json, name: str) -> None:
        for turn in range(posts):
            client.send(*[Say(f"{name} {turn} {n}", "lab") for n in range(of_each)])

    threads = [threading.Thread(target=flood, args=(each, f"from{at}")) for at, each in enumerate(clients)]
    for thread in threads:
        thread.start()
    for client in clients:
        client.expect(Entry, lambda entry: entry.number == posts * of_each * len(clients))
    ended(threads, lambda: [len(numbers(each)) for each in clients])
    for client in clients:
        assert numbers(client) == list(range(1, posts * of_each * len(clients) + 1))
        for at in range(len(clients)):
            own = [entry.text for entry in client.of(Entry) if entry.text.startswith(f"from{at} ")]
            assert own == [f"from{at} {turn} {n}" for turn in range(posts) for n in range(of_each)]


def test_a_gap_is_filled_before_the_servers_own_entries(
    start_servers: StartServers, connect: Connect, site: LocalSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other server was not rung, so its own commit shows it that there are numbers between; nobody falls behind."""
    one, other = start_servers(2)
    alice, bob = joined(connect, one, "alice"), joined(connect, other, "bob")
    eventually(lambda: other.chat.channel("lab") is not None, lambda: "the channel is unknown")
    fallen: list[Reader[Log]] = []
    monkeypatch.setattr(Reader, "_fall_behind_locked", fallen.append)
    site.living[2].deaf = True
    alice.request(Say("unheard", "lab"))
    assert bob.request(Say("own", "lab")).number == 2
    wait_for(bob, "own")
    assert numbers(bob) == [1, 2]
    assert not fallen
    site.living[2].deaf = False


def test_who_was_not_rung_looks_again(start_servers: StartServers, connect: Connect, site: LocalSite) -> None:
    one, other = start_servers(2)
    alice, bob = joined(connect, one, "alice"), joined(connect, other, "bob")
    wait_until_alike(one, other)
    site.living[2].deaf = True
    alice.request(Say("not rung", "lab"))
    wait_for(bob, "not rung")
    site.living[2].deaf = False
    assert numbers(bob) == [1]


@pytest.mark.parametrize("first", [True, False])
def test_a_private_message_reaches_a_user_at_another_server(
    start_servers: StartServers, connect: Connect, first: bool
) -> None:
    """Also the first one, whose log is in memory at the sender's server only."""
    one, other = start_servers(2)
    alice, bob = connect(one.address, "alice"), connect(other.address, "bob")
    wait_until_alike(one, other)
    if not first:
        bob.request(Msg("alice", "before"))
        wait_for(alice, "before")
    stored = alice.request(Msg("bob", "hello"))
    assert isinstance(stored, Stored)
    assert not stored.away
    entry = wait_for(bob, "hello")
    assert (entry.number, entry.sender, entry.to) == (stored.number, "alice", "bob")
    wait_until_level(one, "alice")
    bob.request(Seen(user="alice", number=entry.number))
    assert alice.expect(Delivered).number == entry.number
    assert alice.request(Msg("carol", "nobody")).away


def test_what_was_missed_is_there_at_every_server(start_servers: StartServers, connect: Connect) -> None:
    one, other = start_servers(2)
    alice, bob = joined(connect, one, "alice"), joined(connect, one, "bob")
    bob.close()
    for n in range(30):
        alice.send(Say(f"missed {n}", "lab"), Msg("bob", f"private {n}"))
    alice.request(Say("last", "lab"))
    again = connect(other.address, "bob")
    wait_for(again, "last")
    wait_for(again, "private 29")
    assert numbers(again) == list(range(1, 32))
    assert [entry.number for entry in again.of(Entry) if entry.to] == list(range(1, 31))
    page = again.request(History(channel="lab", limit=5))
    assert isinstance(page, Page)
    assert (page.tail, [entry.number for entry in page.entries]) == (31, [27, 28, 29, 30, 31])


def test_more_than_a_server_reads_at_once_comes_whole(
    start_servers: StartServers, connect: Connect, site: LocalSite
) -> None:
    """A server that was cut off for long lets its readers read the store."""
    one, other = start_servers(2)
    alice, bob = joined(connect, one, "alice"), joined(connect, other, "bob")
    wait_until_alike(one, other)
    site.cut_off(2)
    other.chat._inbox._look = lambda: None
    for at in range(30):
        alice.send(*[Say(f"{at} {n}", "lab") for n in range(100)])
    alice.request(Say("last", "lab"))
    site.back(2)
    wait_for(bob, "last")
    assert numbers(bob) == list(range(1, 3_002))
