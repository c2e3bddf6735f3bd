"""A channel with many or with long entries, stored without a client."""

from __future__ import annotations

from channels import Posting
from server import Server
from wire.frames import Say

LONG = "\x01" * 16_000  # 96,000 bytes as JSON
_AT_ONCE = 100  # posts of one posting


def fill(server: Server, count: int, text: str = LONG, channel: str = "lab") -> None:
    """Store entries in a channel: each has its number, from 0 on, before the text."""
    chat = server.chat
    log = chat.log(chat.store.open_channel(channel))
    user = chat.store.open_account("filler")
    numbers: list[int] = []
    for at in range(0, count, _AT_ONCE):
        posts = [Say(f"{n} {text}", channel) for n in range(at, min(at + _AT_ONCE, count))]
        chat.journal.post(
            Posting(log, user.key, user.name, posts, lambda _, more: numbers.extend(more), lambda _, refused: None)
        )
    chat.journal.carry(wait=True)  # another thread may have had the lead, which does the work then
    assert len(numbers) == count
