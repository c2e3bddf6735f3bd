"""Two things at one moment, in the order that hurts: a hook in the server lets one happen right amid the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from server import Server
from store import StoreError
from tests.support.clients import Json
from tests.support.fixtures import StartServer
from tests.support.stores import WatchedStore
from tests.support.waiting import DEADLINE
from wire.frames import (
    Bye,
    Entry,
    Error,
    Hello,
    History,
    Join,
    Leave,
    Msg,
    Ping,
    Register,
    Request,
    Say,
    Seen,
    Stored,
    Topic,
    TopicChanged,
    Welcome,
    Who,
    Whois,
)

Connect = Callable[..., Json]


def _once(target: object, method: str, meanwhile: Callable[[], object], patch: pytest.MonkeyPatch) -> None:
    """Have `meanwhile` happen just before the next call of that method, in another thread, which it waits for."""
    original = getattr(target, method)

    def hooked(*arguments: Any, **named: Any) -> Any:
        patch.setattr(target, method, original)
        thread = threading.Thread(target=meanwhile, name="meanwhile")
        thread.start()
        thread.join()
        return original(*arguments, **named)

    patch.setattr(target, method, hooked)


def _before_store(store: WatchedStore, method: str, meanwhile: Callable[[], object]) -> None:
    """Have `meanwhile` happen just before the store's next call of that name."""

    def before(name: str) -> None:
        if name == method:
            store.before = None
            thread = threading.Thread(target=meanwhile, name="meanwhile")
            thread.start()
            thread.join()

    store.before = before


def test_a_message_to_one_who_comes_online_just_now(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bob logs in after the sender saw that he is away, and before the message is stored."""
    alice = connect(server.address, "alice")
    first = connect(server.address, "bob")
    first.request(Msg("alice", "so that there is a conversation"))
    first.expect(Entry)
    first.request(Seen(number=1, user="alice"))
    first.close()
    came: list[Json] = []
    patched = type(server.chat.journal)
    original = patched.post

    def post(self: Any, *arguments: Any, **named: Any) -> None:
        if not came:
            came.append(connect(server.address, "bob", token=first.welcome.token))
            came[0].request(Ping())
        original(self, *arguments, **named)

    monkeypatch.setattr(patched, "post", post)
    alice.request(Msg("bob", "are you there?"))
    assert came[0].expect(Entry, lambda entry: entry.number == 2).text == "are you there?"


def test_a_message_amid_a_login_does_not_bring_back_what_was_had(
    server: Server, stores: list[WatchedStore], connect: Connect
) -> None:
    """The name is taken, and what `since` says is not used yet."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for n in range(1, 6):
        alice.request(Msg("bob", f"{n}"))
    bob.expect(Entry, lambda entry: entry.number == 5)
    bob.close()
    _before_store(stores[0], "memberships", lambda: alice.request(Msg("bob", "6")))
    bob = connect(server.address, "bob", token=bob.welcome.token, since={"@alice": 4})
    bob.expect(Entry, lambda entry: entry.number == 6)
    bob.request(Ping())
    assert [entry.number for entry in bob.of(Entry)] == [5, 6]


def test_nothing_comes_before_the_welcome(server: Server, stores: list[WatchedStore], connect: Connect) -> None:
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    alice.request(Msg("bob", "1"))
    bob.expect(Entry)
    bob.close()
    _before_store(stores[0], "memberships", lambda: alice.request(Msg("bob", "2")))
    bob = connect(server.address, "bob", token=bob.welcome.token)
    assert isinstance(bob.received[0], Welcome)
    bob.expect(Entry, lambda entry: entry.number == 2)


def test_joining_while_the_same_user_connects_again(
    server: Server, stores: list[WatchedStore], connect: Connect
) -> None:
    """A registered user has everything on each connection, also on one that comes while they join."""
    bob, first = connect(server.address, "bob"), connect(server.address, "alice")
    first.request(Register("correct-horse"))
    second: list[Json] = []
    _before_store(stores[0], "join", lambda: second.append(connect(server.address, "alice", password="correct-horse")))
    first.request(Join("lab"))
    bob.request(Join("lab"))
    bob.request(Say("hello", "lab"))
    for client in (first, second[0]):
        assert client.expect(Entry).text == "hello"


def test_joining_amid_another_connections_login(server: Server, stores: list[WatchedStore], connect: Connect) -> None:
    """The same, the other way round: the second knows its channels already, but does not follow them yet."""
    bob, first = connect(server.address, "bob"), connect(server.address, "alice")
    first.request(Register("correct-horse"))
    _before_store(stores[0], "memberships", lambda: first.request(Join("lab")))
    second = connect(server.address, "alice", password="correct-horse")
    bob.request(Join("lab"))
    bob.request(Say("hello", "lab"))
    for client in (first, second):
        assert client.expect(Entry).text == "hello"


def test_an_entry_amid_a_join_is_counted_in_the_tail_of_the_answer(
    server: Server, stores: list[WatchedStore], connect: Connect
) -> None:
    """A client over MQTT reads the history after the tail: it would miss an entry that is not counted."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    bob.request(Join("lab"))
    bob.request(Say("before", "lab"))
    _before_store(stores[0], "join", lambda: bob.request(Say("meanwhile", "lab")))
    joined = alice.request(Join("lab"))
    page = bob.request(History(channel="lab", after=joined.tail))
    bob.request(Say("after", "lab"))
    alice.expect(Entry, lambda entry: entry.text == "after")
    assert (joined.tail, page.entries) == (2, [])
    assert [entry.number for entry in alice.of(Entry)] == list(range(joined.tail + 1, 4))


def test_leaving_amid_another_connections_login(server: Server, stores: list[WatchedStore], connect: Connect) -> None:
    bob, first = connect(server.address, "bob"), connect(server.address, "alice")
    first.request(Register("correct-horse"))
    for client in (first, bob):
        client.request(Join("lab"))
    _before_store(stores[0], "memberships", lambda: first.request(Leave("lab")))
    second = connect(server.address, "alice", password="correct-horse")
    bob.request(Say("nobody of alice hears this", "lab"))
    bob.request(Msg("alice", "but this"))
    for client in (first, second):
        client.expect(Entry, lambda entry: entry.text == "but this")
        client.request(Ping())
        assert [entry.text for entry in client.of(Entry)] == ["but this"]


def test_a_connection_that_comes_while_its_user_leaves(
    server: Server, stores: list[WatchedStore], connect: Connect
) -> None:
    bob, first = connect(server.address, "bob"), connect(server.address, "alice")
    first.request(Register("correct-horse"))
    for client in (first, bob):
        client.request(Join("lab"))
    second: list[Json] = []
    _before_store(stores[0], "leave", lambda: second.append(connect(server.address, "alice", password="correct-horse")))
    first.request(Leave("lab"))
    bob.request(Say("nobody of alice hears this", "lab"))
    bob.request(Msg("alice", "but this"))
    for client in (first, second[0]):
        client.expect(Entry, lambda entry: entry.text == "but this")
        client.request(Ping())
        assert [entry.text for entry in client.of(Entry)] == ["but this"]


def test_no_notice_of_a_channel_follows_the_answer_to_leave(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member leaves after the server has listed whom to tell."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for client in (alice, bob):
        client.request(Join("lab"))
    _once(server.chat.neighbours, "_notify", lambda: alice.request(Leave("lab")), monkeypatch)
    bob.request(Topic("lab", "after alice has left"))
    alice.request(Ping())
    assert alice.of(TopicChanged) == []


@pytest.mark.parametrize(("new", "known"), [("open_account", "account"), ("memberships", "memberships")])
def test_a_login_that_the_store_fails_leaves_the_name_free(
    server: Server, stores: list[WatchedStore], connect: Connect, new: str, known: str
) -> None:
    """A full disk, say, at any point of it: the peer is told, may try again, and so may others once it has left."""
    unlucky = connect(server.address)
    _failing(stores[0], new)
    assert unlucky.request(Hello(name="alice")).code == "not-stored"
    assert isinstance(unlucky.request(Hello(name="alice")), Welcome)
    unlucky.request(Bye())
    unlucky.until_closed()
    _failing(stores[0], known)
    unlucky = connect(server.address)
    assert unlucky.request(Hello(name="alice")).code == "not-stored"
    unlucky.request(Bye())
    unlucky.until_closed()
    assert connect(server.address, "alice").welcome.name == "alice"
    assert [member.name for member in connect(server.address, "bob").request(Who()).members] == ["alice", "bob"]


@pytest.mark.parametrize(
    ("request_", "method"),
    [
        (Join("new"), "open_channel"), (Join("lab"), "join"), (Leave("hall"), "leave"),
        (Topic("hall", "x"), "set_topic"), (Msg("carol", "x"), "open_private_log"), (Say("x", "hall"), "append"),
        (Msg("bob", "x"), "append"), (Register("correct-horse"), "set_password"),
        (History(channel="hall"), "read_back"), (Who("hall"), "members"), (Whois("bob"), "account"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__.lower(),
)  # fmt: skip
def test_what_the_store_fails_may_be_tried_again(
    server: Server, stores: list[WatchedStore], connect: Connect, request_: Request, method: str
) -> None:
    """Nothing is half done: the answer is an error, others see nothing of it, and the same once more succeeds."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for client in (alice, bob):
        client.request(Join("hall"))
    bob.request(Join("lab"))
    alice.request(Msg("bob", "first"))
    alice.request(Say("first", "hall"))
    bob.expect(Entry, lambda entry: entry.to is not None)
    bob.expect(Entry, lambda entry: entry.channel is not None)
    before = len(bob.received)
    _failing(stores[0], method)
    request_.ref = "fails"
    answer = alice.request(request_)
    assert isinstance(answer, Error), answer
    assert answer.code == "not-stored"
    bob.request(Ping())
    assert len(bob.received) == before + 1, bob.received[before:]
    request_.ref = "succeeds"
    answer = alice.request(request_)
    assert not isinstance(answer, Error), answer


def _failing(store: WatchedStore, method: str) -> None:
    """Have the store's next call of that name fail."""

    def before(name: str) -> None:
        if name == method:
            store.before = None
            raise StoreError("The store failed: the disk is full.")

    store.before = before


def test_a_crowd_that_logs_in_takes_turns(start_server: StartServer, stores: list[WatchedStore]) -> None:
    """While one login reads the store, the others wait, and the chat goes on."""
    server = start_server()
    with Json(server.address, "bob") as bob, ExitStack() as crowd:
        bob.request(Join("lab"))
        reads: list[str] = []
        reading, go = threading.Event(), threading.Event()

        def before(method: str) -> None:
            if method in ("account", "memberships"):
                reads.append(method)
                if method == "memberships":
                    reading.set()
                    assert go.wait(DEADLINE)

        stores[0].before = before
        clients = [crowd.enter_context(Json(server.address)) for _ in range(20)]
        clients[0].send(Hello(name="user0"))
        assert reading.wait(DEADLINE)
        for number, client in enumerate(clients[1:], 1):
            client.send(Hello(name=f"user{number}"))
        for number in range(20):
            assert isinstance(bob.request(Say(f"{number}", "lab")), Stored)
        assert reads == ["account", "memberships"]
        go.set()
        for client in clients:
            client.expect(Welcome)


def test_a_login_tells_its_presence_without_the_turn(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watchers are called with no lock held: one of them may need another login."""
    turns: list[bool] = []
    for watcher in server.chat.watchers:
        monkeypatch.setattr(type(watcher), "presence_changed", lambda *_: turns.append(server.chat.login_turn.locked()))
    with Json(server.address, "alice"):
        assert turns
        assert not any(turns)
