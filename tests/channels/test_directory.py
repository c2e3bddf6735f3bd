"""The directory: the connected users, sorted as they come, and their connections."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from channels.directory import Directory
from channels.ring import Came, Outbox
from channels.user import ConnectedSession, User
from store import Account, Alone, Holding, Store, open_store
from tests.support.servers import LocalSite
from wire.names import fold


class _Session:
    ending = False
    transport, address, client = "socket", "127.0.0.1", ""

    def __init__(self, number: int = 0) -> None:
        self.number = number


def test_pages_and_counts_are_those_of_a_plain_list() -> None:
    """After any logins and departures, of guests and of registered users with several connections."""
    directory, chance = Directory(Alone(), Outbox(Alone())), random.Random(7)
    names = [f"{letter}{n}" for letter in "aBcÄ" for n in range(10)]
    open_sessions: list[tuple[User, ConnectedSession]] = []
    for _ in range(2_000):
        if chance.random() < 0.5 or not open_sessions:
            name = chance.choice(names)
            registered = name.endswith("3")
            account = Account(fold(name), name, "hash" if registered else None, 0)
            known = directory.find(account.key)
            session = cast("ConnectedSession", _Session())
            token = None if known is None else known.token
            user, replaced, first, *_ = directory.claim(account, session, token, proven=registered)
            assert first is (known is None)
            open_sessions = [each for each in open_sessions if each[1] not in replaced]
            open_sessions.append((user, session))
            for each in replaced:
                assert not directory.release(user, each)
        else:
            user, session = open_sessions.pop(chance.randrange(len(open_sessions)))
            assert directory.release(user, session) is (user not in [each[0] for each in open_sessions])
        online = sorted({user.key for user, _ in open_sessions})
        assert [user.key for user in directory.users()] == online
        assert directory.counts() == (len(online), len(open_sessions))
        after, limit = chance.choice(names), chance.randrange(5)
        following = [key for key in online if key > fold(after)]
        assert [user.key for user in directory.page(after, limit)] == following[:limit]


def _store_with(folder: Path, names: Sequence[str]) -> Store:
    """Return a store that has these registered users."""
    store = open_store(folder)
    for name in names:
        store.open_account(name)
        store.set_password(name, "hash")
    return store


def test_connections_elsewhere_count_like_those_here(tmp_path: Path) -> None:
    """After anything that other servers may tell, in any order, and a look at the store in between."""
    names, chance = [f"user{n}" for n in range(8)], random.Random(7)
    store = _store_with(tmp_path, names)
    servers = LocalSite(store).server()
    directory = Directory(servers, Outbox(servers))
    here: list[tuple[User, ConnectedSession]] = []
    elsewhere: dict[tuple[int, int], str] = {}
    for number in range(1, 2_000):
        name, server = chance.choice(names), chance.randrange(7, 10)
        online = {user.key for user, _ in here} | {*elsewhere.values()}
        what = chance.randrange(20)
        if what < 5:
            session = cast("ConnectedSession", _Session(number))
            claim = directory.claim(Account(name, name, "hash", 0), session, None, proven=True)
            assert claim.first is (name not in online)
            here.append((claim.user, session))
        elif what < 10:
            _, first, replaced = directory.came(server, Came(number, name, name, "mqtt", "::1", 1))
            assert (first, replaced) == (name not in online, [])
            elsewhere[server, number] = name
        elif what < 14 and here:
            user, session = here.pop(chance.randrange(len(here)))
            left = user.key in {each.key for each, _ in here} | {*elsewhere.values()}
            assert directory.release(user, session) is not left
        elif what < 18 and elsewhere:
            place = chance.choice([*elsewhere])
            key = elsewhere.pop(place)
            gone = directory.went(*place, key)
            left = key in {user.key for user, _ in here} | {*elsewhere.values()}
            assert (gone is None) is left
        elif what == 18:
            elsewhere = {place: key for place, key in elsewhere.items() if place[0] != server}
            after = {user.key for user, _ in here} | {*elsewhere.values()}
            assert {user.key for user in directory.gone(server)} == online - after
        else:
            lost = {place for place in elsewhere if chance.random() < 0.3}
            elsewhere = {place: key for place, key in elsewhere.items() if place not in lost}
            elsewhere[server, number] = name
            after = {user.key for user, _ in here} | {*elsewhere.values()}
            stored = [Holding(*place, key, key, "mqtt", "::1", 1, "") for place, key in elsewhere.items()]
            came, went = directory.update(stored)
            assert ({user.key for user in came}, {user.key for user in went}) == (after - online, online - after)
        online = {user.key for user, _ in here} | {*elsewhere.values()}
        assert [user.key for user in directory.users()] == sorted(online)
        assert directory.counts() == (len(online), len(here) + len(elsewhere))
        for user in directory.users():
            assert ("mqtt" in user.doors) is (user.key in elsewhere.values())
    store.close()
