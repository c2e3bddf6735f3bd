"""The directory: the connected users, sorted as they come, and their connections."""

from __future__ import annotations

import random
from typing import cast

from channels.directory import ConnectedSession, Directory, User
from store import Account
from wire.names import fold


class _Session:
    ending = False


def test_pages_and_counts_are_those_of_a_plain_list() -> None:
    """After any logins and departures, of guests and of registered users with several connections."""
    directory, chance = Directory(), random.Random(7)
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
            user, replaced, first = directory.claim(account, session, token, proven=registered)
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
