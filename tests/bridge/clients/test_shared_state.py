"""Registry, wills, live messages and retained state without a connection: clients, timer and store are fakes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bridge.clients.live import LiveRouter
from bridge.clients.registry import Registry
from bridge.clients.retained import RetainedState
from bridge.clients.timer import Timer
from bridge.clients.wills import LastWill, WillOwner, Wills
from channels import Chat, Log, Origin, Posting, User
from channels.rates import RateLimits
from store import Account, Client, Store
from tests.support.waiting import DEADLINE
from wire.frames import Say
from wire.limits import Limits
from wire.mqtt import NONE, Properties
from wire.topics import LiveMessage, Topics

TOPICS = Topics("chat")
SENT = {1: 5}


class FakeClient:
    """A ConnectedClient that notes what it is told; `told` may be called in between."""

    def __init__(self, user: str = "alice", address: str = "10.0.0.1") -> None:
        self.user_key = user
        self.me = user
        self.address = address
        self.replaced = False
        self.messages: list[tuple[str, bytes, bool, bool]] = []
        self.when_told: Callable[[], None] = lambda: None

    def taken_over(self, by: str, *, clean: bool) -> None:
        raise AssertionError("the session does that")

    def channel_removed(self, log: Log) -> None:
        raise AssertionError("no channel is removed")

    def channel_made(self, log: Log) -> None:
        raise AssertionError("no channel is made")

    def send_message(
        self, topic: str, payload: bytes, *, retained: bool = False, properties: Properties = NONE, own: bool = False
    ) -> None:
        self.messages.append((topic, payload, retained, own))
        self.when_told()


class FakeTimer:
    """A timer whose calls the test makes."""

    def __init__(self) -> None:
        self.calls: dict[int, tuple[float, Callable[[], None]]] = {}
        self.count = 0

    def call_later(self, seconds: float, call: Callable[[], None]) -> int:
        self.count += 1
        self.calls[self.count] = seconds, call
        return self.count

    def cancel(self, number: int) -> Callable[[], None] | None:
        return self.calls.pop(number, (0, None))[1]

    def fire(self) -> None:
        """Make the only call."""
        ((number, (_, call)),) = self.calls.items()
        del self.calls[number]
        call()


class FakeStore:
    """The store of a registry: `stored` are the clients of before the start."""

    def __init__(self, *stored: Client) -> None:
        self.stored = stored
        self.ended: list[int] = []

    def clock(self) -> int:
        return 1_000_000

    def part_clients(self) -> None:
        """No-op: nothing is stored."""

    def end_clients(self, spare: int = 0) -> None:
        self.ended.append(self.clock() - spare)

    def clients(self, prefix: str) -> list[Client]:
        return list(self.stored)

    def client_filters(self, key: str) -> dict[str, int]:
        return {}


class Desk:
    """A registry, and the fakes behind it."""

    def __init__(self, *stored: Client) -> None:
        self.store, self.timer = FakeStore(*stored), FakeTimer()
        self.registry = Registry(cast("Store", self.store), cast("Timer", self.timer), Limits())
        self.store.ended.clear()

    def park(self, client: FakeClient, key: str = "alice/phone", seconds: float = 60) -> None:
        """Have a connected client leave with a session that is kept."""
        with self.registry.parting(key, client) as current:
            assert current
            self.registry.remember(key, SENT, seconds)


@pytest.fixture
def desk() -> Desk:
    """At the time 1,000,000 ms."""
    return Desk()


# The registry


def test_a_client_is_found_by_its_key_and_its_user(desk: Desk) -> None:
    phone, tablet, bob = FakeClient(), FakeClient(), FakeClient("bob")
    for key, client in (("alice/phone", phone), ("alice/tablet", tablet), ("bob/phone", bob)):
        assert desk.registry.add(key, client) == (None, None)
    assert desk.registry.find("alice/phone") is phone
    assert desk.registry.find("alice/desk") is None
    assert desk.registry.connected_as("alice") == [phone, tablet]
    with desk.registry.parting("alice/phone", phone):
        assert desk.registry.connected_as("alice") == [tablet]
    with desk.registry.parting("bob/phone", bob):
        assert desk.registry.connected_as("bob") == []


def test_connections_of_one_client_log_in_one_after_the_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with desk.registry.logging_in("10.0.0.1", "alice", "phone"):
            done.append("second")

    thread = threading.Thread(target=second)
    with desk.registry.logging_in("10.0.0.1", "alice", "phone"):
        (first,) = desk.registry._logging_in.values()
        wait = first.wait

        def noted(timeout: float | None = None) -> bool:
            waits.set()
            return wait(timeout)

        monkeypatch.setattr(first, "wait", noted)
        thread.start()
        assert waits.wait(DEADLINE)
        with desk.registry.logging_in("10.0.0.1", "alice", "tablet"):
            done.append("another client")
        done.append("first")
    thread.join(DEADLINE)
    assert done == ["another client", "first", "second"]
    with pytest.raises(KeyError), desk.registry.logging_in("10.0.0.1", "alice", "phone"):
        raise KeyError
    assert not desk.registry._logging_in


def test_a_client_that_connects_again_takes_the_first_over(desk: Desk) -> None:
    first, second = FakeClient(), FakeClient()
    desk.registry.add("alice/phone", first)
    assert desk.registry.add("alice/phone", second) == (first, None)
    with desk.registry.parting("alice/phone", first) as current:
        assert not current
    assert desk.registry.find("alice/phone") is second
    with desk.registry.parting("alice/phone", second) as current:
        assert current
        assert desk.registry.find("alice/phone") is None


def test_a_client_waits_until_its_earlier_connection_is_closed(desk: Desk) -> None:
    first, added = FakeClient(), threading.Event()
    desk.registry.add("alice/phone", first)

    def add() -> None:
        desk.registry.add("alice/phone", FakeClient())
        added.set()

    with desk.registry.parting("alice/phone", first):
        thread = threading.Thread(target=add)
        thread.start()
        desk.registry.add("alice/tablet", FakeClient())  # another client does not wait
        assert not added.wait(0.05)
    assert added.wait(DEADLINE)
    thread.join()


def test_a_client_that_is_back_learns_once_how_far_it_was_sent(desk: Desk) -> None:
    phone = FakeClient()
    desk.registry.add("alice/phone", phone)
    desk.park(phone)
    assert desk.registry.add("alice/phone", phone) == (None, SENT)
    assert desk.timer.calls == {}, "its session does not expire while it is connected"
    with desk.registry.parting("alice/phone", phone):
        pass
    assert desk.registry.add("alice/phone", phone) == (None, None)


def test_a_session_ends_when_it_has_expired(desk: Desk) -> None:
    phone = FakeClient()
    desk.registry.add("alice/phone", phone)
    desk.park(phone, seconds=60)
    [(seconds, _)] = desk.timer.calls.values()
    assert seconds == 61, "a second later than it expires, to be certain"
    desk.timer.fire()
    assert desk.store.ended == [999_500], "half a second is left to a client that is just taking it up"
    assert desk.registry.add("alice/phone", phone) == (None, None)


def test_a_session_that_was_taken_up_does_not_end(desk: Desk) -> None:
    """The timer had begun the call when the client connected."""
    phone = FakeClient()
    desk.registry.add("alice/phone", phone)
    desk.park(phone)
    [(_, call)] = desk.timer.calls.values()
    desk.registry.add("alice/phone", phone)
    desk.park(phone)
    call()
    assert desk.store.ended == []
    assert desk.registry.add("alice/phone", phone) == (None, SENT)


def test_a_connected_client_is_not_noted_as_away(desk: Desk) -> None:
    """Its session is stored at a start, and it may connect before the registry has read all of them."""
    phone = FakeClient()
    desk.registry.add("alice/phone", phone)
    desk.registry.remember("alice/phone", SENT, 60)
    desk.timer.fire()
    assert desk.store.ended == []


def test_sessions_of_before_the_start_end_in_their_time() -> None:
    desk = Desk(Client("alice/phone", 60, 1_005_000, ""), Client("/mirror", None, None, ""))
    [(seconds, _)] = desk.timer.calls.values()
    assert seconds == 6
    assert desk.registry.add("alice/phone", FakeClient()) == (None, None)
    assert desk.timer.calls == {}


# Live messages


def test_a_live_message_goes_to_all_clients_of_its_receiver(desk: Desk) -> None:
    phone, tablet, bob = FakeClient(), FakeClient(), FakeClient("bob")
    for key, client in (("alice/phone", phone), ("alice/tablet", tablet), ("bob/phone", bob)):
        desk.registry.add(key, client)
    live = LiveRouter(TOPICS, desk.registry)
    live.publish("alice", LiveMessage("Alice", b"to myself"), "alice/phone")
    topic = "chat/direct/alice/alice"
    assert phone.messages == [(topic, b"to myself", False, True)], "No Local is for its publisher"
    assert tablet.messages == [(topic, b"to myself", False, False)]
    assert bob.messages == []


@pytest.mark.parametrize("from_broker", [False, True])
def test_a_live_message_goes_to_the_broker_unless_it_comes_from_there(desk: Desk, from_broker: bool) -> None:
    live, published = LiveRouter(TOPICS, desk.registry), list[tuple[str, LiveMessage]]()
    live.to_broker = lambda sender, message: published.append((sender, message))
    message = LiveMessage("bob", b"hello")
    live.publish("alice", message, from_broker=from_broker)
    assert published == ([] if from_broker else [("alice", message)])


# Wills


class WillDesk(Desk):
    """A registry with wills; `posted` are the posts that reached the journal."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__()
        self.posted: list[tuple[str, str]] = []
        chat = SimpleNamespace(
            journal=SimpleNamespace(post=self._post),
            open_channel=lambda name, origin: cast("Log", name),
            rates=RateLimits(Limits()),
            limits=limits or Limits(),
        )
        self.wills = Wills(cast("Chat", chat), LiveRouter(TOPICS, self.registry), cast("Timer", self.timer))

    def _post(self, posting: Posting) -> None:
        self.posted += [(posting.sender, post.text) for post in posting.posts]


def will(text: str, delay: int = 0, address: str = "10.0.0.1") -> LastWill:
    """A will that says something in a channel."""
    return LastWill(Say(text, "lab"), delay, Origin("alice", address), address)


def test_a_delayed_will_is_published_when_it_is_due() -> None:
    desk = WillDesk()
    desk.wills.lost(WillOwner("alice/phone", 0, "Alice"), will("lost"), 30, lambda: True)
    assert desk.posted == []
    assert [seconds for seconds, _ in desk.timer.calls.values()] == [30]
    desk.timer.fire()
    assert desk.posted == [("Alice", "lost")]
    desk.wills.connected(WillOwner("alice/phone", 0, "Alice"), None, 0, clean=True)
    assert desk.posted == [("Alice", "lost")], "it is published once"


def test_a_delayed_will_that_does_not_hold_is_not_published() -> None:
    desk = WillDesk()
    assert desk.wills.lost(WillOwner("alice/phone", 0, "Alice"), will("lost"), 30, lambda: True)
    assert not desk.wills.lost(WillOwner("alice/phone", 0, "Alice"), will("too late"), 30, lambda: False)
    desk.timer.fire()
    assert desk.posted == [("Alice", "lost")]


@pytest.mark.parametrize("clean", [False, True])
def test_a_delayed_will_of_a_client_that_is_back(clean: bool) -> None:
    """[MQTT-3.1.3-9]; a clean start ends the session that the will belongs to (5 §3.1.2.5)."""
    desk = WillDesk()
    desk.wills.lost(WillOwner("alice/phone", 0, "Alice"), will("lost"), 30, lambda: True)
    desk.wills.lost(WillOwner("alice/tablet", 0, "Alice"), will("another client's"), 30, lambda: True)
    desk.wills.connected(WillOwner("alice/phone", 0, "Alice"), None, 0, clean=clean)
    assert desk.posted == ([("Alice", "lost")] if clean else [])
    desk.timer.fire()
    assert desk.posted[clean:] == [("Alice", "another client's")]


@pytest.mark.parametrize(
    ("limits", "early"),
    [
        (Limits(delayed_wills=2, delayed_wills_per_user=9), ["Alice", "Bob", "Bob"]),
        (Limits(delayed_wills=9, delayed_wills_per_user=1), ["Alice", "Alice", "Bob"]),
        (Limits(delayed_wills=9, delayed_wills_per_user=2, users_per_address=1), ["Alice", "Bob", "Bob"]),
        (Limits(delayed_wills=0), ["Alice", "Alice", "Alice", "Bob", "Bob"]),
    ],
)
def test_delayed_wills_over_the_limit_are_published_at_once(limits: Limits, early: list[str]) -> None:
    """None is lost, and a will that has gone makes room for another one."""
    desk = WillDesk(limits)
    for at, name in enumerate(["Alice", "Alice", "Alice", "Bob", "Bob"]):
        assert desk.wills.lost(WillOwner(f"{name.lower()}/{at}", 0, name), will(f"{at}"), 30, lambda: True)
    assert [name for name, _ in desk.posted] == early
    while desk.timer.calls:
        desk.timer.calls.pop(min(desk.timer.calls))[1]()
    assert sorted(text for _, text in desk.posted) == ["0", "1", "2", "3", "4"]
    desk.wills.lost(WillOwner("alice/new", 0, "Alice"), will("new"), 30, lambda: True)
    assert (("Alice", "new") in desk.posted) == (limits.delayed_wills == 0)


def test_an_address_leaves_room_for_the_delayed_wills_of_others() -> None:
    desk = WillDesk(Limits(delayed_wills=100, delayed_wills_per_user=2, users_per_address=3))
    for number in range(20):
        name = f"stranger{number}"
        assert desk.wills.lost(WillOwner(f"{name}/phone", 0, name), will("flood"), 30, lambda: True)
    assert len(desk.posted) == 20 - 2 * 3
    assert desk.wills.lost(WillOwner("alice/phone", 0, "Alice"), will("other", address="10.0.0.2"), 30, lambda: True)
    assert ("Alice", "other") not in desk.posted


# Retained state


def user(name: str, *doors: str) -> User:
    """A user who is connected by these doors."""
    made = User(Account(name.lower(), name, None, 0), registered=False)
    made.since = 7
    made.sessions = cast("Any", tuple([SimpleNamespace(transport=door) for door in doors]))
    return made


class Directory:
    """The directory: who is there, by key."""

    def __init__(self, *users: User) -> None:
        self.present = {each.key: each for each in users}

    def find(self, key: str) -> User | None:
        return self.present.get(key)

    def users(self) -> list[User]:
        return list(self.present.values())


def retained(desk: Desk, directory: Directory, seen: dict[str, int] | None = None) -> RetainedState:
    """The state with that directory; `seen` are the accounts of who was there before."""
    accounts = {name: SimpleNamespace(name=name, seen=at) for name, at in (seen or {}).items()}
    store = SimpleNamespace(account=accounts.get)
    chat = SimpleNamespace(directory=directory, store=store)
    return RetainedState(cast("Chat", chat), TOPICS, desk.registry)


def test_presence_that_changes_while_it_is_told_is_told_again(desk: Desk) -> None:
    """Each of the two threads may be the last to tell, so each looks again: the last message is true."""
    alice, directory = user("Alice", "mqtt"), Directory()
    watcher = FakeClient("watcher")
    desk.registry.presence.add("+", watcher)
    state = retained(desk, directory)

    def come_at_the_first() -> None:
        if len(watcher.messages) == 1:
            directory.present["alice"] = alice

    watcher.when_told = come_at_the_first
    state.presence_changed(user("Alice"))
    topics, payloads = {each[0] for each in watcher.messages}, [each[1] for each in watcher.messages]
    assert topics == {"chat/presence/Alice"}
    assert [b'"online":true' in payload for payload in payloads] == [False, True]
    assert all(retained for _, _, retained, _ in watcher.messages)


def test_presence_that_stays_is_told_once(desk: Desk) -> None:
    alice, watcher = user("Alice", "socket", "mqtt", "mqtt"), FakeClient("watcher")
    desk.registry.presence.add("Alice", watcher)
    retained(desk, Directory(alice)).presence_changed(alice)
    payload = b'{"user":"Alice","online":true,"doors":["mqtt","socket"],"since":7}'
    assert watcher.messages == [("chat/presence/Alice", payload, True, False)]


@pytest.mark.parametrize(
    ("topic_filter", "found"),
    [
        ("#", ["chat/server", "chat/presence/Alice"]),
        ("chat/server", ["chat/server"]),
        ("chat/presence/+", ["chat/presence/Alice"]),
        ("chat/presence/#", ["chat/presence/Alice"]),
        ("chat/presence/Alice", ["chat/presence/Alice"]),
        ("chat/presence/alice", []),
        ("chat/presence/bob", ["chat/presence/bob"]),
        ("chat/presence/nobody", []),
        ("chat/presenceless", []),
        ("chat/channels/+", []),
    ],
)
def test_a_filter_finds_retained_messages(desk: Desk, topic_filter: str, found: list[str]) -> None:
    """A wildcard finds who is online; a name, as it is spelled, also finds who was there before."""
    state = retained(desk, Directory(user("Alice", "mqtt")), {"bob": 3})
    messages = dict(state.messages([topic_filter]))
    assert list(messages) == found
    assert messages.get("chat/presence/bob", b'{"user":"bob","online":false,"since":3}').endswith(b'"since":3}')
