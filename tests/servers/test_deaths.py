"""A server dies, stops, or cannot reach the database for a while: the others go on, and nothing stored is lost."""

from __future__ import annotations

from store import NewPosts
from tests.servers.alike import Connect, joined, numbers, wait_for, wait_until_alike
from tests.servers.conftest import StartServers
from tests.support.servers import LocalSite
from tests.support.waiting import eventually
from wire.frames import Closing, Error, Hello, Join, Msg, Ping, Presence, Register, Say, Topic, Welcome


def test_the_users_of_a_dead_server_are_away_and_their_names_free(
    start_servers: StartServers, connect: Connect, site: LocalSite
) -> None:
    one, other = start_servers(2)
    watcher = joined(connect, one, "watcher")
    joined(connect, other, "alice")
    bob = joined(connect, other, "bob")
    bob.request(Register("correct-horse"))
    connect(one.address, "bob", password="correct-horse")
    wait_until_alike(one, other)
    site.kill(2)
    assert watcher.expect(Presence, lambda each: each.what == "offline").user == "alice"
    assert watcher.request(Msg("alice", "are you there?")).away
    assert not watcher.request(Msg("bob", "are you there?")).away
    assert connect(one.address, "alice").welcome
    assert [user.name for user in one.chat.directory.users()] == ["alice", "bob", "watcher"]


def test_a_login_that_waits_for_a_dead_server_goes_on(
    start_servers: StartServers, connect: Connect, site: LocalSite
) -> None:
    one, other = start_servers(2)
    connect(other.address, "alice")
    site.living[2].deaf = True  # it hangs, and does not answer
    late = connect(one.address)
    late.send(Hello(name="alice", ref=1))
    eventually(lambda: bool(one.chat.directory._waits), lambda: "nobody waits")
    site.kill(2)
    assert isinstance(late.expect(Welcome), Welcome)


def test_what_a_server_has_committed_before_it_died_is_delivered(
    start_servers: StartServers, connect: Connect, site: LocalSite
) -> None:
    """The server died before it told the others: of a post to a channel, and of a private one in a log of its own."""
    one, other = start_servers(2)
    bob, store = joined(connect, one, "bob"), one.chat.store
    one.chat._inbox._look = lambda: None  # the look that comes each second would find the channel, too
    store.open_account("alice")
    lab, talk = one.chat.known_channel("lab").row, store.open_private_log("alice", "bob")
    assert other.chat
    store.append([NewPosts(lab, "alice", "alice", [Say("last", "lab")])], 1)
    store.append([NewPosts(talk, "alice", "alice", [Msg("bob", "words")])], 1)
    site.kill(2)
    wait_for(bob, "last")
    wait_for(bob, "words")


def test_a_server_that_stops_is_gone_for_the_others(start_servers: StartServers, connect: Connect) -> None:
    one, other = start_servers(2)
    watcher, alice = joined(connect, one, "watcher"), joined(connect, other, "alice")
    alice.request(Say("goodbye", "lab"))
    other.close()
    assert watcher.expect(Presence, lambda each: each.what == "offline").user == "alice"
    wait_for(watcher, "goodbye")
    assert connect(one.address, "alice").welcome


def test_who_was_cut_off_holds_its_names_again(start_servers: StartServers, connect: Connect, site: LocalSite) -> None:
    """The others took it for dead. A guest's name that somebody else has taken meanwhile is lost."""
    one, other = start_servers(2)
    watcher = joined(connect, one, "watcher")
    alice, bob = joined(connect, other, "alice"), joined(connect, other, "bob")
    wait_until_alike(one, other)
    site.cut_off(2)
    for _ in range(2):
        assert watcher.expect(Presence, lambda each: each.what == "offline").user in ("alice", "bob")
    new = connect(one.address, "alice")
    new.request(Join("hall"))
    new.request(Topic("hall", "made meanwhile"))
    watcher.request(Say("meanwhile", "lab"))
    site.back(2)
    assert alice.expect(Closing).code == "replaced"
    wait_for(bob, "meanwhile")
    assert bob.request(Ping())
    wait_until_alike(one, other)
    assert [user.name for user in other.chat.directory.users()] == ["alice", "bob", "watcher"]
    assert watcher.expect(Presence, lambda each: each.what == "online" and each.user == "bob")


def test_while_the_database_is_away_names_and_news_wait(
    start_servers: StartServers, connect: Connect, site: LocalSite
) -> None:
    """Connections stay, the servers refuse logins with a sentence, and they tell each other the news afterwards."""
    one, other = start_servers(2)
    watcher, alice = joined(connect, one, "watcher"), joined(connect, other, "alice")
    bob = joined(connect, other, "bob")
    wait_until_alike(one, other)
    site.away = True
    refused = connect(one.address).request(Hello(name="carol"))
    assert isinstance(refused, Error)
    assert refused.code == "not-stored"
    bob.request(Say("kept", "lab"))  # the store itself works, in this test
    alice.close()
    eventually(lambda: other.chat.directory.find("alice") is None, lambda: "alice stays")
    site.away = False
    assert watcher.expect(Presence, lambda each: each.what == "offline").user == "alice"
    wait_for(watcher, "kept")
    assert numbers(watcher) == [1]
    wait_until_alike(one, other)
    assert connect(one.address, "alice").welcome
