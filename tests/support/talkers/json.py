"""A talker by the JSON dialect."""

from __future__ import annotations

from typing import Any

from tests.support.clients import Json
from tests.support.talkers.talker import Known, Listed, Refusal, Said, Talker
from wire.frames import (
    Answer,
    Bye,
    Channels,
    Entry,
    Error,
    Gap,
    Hello,
    Help,
    History,
    Join,
    Leave,
    Msg,
    Ping,
    Presence,
    Register,
    Request,
    Say,
    Seen,
    Topic,
    TopicChanged,
    Who,
    Whois,
)
from wire.limits import Limits

_PAGES = Limits(line=1 << 26)  # what a client takes as one answer


class JsonTalker(Talker):
    """By the JSON dialect; acknowledges what it has heard when it syncs."""

    def _enter(self, password: str | None) -> None:
        self.line = Json(self.address, limits=_PAGES)
        self._left: set[str] = set()  # channels, of which nothing is to be acknowledged any more
        self.welcome = self._ask(Hello(name=self.name, password=password))

    def _ask(self, request: Request) -> Any:
        answer: Answer = self.line.request(request)
        if isinstance(answer, Error):
            raise Refusal(answer.error)
        return answer

    def join(self, channel: str) -> None:
        self._left.discard(self._ask(Join(channel)).channel)

    def leave(self, channel: str = "") -> None:
        self._left.add(self._ask(Leave(channel)).channel)

    def say(self, text: str, channel: str = "") -> None:
        self._ask(Say(text, channel))

    def say_many(self, texts: list[str], channel: str) -> None:
        self.line.send(*[Say(text, channel) for text in texts[:-1]])
        self._ask(Say(texts[-1], channel))

    def msg(self, user: str, text: str) -> bool:
        return bool(self._ask(Msg(user, text)).away)

    def who(self, channel: str = "") -> tuple[list[str], list[str]]:
        members = self._ask(Who(channel)).members
        return [one.name for one in members if one.online], [one.name for one in members if not one.online]

    def channels(self) -> dict[str, Listed]:
        return {
            one.name: Listed(one.members, one.tail, one.joined, one.topic) for one in self._ask(Channels()).channels
        }

    def whois(self, user: str) -> Known:
        info = self._ask(Whois(user))
        return Known(info.online, info.registered, info.doors, info.channels)

    def history(self, place: str, limit: int, before: int | None = None) -> list[Said]:
        channel, user = ("", place[1:]) if place.startswith("@") else (place, "")
        page = self._ask(History(channel=channel, user=user, limit=limit, before=before))
        return [(entry.sender, entry.text) for entry in page.entries]

    def topic(self, channel: str, text: str | None = None) -> str:
        return str(self._ask(Topic(channel, text)).topic)

    def register(self, password: str) -> None:
        self._ask(Register(password))

    def help(self, command: str = "") -> list[str]:
        lines: list[str] = self._ask(Help(command)).lines
        return lines

    def bye(self) -> str:
        reason = str(self._ask(Bye()).reason)
        self.line.until_closed()
        return reason

    def sync(self) -> None:
        self._ask(Ping())
        highest = {self._place(entry): entry.number for entry in self.line.of(Entry)}
        for place, number in highest.items():
            if place not in self._left:
                channel, user = ("", place[1:]) if place.startswith("@") else (place, "")
                self._ask(Seen(number=number, channel=channel, user=user))

    def _place(self, entry: Entry) -> str:
        if entry.to is None:
            return entry.channel or ""
        return f"@{entry.to if entry.sender == self.name else entry.sender}"

    def wait_for(self, place: str, text: str) -> None:
        def fits(entry: Entry) -> bool:
            return entry.text == text and self._place(entry) == place

        if not any(map(fits, self.line.of(Entry))):
            self.line.expect(Entry, fits)

    def heard(self, place: str) -> list[Said]:
        return [(entry.sender, entry.text) for entry in self.line.of(Entry) if self._place(entry) == place]

    def everything(self) -> str:
        return "\n".join(map(repr, self.line.received))

    def wait_for_notice(self, user: str, what: str, channel: str | None = None) -> None:
        if what == "topic":
            self.line.expect(TopicChanged, lambda frame: (frame.user, frame.channel) == (user, channel))
        else:
            self.line.expect(Presence, lambda frame: (frame.user, frame.what, frame.channel) == (user, what, channel))

    def gaps(self) -> list[tuple[str, int, int]]:
        return [(gap.channel or f"@{gap.user}", gap.first, gap.last) for gap in self.line.of(Gap)]

    def drop(self) -> None:
        self.line.reset()

    def close(self) -> None:
        self.line.close()
