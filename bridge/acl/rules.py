"""Floor 3: who may write and read which topic, made from the table of topics, also as the rules of other brokers; pure.

On a broker of somebody else's, the user name that the broker has checked is the chat name: so each client may write
only what has its own name in it. `server.py acl` prints the rules; the embedded broker keeps them itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wire.errors import LocalError
from wire.mqtt import matches
from wire.names import NAME, shorten
from wire.topics import ROOT, TABLE

from . import texts as acl_texts

USER = "partyline"  # the bridge's own user at a broker
_ME = "<me>"
# What means the same in the syntax of every broker; a root may be more than that, but not with these rules.
_PLAIN_ROOT = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Rules:
    """What one client may do below the root, as topic filters. What is not in them, it may not."""

    root: str
    writes: tuple[str, ...]
    reads: tuple[str, ...]

    @property
    def all(self) -> str:
        """Everything below the root."""
        return f"{self.root}/#"

    def covers(self, topic: str) -> bool:
        """Whether the topic is below the root."""
        return matches(self.all, topic)

    def may_write(self, topic: str) -> bool:
        """Whether it may publish there; outside of the root it may."""
        return any(matches(each, topic) for each in self.writes) or not self.covers(topic)

    def may_read(self, topic: str) -> bool:
        """Whether what is published there is for it; outside of the root it is."""
        return any(matches(each, topic) for each in self.reads) or not self.covers(topic)


def server_rules(root: str) -> Rules:
    """The rules for the server itself, which may do everything."""
    return Rules(root, (f"{root}/#",), (f"{root}/#",))


def rules(root: str, me: str) -> Rules:
    """The rules for the client called `me`, which may be what a broker puts the name in for."""
    writes: dict[str, None] = {}
    reads: dict[str, None] = {}
    for row in TABLE:
        head, *levels = row.topic.split("/")
        if levels[:1] == [_ME]:  # its own tree
            pattern = f"{head}/{_ME}/#"
        elif _ME in levels:  # from one to another
            pattern = "/".join([head, *(level if level == _ME else "+" for level in levels)])
            reads["/".join([head, *("+" if level == _ME else _ME for level in levels)])] = None
        else:
            pattern = f"{head}/#" if levels else head
        (writes if row.writer.startswith("client") else reads)[pattern] = None
    named = [tuple(f"{root}/{each.replace(_ME, me)}" for each in side) for side in (writes, reads)]
    return Rules(root, named[0], named[1])


_TEXTS: dict[str, tuple[str, Callable[[Rules, str, Sequence[str]], str]]] = {
    # What the broker puts the user name in for, and who writes the rules down.
    "mosquitto": ("%u", acl_texts.mosquitto),
    "emqx": ("${username}", acl_texts.emqx),
    "nats": ("{client}", acl_texts.nats),
    "rabbitmq": ("{username}", acl_texts.rabbitmq),
}
BROKERS = tuple(_TEXTS)
LISTED = ("nats", "rabbitmq")  # have no rules for whoever comes: each client is named


def text(broker: str, root: str = ROOT, user: str = USER, clients: Sequence[str] = ()) -> str:
    """The rules in the broker's own language, with comments on where they go. Raises LocalError with a sentence.

    `user` is the bridge's own, `clients` are the users to be listed where a broker needs that.
    """
    if broker not in _TEXTS:
        raise LocalError(f"There are no rules for {shorten(broker)!r}: the brokers are {', '.join(BROKERS)}.")
    if _PLAIN_ROOT.fullmatch(root) is None:
        raise LocalError(f"These rules need a root of letters, digits, -, _ and /, not {shorten(root)!r}.")
    for name in (user, *clients):
        if NAME.fullmatch(name) is None:
            raise LocalError(f"A user name is 1 to 32 letters, digits, - and _, not {shorten(name)!r}.")
    if user in clients:
        raise LocalError(f"{user} is the bridge's own user, and so no client.")
    placeholder, write = _TEXTS[broker]
    return write(rules(root, placeholder), user, clients)
