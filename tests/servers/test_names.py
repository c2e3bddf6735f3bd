"""Names, presence and channels hold across servers."""

from __future__ import annotations

import threading

import pytest

from channels import Session
from server import Server
from store import Store
from tests.servers.alike import Connect, joined, numbers, wait_for, wait_until_alike
from tests.servers.conftest import StartServers
from tests.support.clients import Json
from tests.support.servers import LocalSite
from tests.support.waiting import DEADLINE, ended, eventually
from wire.frames import (
    ChannelList,
    Channels,
    Closing,
    Error,
    Hello,
    Join,
    Leave,
    Members,
    Msg,
    Ping,
    Presence,
    Register,
    Registered,
    Say,
    Topic,
    TopicChanged,
    UserInfo,
    Welcome,
    Who,
    Whois,
)
from wire.limits import Limits

PASSWORD = "correct-horse"


def hello(client: Json, name: str, **fields: object) -> Welcome | Error:
    """Return the answer to a login."""
    answer = client.request(Hello(name=name, **fields))  # type: ignore[arg-type]
    assert isinstance(answer, Welcome | Error)
    return answer


def test_a_guests_name_has_one_holder_in_all(start_servers: StartServers, connect: Connect) -> None:
    one, other = start_servers(2)
    connect(one.address, "alice")
    refused = hello(connect(other.address), "ALICE")
    assert isinstance(refused, Error)
    assert refused.code == "name-taken"


def test_many_at_once_ask_for_one_name_and_one_gets_it(start_servers: StartServers, connect: Connect) -> None:
    servers = start_servers(3)
    clients = [connect(servers[n % 3].address) for n in range(12)]
    answers: list[Welcome | Error] = []
    threads = [threading.Thread(target=lambda each=each: answers.append(hello(each, "alice"))) for each in clients]
    for thread in threads:
        thread.start()
    ended(threads, lambda: len(answers))
    assert sorted(type(answer).__name__ for answer in answers) == ["Error"] * 11 + ["Welcome"]
    wait_until_alike(*servers)


def test_the_token_takes_a_name_over_from_another_server(start_servers: StartServers, connect: Connect) -> None:
    one, other, third = start_servers(3)
    watcher, first = joined(connect, third, "watcher"), joined(connect, one, "alice")
    watcher.expect(Presence, lambda each: each.what == "join")
    second = connect(other.address)
    welcome = hello(second, "alice", token=first.welcome.token)
    assert isinstance(welcome, Welcome)
    assert welcome.token == first.welcome.token
    assert first.expect(Closing).code == "replaced"
    first.until_closed()
    watcher.request(Say("hello", "lab"))
    wait_for(second, "hello")
    wait_until_alike(one, other, third)
    assert [user.name for user in one.chat.directory.users()] == ["alice", "watcher"]
    assert {each.what for each in watcher.of(Presence)} == {"join"}, "nobody was away in between"
    # And back again, with the same token.
    again = connect(one.address)
    assert isinstance(hello(again, "alice", token=first.welcome.token), Welcome)
    assert second.expect(Closing).code == "replaced"


def test_a_wrong_token_takes_nothing_over(start_servers: StartServers, connect: Connect) -> None:
    one, other = start_servers(2)
    first = connect(one.address, "alice")
    for token in ("", "wrong"):
        refused = hello(connect(other.address), "alice", token=token)
        assert isinstance(refused, Error)
    assert first.request(Ping())


def test_a_name_is_free_once_its_holder_has_left_another_server(start_servers: StartServers, connect: Connect) -> None:
    """Also while the holder's connection is still ending there, since the second login waits for that."""
    servers = start_servers(2)
    for turn in range(20):
        client = connect(servers[turn % 2].address, "alice")
        client.close()


def test_a_login_waits_for_a_connection_that_is_ending_at_another_server(
    start_servers: StartServers, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = start_servers(2)
    first = connect(one.address, "alice")
    wait_until_alike(one, other)
    ending, go_on, close = threading.Event(), threading.Event(), Session.close

    def close_late(session: Session) -> None:
        if session.chat is one.chat:
            ending.set()
            assert go_on.wait(DEADLINE)
        close(session)

    monkeypatch.setattr(Session, "close", close_late)
    try:
        first.close()
        assert ending.wait(DEADLINE)
        late = connect(other.address)
        late.send(Hello(name="alice", ref=1))
        eventually(lambda: bool(other.chat.directory._waits), lambda: "nobody waits")
    finally:
        go_on.set()
    assert isinstance(late.expect(Welcome), Welcome)


def test_a_registered_name_is_held_by_any_number_of_connections(start_servers: StartServers, connect: Connect) -> None:
    one, other = start_servers(2)
    first = joined(connect, one, "alice")
    refused = hello(connect(other.address), "alice", password=PASSWORD)
    assert isinstance(refused, Error)
    assert isinstance(first.request(Register(PASSWORD)), Registered)
    refused = hello(connect(other.address), "alice")
    assert isinstance(refused, Error)
    assert refused.code == "need-password"
    second = connect(other.address)
    assert isinstance(hello(second, "alice", password=PASSWORD), Welcome)
    third = connect(other.address)
    assert isinstance(hello(third, "alice", token=first.welcome.token), Welcome)
    for client in (first, second, third):
        client.request(Say(f"by {id(client)}", "lab"))
        for each in (first, second, third):
            wait_for(each, f"by {id(client)}")
    wait_until_alike(one, other)
    assert one.chat.status().connections == other.chat.status().connections == 3


def test_a_users_connections_join_and_leave_together(start_servers: StartServers, connect: Connect) -> None:
    one, other = start_servers(2)
    first = connect(one.address, "alice")
    first.request(Register(PASSWORD))
    second = connect(other.address, "alice", password=PASSWORD)
    bob = connect(other.address, "bob")
    first.request(Join("lab"))
    eventually(lambda: "lab" in names_of(other, "alice"), lambda: "the other connection does not follow")
    bob.request(Join("lab"))
    bob.request(Say("hello", "lab"))
    wait_for(first, "hello")
    wait_for(second, "hello")
    second.request(Leave("lab"))
    eventually(lambda: "lab" not in names_of(one, "alice"), lambda: "the first connection does not stop")
    bob.request(Say("alone", "lab"))
    wait_for(bob, "alone")
    wait_until_alike(one, other)
    first.request(Ping())
    second.request(Ping())
    assert numbers(first) == numbers(second) == [1]


def names_of(server: Server, name: str) -> list[str]:
    """Return the channels that the sessions of a user at a server follow."""
    user = server.chat.directory.find(name)
    return [] if user is None else [log.row.name for log in list(user.joined)]


def test_presence_is_told_everywhere_and_once(start_servers: StartServers, connect: Connect) -> None:
    one, other = start_servers(2)
    near, far = joined(connect, one, "near"), joined(connect, other, "far")
    near.expect(Presence, lambda each: each.user == "far")
    alice = joined(connect, one, "alice")
    for watcher in (near, far):
        assert watcher.expect(Presence, lambda each: each.user == "alice").what == "join"
    alice.request(Register(PASSWORD))
    second = connect(other.address, "alice", password=PASSWORD)
    wait_until_alike(one, other)
    alice.close()
    wait_until_alike(one, other)
    second.request(Leave("lab"))
    for watcher in (near, far):
        assert watcher.expect(Presence, lambda each: each.user == "alice").what == "leave"
    second.request(Join("lab"))
    second.close()
    for watcher in (near, far):
        assert watcher.expect(Presence, lambda each: each.user == "alice").what == "join"
        assert watcher.expect(Presence, lambda each: each.user == "alice").what == "offline"
    connect(other.address, "alice", password=PASSWORD)
    for watcher in (near, far):
        assert watcher.expect(Presence, lambda each: each.user == "alice").what == "online"


def test_lists_and_lookups_know_all_servers(start_servers: StartServers, connect: Connect) -> None:
    one, other = start_servers(2)
    alice, bob = joined(connect, one, "alice"), joined(connect, other, "bob")
    wait_until_alike(one, other)
    for client in (alice, bob):
        members = client.request(Who())
        assert isinstance(members, Members)
        assert [each.name for each in members.members] == ["alice", "bob"]
        members = client.request(Who("lab"))
        assert [(each.name, each.online) for each in members.members] == [("alice", True), ("bob", True)]
        info = client.request(Whois("bob" if client is alice else "alice"))
        assert isinstance(info, UserInfo)
        assert (info.online, info.doors, info.address) == (True, ["socket"], "127.0.0.1")
        assert info.since
    assert not alice.request(Msg("bob", "hello")).away
    bob.close()
    eventually(lambda: one.chat.directory.find("bob") is None, lambda: "bob stays")
    assert alice.request(Msg("bob", "hello")).away
    assert not alice.request(Whois("bob")).online


def test_channels_topics_and_counts_agree(start_servers: StartServers, connect: Connect) -> None:
    one, other = start_servers(2)
    alice, bob = joined(connect, one, "alice"), connect(other.address, "bob")
    wait_until_alike(one, other)
    assert bob.request(Topic("lab")).topic == ""
    assert bob.request(Join("lab")).members == 2
    alice.request(Topic("lab", "kiln"))
    changed = bob.expect(TopicChanged)
    assert (changed.channel, changed.topic, changed.user) == ("lab", "kiln", "alice")
    assert bob.request(Topic("lab")).topic == "kiln"
    bob.request(Join("hall"))
    bob.request(Leave("lab"))
    wait_until_alike(one, other)
    listed = alice.request(Channels())
    assert isinstance(listed, ChannelList)
    assert [(each.name, each.members, each.topic) for each in listed.channels] == [("hall", 1, ""), ("lab", 1, "kiln")]


def test_members_and_topics_that_change_everywhere_at_once_agree_in_the_end(
    start_servers: StartServers, connect: Connect
) -> None:
    servers = start_servers(3)
    clients = [joined(connect, servers[n % 3], f"user{n}") for n in range(6)]

    def move(client: Json, n: int) -> None:
        for turn in range(15):
            client.request(Leave("lab"))
            client.request(Join("lab"))
            client.request(Topic("lab", f"{n} {turn}"))

    threads = [threading.Thread(target=move, args=(each, n)) for n, each in enumerate(clients)]
    for thread in threads:
        thread.start()
    ended(threads, lambda: [len(each.received) for each in clients])
    wait_until_alike(*servers)
    assert servers[0].chat.known_channel("lab").members == 6


def test_an_empty_channel_leaves_all_servers(start_servers: StartServers, connect: Connect) -> None:
    one, other = start_servers(2, Limits(channel_days=1))
    alice, bob = joined(connect, one, "alice"), joined(connect, other, "bob", "hall")
    alice.request(Leave("lab"))
    wait_until_alike(one, other)
    one.chat.cleanup.sweep(2**45)
    wait_until_alike(one, other)
    assert [log.row.name for log in other.chat.all_channels()] == ["hall"]
    assert bob.request(Join("lab")).tail == 0
    wait_until_alike(one, other)


def test_a_channel_that_another_server_has_removed_is_made_again(
    start_servers: StartServers, connect: Connect, site: LocalSite
) -> None:
    """Before this server has heard of its end."""
    one, other = start_servers(2)
    alice, bob = joined(connect, one, "alice"), connect(other.address, "bob")
    alice.request(Leave("lab"))
    wait_until_alike(one, other)
    site.living[2].deaf = True
    one.chat.cleanup.sweep(2**45)
    assert other.chat.channel("lab") is not None
    site.living[2].deaf = False
    assert bob.request(Join("lab")).members == 1
    alice.request(Join("lab"))
    bob.request(Say("again", "lab"))
    wait_for(alice, "again")
    wait_until_alike(one, other)


def test_a_guest_who_is_connected_elsewhere_is_not_forgotten(
    start_servers: StartServers, connect: Connect, site: LocalSite
) -> None:
    one, other = start_servers(2)
    connect(other.address, "alice")
    wait_until_alike(one, other)
    one.chat.cleanup.sweep(2**45)
    store: Store = one.chat.store
    assert store.account("alice") is not None
