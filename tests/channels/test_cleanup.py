"""The server removes unused logs and guests from the store; a user who comes at that moment loses nothing."""

from __future__ import annotations

import gc
import sqlite3
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from channels import Posting, cleanup
from channels.log import Log
from server import Server
from store import Account, Unused
from store.sqlite import FILE
from tests.support.clients import Json
from tests.support.mqtt import MqttLine
from tests.support.stores import WatchedStore
from tests.support.waiting import DEADLINE, eventually
from wire.clock import now
from wire.errors import Refused
from wire.frames import (
    ChannelInfo,
    Channels,
    Entry,
    Hello,
    Join,
    Leave,
    Msg,
    Register,
    Registered,
    Say,
    Stored,
    Welcome,
)
from wire.limits import Limits
from wire.mqtt import Publish

Connect = Callable[..., Json]
DAY = 86_400_000
LATER = 1_000 * DAY  # from now
TABLES = ("accounts", "logs", "members", "ids", "clients", "client_cursors")


def sweep(server: Server, days: int = 1_000) -> None:
    """Clean up as if so many days had passed."""
    server.chat.cleanup.sweep(now() + days * DAY)


def rows(folder: Path) -> dict[str, int]:
    """Return the number of rows of each table."""
    with sqlite3.connect(folder / FILE) as db:
        counts = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
    db.close()
    return counts


def gone(server: Server, *names: str) -> None:
    """Wait until these users are not connected."""
    eventually(
        lambda: not any(server.chat.directory.is_there(name) for name in names),
        lambda: f"{[name for name in names if server.chat.directory.is_there(name)]} are connected",
    )


def leave(server: Server, *clients: Json) -> None:
    """Disconnect, and wait until the server has noticed."""
    for client in clients:
        client.close()
    gone(server, *[client.welcome.name for client in clients])


def test_strangers_leave_no_rows_behind(server: Server, connect: Connect, tmp_path: Path) -> None:
    """Names, memberships, ids of posts, and the channels that they have made: after a time, all of them are gone."""
    host = connect(server.address, "host")
    host.request(Join("lobby"))
    host.request(Say("welcome", "lobby"))
    before = rows(tmp_path / "data")
    strangers = [connect(server.address, f"stranger{at}") for at in range(10)]
    for at, stranger in enumerate(strangers):
        stranger.request(Join(f"den{at}"))
        stranger.request(Join("lobby"))
        assert isinstance(stranger.request(Say("hi", "lobby", id=f"id{at}")), Stored)
    connect(server.address, "newest").request(Join("newest"))
    leave(server, *strangers)
    full = rows(tmp_path / "data")
    sweep(server, days=1)
    assert rows(tmp_path / "data") == full, "their time is not over"
    sweep(server)
    assert {channel.name: channel.members for channel in _channels(host)} == {"lobby": 1, "newest": 1}
    after = rows(tmp_path / "data")
    assert after == {**before, "accounts": before["accounts"] + 1, "logs": before["logs"] + 1,
                     "members": before["members"] + 1}  # fmt: skip
    assert host.request(Say("next", "lobby")).number == 12, "a log that had entries never starts again"


def _channels(client: Json) -> list[ChannelInfo]:
    found: list[ChannelInfo] = client.request(Channels()).channels
    return found


def test_what_is_kept_of_a_guest_keeps_the_guest(server: Server, connect: Connect) -> None:
    """A conversation and a password; and a guest who is connected stays anyway."""
    names = ("talks", "registers", "stays", "goes")
    clients = {name: connect(server.address, name) for name in names}
    assert isinstance(clients["talks"].request(Msg("nobody", "hello")), Stored)
    assert isinstance(clients["registers"].request(Register(password="secret123")), Registered)
    leave(server, *[clients[name] for name in names if name != "stays"])
    sweep(server)
    found = {name for name in (*names, "nobody") if server.chat.store.account(name) is not None}
    assert found == {"talks", "nobody", "registers", "stays"}
    assert connect(server.address, "nobody").expect(Entry).text == "hello"


def test_a_name_that_is_forgotten_amid_a_login_is_made_again(
    server: Server, stores: list[WatchedStore], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The login has read the account, and takes the name after the cleanup has removed it."""
    leave(server, connect(server.address, "Ann"))
    claim = server.chat.directory.claim

    def late(account: Account, *arguments: object, **named: object) -> object:
        monkeypatch.setattr(server.chat.directory, "claim", claim)
        sweep(server)
        assert stores[0].store.account("ann") is None
        return claim(account, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(server.chat.directory, "claim", late)
    ann = connect(server.address)
    answer = ann.request(Hello(name="ann"))
    assert isinstance(answer, Welcome)
    assert stores[0].store.account("ann") is not None
    ann.request(Join("lab"))
    assert isinstance(ann.request(Register(password="secret123")), Registered)
    account = stores[0].store.account("ann")
    assert account is not None
    assert account.password is not None
    assert [member.name for member in server.chat.members(server.chat.known_channel("lab"))] == ["Ann"]


def test_a_name_is_not_forgotten_once_it_is_taken(server: Server, connect: Connect) -> None:
    """The cleanup has found the guest idle; the guest logs in before it is removed."""
    leave(server, connect(server.address, "ann"))
    idle = server.chat.store.idle_guests(now() + LATER, 9)
    assert list(idle) == ["ann"]
    ann = connect(server.address, "ann")
    assert not server.chat._forget_guest("ann", now() + LATER)
    assert server.chat.store.account("ann") is not None
    assert isinstance(ann.request(Register(password="secret123")), Registered)


@pytest.mark.parametrize("times", [1, 3])
def test_a_channel_that_is_removed_amid_a_join_is_made_again(
    server: Server, stores: list[WatchedStore], connect: Connect, times: int
) -> None:
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    alice.request(Join("lab"))
    alice.request(Leave("lab"))
    removed: list[int] = []

    def before(name: str) -> None:
        if name == "join" and len(removed) < times:
            stores[0].before = None
            bob.request(Join(f"newest{len(removed)}"))
            old = server.chat.known_channel("lab")
            sweep(server)
            assert old.removed
            removed.append(old.row.id)
            stores[0].before = before

    stores[0].before = before
    joined = alice.request(Join("lab"))
    stores[0].before = None
    assert (joined.channel, len(removed)) == ("lab", times)
    assert server.chat.known_channel("lab").row.id not in removed
    assert alice.request(Say("here", "lab")).number == 1
    assert connect(server.address, "carol").request(Join("lab")).members == 2


def test_a_post_on_its_way_to_a_removed_channel_is_refused(server: Server, connect: Connect) -> None:
    """A will may be one: its user need not be a member. The post of another user in the same commit is stored."""
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    alice.request(Leave("lab"))
    alice.request(Join("newest"))
    lab, newest = server.chat.known_channel("lab"), server.chat.known_channel("newest")
    answers: list[tuple[str, object]] = []

    def stored(posting: Posting, numbers: Sequence[int]) -> None:
        answers.append((posting.log.row.name, list(numbers)))

    def refused(posting: Posting, refused: Refused) -> None:
        answers.append((posting.log.row.name, refused.code))

    sweep(server)
    for log in (lab, newest):
        post = Posting(log, "alice", "alice", [Say("x", log.row.name)], stored, refused)
        server.chat.journal.post(post, carry=False)
    server.chat.journal.carry()
    assert sorted(answers) == [("lab", "no-such-channel"), ("newest", [1])]
    assert server.chat.store.log(lab.row.id) is None


@pytest.mark.parametrize("remade", [True, False])
def test_mqtt_clients_forget_a_removed_channel(
    server: Server, connect: Connect, mqtt: Callable[..., MqttLine], remade: bool
) -> None:
    """And read the one that is made under the same name later."""
    oven = mqtt(server.address, "oven")
    oven.subscribe("chat/channels/+")
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    alice.request(Leave("lab"))
    alice.request(Join("newest"))
    lab = weakref.ref(server.chat.known_channel("lab"))
    assert _followers(lab)
    sweep(server)
    gc.collect()
    assert lab() is None, "somebody holds it"
    if remade:
        alice.request(Join("lab"))
        alice.request(Say("anew", "lab"))
        assert b"anew" in oven.expect(Publish, lambda packet: packet.topic == "chat/channels/lab").payload


def _followers(log: weakref.ref[Log]) -> int:
    found = log()
    return len(found.followers) if found is not None else 0


def test_a_private_log_in_use_stays(server: Server, connect: Connect) -> None:
    """An empty one leaves when nobody uses it."""
    connect(server.address, "alice").request(Join("lab"))
    row = server.chat.store.open_private_log("alice", "bob")
    server.chat.store.open_channel("newest")
    used = server.chat.log(row)
    sweep(server)
    assert server.chat.store.log(row.id) is not None
    del used
    sweep(server)
    assert server.chat.store.log(row.id) is None
    with pytest.raises(Refused, match="was empty"):
        server.chat.log(row)


class _Nothing:
    """A store in which nothing is unused; counts the sweeps, and fails in the first one."""

    def __init__(self) -> None:
        self.sweeps = threading.Semaphore(0)
        self.failed = False

    def idle_guests(self, before: int, limit: int) -> Sequence[str]:
        if not self.failed:
            self.failed = True
            raise OSError("the disk fails")
        return ()

    def empty_logs(self, before: int) -> Sequence[object]:
        self.sweeps.release()
        return ()


def test_the_thread_sweeps_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a failure, until it is closed."""
    monkeypatch.setattr(cleanup, "PERIOD", 0.0)
    store = _Nothing()
    made = cleanup.Cleanup(_as_store(store), Limits(), lambda: None, lambda key, before: True, lambda row, before: True)
    assert all(store.sweeps.acquire(timeout=DEADLINE) for _ in range(3))
    made.close()
    assert not made._thread.is_alive()


def _as_store(store: object) -> Unused:
    assert isinstance(store, _Nothing)
    return store  # type: ignore[return-value]
