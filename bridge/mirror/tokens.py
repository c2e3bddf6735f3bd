"""Floor 3: the tokens of users on the broker: by them, their names pass on from one server to the next one.

A token is made of the user's key and a secret in the store, so every server that runs the mirror makes the same one.
"""

from __future__ import annotations

import hmac
import secrets

from channels import Chat
from store import Client
from wire.clock import now


class MirrorTokens:
    """The tokens of the mirror at one root. With one server there are none, since no name passes on."""

    def __init__(self, chat: Chat, key: str) -> None:
        """`key` is the name of the secret in the store."""
        self._chat = chat
        self._key = key
        self._secret = b""

    def load(self) -> None:
        """Read the secret; the first server makes it. Raises StoreError."""
        if self._chat.servers.alone:
            return
        store = self._chat.store
        stored = store.client(self._key, now())
        if stored is None:
            stored = Client(self._key, None, None, secrets.token_urlsafe(32))
            store.save_client(stored)
        self._secret = stored.state.encode()

    def of(self, user_key: str) -> str | None:
        """Return the token of a user, None with one server."""
        return hmac.digest(self._secret, user_key.encode(), "sha256").hex() if self._secret else None
