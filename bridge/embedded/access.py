"""Floor 3: access control of the embedded broker: passwords from the store, and the rules for topics."""

from __future__ import annotations

import asyncio
import hmac
from functools import lru_cache
from pathlib import Path

from bridge.acl import Rules, client_rules, server_rules
from channels import Passwords
from store import read_account
from wire.errors import Refused
from wire.limits import Limits
from wire.names import NAME, fold

_CACHED_TOPIC = 256  # characters of the longest topic whose answer is cached


class AccessControl:
    """Decides who may log in under a name, and which topics that user may write and read."""

    def __init__(self, store: str | Path, root: str, user: str, secret: str, limits: Limits) -> None:
        """`user` is the server's own name, with the password `secret`. Everybody else is in the store, or a guest."""
        self._store = store
        self._server_rules = server_rules(root)
        self._user = fold(user)
        self._secret = secret
        self._passwords = Passwords(limits)
        self._rules = lru_cache(1 << 10)(self._make_rules)
        self._may_cached = lru_cache(1 << 12)(self._may)

    def is_server(self, name: str) -> bool:
        """Return True if a logged-in user is the server itself."""
        return fold(name) == self._user

    def is_outside_root(self, topic: str) -> bool:
        """Return True if the topic is not below the root; every user may use it."""
        return not self._server_rules.covers(topic)

    def _make_rules(self, name: str) -> Rules:
        return self._server_rules if self.is_server(name) else client_rules(self._server_rules.root, name)

    def may(self, name: str, topic: str, *, write: bool) -> bool:
        """Return True if a logged-in user may write the topic, or read it."""
        return (self._may_cached if len(topic) <= _CACHED_TOPIC else self._may)(name, topic, write)

    def _may(self, name: str, topic: str, write: bool) -> bool:
        mine = self._rules(name)
        return mine.may_write(topic) if write else mine.may_read(topic)

    async def authenticate(self, name: str, password: str, network: str | None) -> bool:
        """Return True if the name is valid and the password is right for it, or the name has none.

        `network` is that of the client's address (`net.network_of`). Raises StoreError; Refused if the password has to
        wait, or if too many passwords are being checked.
        """
        if NAME.fullmatch(name) is None:
            return False
        if self.is_server(name):
            return hmac.compare_digest(password.encode(), self._secret.encode())
        account = await asyncio.to_thread(read_account, self._store, name)
        if account is None or account.password is None:
            return True
        try:
            await asyncio.wrap_future(self._passwords.check_later(account, password, network))
        except Refused as refused:
            if refused.code != "wrong-password":
                raise
            return False
        return True

    def close(self) -> None:
        """End the threads that check passwords."""
        self._passwords.close()
