"""A talker by the text dialect."""

from __future__ import annotations

import itertools
import re

from tests.support.clients import Text
from tests.support.talkers.talker import Known, Listed, Refusal, Said, Talker

_TIME = r"(?:(?:\d{4}-\d\d-\d\d )?\d\d:\d\d )?"
_ENTRY = re.compile(rf"{_TIME}(?:\[([A-Za-z0-9_-]+)\] ([A-Za-z0-9_-]+)|([A-Za-z0-9_-]+) -> ([A-Za-z0-9_-]+)): (.*)")
_ACTION = re.compile(rf"{_TIME}\[([A-Za-z0-9_-]+)\] \* ([A-Za-z0-9_-]+) (.*)")
_PAGE = re.compile(r"\* (\d+) to (\d+) of \d+ in \S+|\* No entries in ")
_CHANNEL = re.compile(r"\* ([A-Za-z0-9_-]+) +(\d+) members?, (\d+) entr\w+(, joined)?(?:  (.*))?")
_GAP = re.compile(r"\* Skipped \d+ entr\w+ of (\S+) \((\d+) to (\d+)\)\.")
_NOTICE = {
    "join": "* {} has joined {}",
    "leave": "* {} has left {}",
    "online": "* {} is here",
    "offline": "* {} is away",
    "topic": "* {} has set the topic of {}: ",
}


class TextTalker(Talker):
    """By the text dialect, as with nc: what is no number for a person is found in the lines."""

    def _enter(self, password: str | None) -> None:
        self.line = Text(self.address)
        self._lines: list[str] = []  # every whole line so far
        self._noticed = 0  # of those, the ones in which a notice was looked for and found
        self._markers = itertools.count(1)
        self.line.send(self.name)
        if password is not None:
            self._read("is registered")
            self.line.send(password)
        self._read("Welcome, ")
        self._read("You are in ")

    def _read(self, *parts: str) -> str:
        """The next line that contains one of the parts. Raises Refusal if that is a refusal, and no part of it."""
        while True:
            line = self.line.expect("")
            self._lines.append(line)
            if any(part in line for part in parts):
                return line
            if line.startswith("! "):
                raise Refusal(line[2:])

    def _ask(self, line: str, *parts: str) -> str:
        self.line.send(line)
        return self._read(*parts)

    def join(self, channel: str) -> None:
        self._ask(f"/join {channel}", "* You are in ")
        self.sync()  # there may be a second line, about the history

    def leave(self, channel: str = "") -> None:
        self._ask(f"/leave {channel}".rstrip(), "* You have left ")

    def say(self, text: str, channel: str = "") -> None:
        shown = f"] * {self.name} {text[4:]}" if text.startswith("/me ") else f"] {self.name}: {text}"
        self._ask(f"{channel}: {text}" if channel else text, shown)

    def say_many(self, texts: list[str], channel: str) -> None:
        self.line.send(*[f"{channel}: {text}" for text in texts])
        self._read(f"[{channel}] {self.name}: {texts[-1]}")

    def msg(self, user: str, text: str) -> bool:
        self.line.send(f"/msg {user} {text}")
        self._read(f"{self.name} -> ")  # one's own message comes back
        self.sync()
        shown = f": * {self.name} {text[4:]}" if text.startswith("/me ") else f": {text}"
        start = next(at for at in reversed(range(len(self._lines))) if self._lines[at].endswith(shown))
        return any("is away. The server keeps the message" in line for line in self._lines[max(0, start - 2) :])

    def who(self, channel: str = "") -> tuple[list[str], list[str]]:
        head = f"* In {channel}: " if channel else "* Online: "
        here = self._ask(f"/who {channel}".rstrip(), head).partition(": ")[2]
        start = len(self._lines)
        self.sync()
        away = next((line[8:] for line in self._lines[start:] if line.startswith("* Away: ")), "")
        return [name for name in here.split(", ") if name != "nobody"], away.split(", ") if away else []

    def channels(self) -> dict[str, Listed]:
        start = len(self._lines)
        self.line.send("/channels")
        self.sync()
        found = [match for line in self._lines[start:] if (match := _CHANNEL.fullmatch(line))]
        return {one[1]: Listed(int(one[2]), int(one[3]), one[4] is not None, one[5] or "") for one in found}

    def whois(self, user: str) -> Known:
        line = self._ask(f"/whois {user}", " is online, ", " is away, ", " has never been here.")
        start = len(self._lines)
        self.sync()
        known = Known(" is online" in line, "a registered user" in line)
        if by := re.search(r" by (.+) from ", line):
            known.doors = by[1].split(", ")
        rows = [row[5:] for row in self._lines[start:] if row.startswith("* In ")]
        known.channels = rows[0].split(", ") if rows else []
        return known

    def history(self, place: str, limit: int, before: int | None = None) -> list[Said]:
        self._ask(f"/history {place} {limit} {before or ''}".rstrip(), " in " + place)
        return [said for _, said in self._pages()[-1]]

    def topic(self, channel: str, text: str | None = None) -> str:
        line = self._ask(f"/topic {channel} {text or ''}".rstrip(), "* The topic of ", " has no topic")
        return line.partition(": ")[2]

    def register(self, password: str) -> None:
        self._ask(f"/register {password}", f"* The name {self.name} is now registered")

    def help(self, command: str = "") -> list[str]:
        start = len(self._lines)
        self.line.send(f"/help {command}".rstrip())
        self.sync()
        if self._lines[start].startswith("! "):
            raise Refusal(self._lines[start][2:])
        return self._lines[start:-1]

    def bye(self) -> str:
        line = self._ask("exit", "* Goodbye")
        self.line.until_closed()
        return line[2:]

    def sync(self) -> None:
        marker = f"nobody-{next(self._markers)}"
        self.line.send(f"/whois {marker}")
        self._read(f"! No user called {marker} ")

    def _entries(self) -> list[tuple[str, Said]]:
        """Every entry that came, but for those of answers to history."""
        return self._sort_out()[0]

    def _pages(self) -> list[list[tuple[str, Said]]]:
        return self._sort_out()[1]

    def _sort_out(self) -> tuple[list[tuple[str, Said]], list[list[tuple[str, Said]]]]:
        entries: list[tuple[str, Said]] = []
        pages: list[list[tuple[str, Said]]] = []
        for line in self._lines:
            if end := _PAGE.match(line):
                # An answer comes in one piece: its entries are right before the line that ends it.
                count = int(end[2]) - int(end[1]) + 1 if end[1] else 0
                pages.append(entries[len(entries) - count :])
                del entries[len(entries) - count :]
            elif found := _ENTRY.fullmatch(line):
                channel, speaker, sender, to, text = found.groups()
                peer = to if sender == self.name else sender
                act = f"* {sender} "
                text = f"/me {text.removeprefix(act)}" if to and text.startswith(act) else text
                entries.append((channel or f"@{peer}", (speaker or sender, text)))
            elif acted := _ACTION.fullmatch(line):
                entries.append((acted[1], (acted[2], f"/me {acted[3]}")))
        return entries, pages

    def wait_for(self, place: str, text: str) -> None:
        while text not in [said[1] for where, said in self._entries() if where == place]:
            self._read("")

    def heard(self, place: str) -> list[Said]:
        return [said for where, said in self._entries() if where == place]

    def everything(self) -> str:
        return "\n".join(self._lines)

    def wait_for_notice(self, user: str, what: str, channel: str | None = None) -> None:
        wanted = _NOTICE[what].format(user, channel)
        while not any(line.startswith(wanted) for line in self._lines[self._noticed :]):
            self._read("")
        self._noticed = len(self._lines)

    def gaps(self) -> list[tuple[str, int, int]]:
        return [(gap[1], int(gap[2]), int(gap[3])) for line in self._lines if (gap := _GAP.match(line))]

    def drop(self) -> None:
        self.line.reset()

    def close(self) -> None:
        self.line.close()
