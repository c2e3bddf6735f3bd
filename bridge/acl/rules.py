"""Floor 3: the topics that one client, or the server itself, may write and read below the root; pure."""

from __future__ import annotations

from dataclasses import dataclass

from wire.mqtt import matches
from wire.topics import TABLE, Writer

SERVER_USER = "partyline"  # the server's own user name at a broker, by default
_ME = "<me>"


@dataclass(frozen=True, slots=True)
class Rules:
    """The topic filters that one client may write and read below the root. It may use every topic outside the root."""

    root: str
    writes: tuple[str, ...]
    reads: tuple[str, ...]

    @property
    def everything(self) -> str:
        """The topic filter that covers the whole root."""
        return f"{self.root}/#"

    def covers(self, topic: str) -> bool:
        """Return True if the topic is below the root."""
        return matches(self.everything, topic)

    def may_write(self, topic: str) -> bool:
        """Return True if the client may publish to the topic."""
        return any(matches(each, topic) for each in self.writes) or not self.covers(topic)

    def may_read(self, topic: str) -> bool:
        """Return True if the client may receive what is published to the topic."""
        return any(matches(each, topic) for each in self.reads) or not self.covers(topic)


def server_rules(root: str) -> Rules:
    """Return the rules for the server itself, which may write and read everything."""
    return Rules(root, (f"{root}/#",), (f"{root}/#",))


def client_rules(root: str, me: str) -> Rules:
    """Return the rules for the client `me`: its name, or the placeholder that a broker replaces by the name."""
    writes: dict[str, None] = {}
    reads: dict[str, None] = {}
    for row in TABLE:
        head, *levels = row.pattern.split("/")
        if levels[:1] == [_ME]:  # the client's own tree
            pattern = f"{head}/{_ME}/#"
        elif _ME in levels:  # from one client to another
            pattern = "/".join([head, *(level if level == _ME else "+" for level in levels)])
            reads["/".join([head, *("+" if level == _ME else _ME for level in levels)])] = None
        else:
            pattern = f"{head}/#" if levels else head
        (writes if row.writer is Writer.CLIENT else reads)[pattern] = None
    named = [tuple(f"{root}/{each.replace(_ME, me)}" for each in side) for side in (writes, reads)]
    return Rules(root, named[0], named[1])
