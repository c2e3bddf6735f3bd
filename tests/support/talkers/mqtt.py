"""Somebody who takes part in the tests' conversations by MQTT, in either version, with a session that is kept."""

from __future__ import annotations

import time
from typing import Any

from tests.support.mqtt import MqttLine, body
from tests.support.talkers.talker import Known, Listed, Refusal, Said, Talker
from tests.support.waiting import DEADLINE
from wire.mqtt import V5, V311, ConnAck, Connect, Properties, Publish


class MqttTalker(Talker):
    """Listens to the channels that are joined; which one is current is this side's own business."""

    version = V5

    def _enter(self, password: str | None) -> None:
        self.line = MqttLine(self.address, version=self.version, connect=False)
        self.line.name = self.name
        keep = Properties(session_expiry_interval=1_000) if self.version == V5 else Properties()
        secret = password.encode() if password is not None else None
        self.line.send(
            Connect(
                version=self.version, client_id=f"talker-{self.name}", clean=False, username=self.name, password=secret,
                properties=keep,
            )
        )  # fmt: skip
        answer = self.line.expect(ConnAck)
        if answer.reason:
            raise Refusal(answer.properties.reason_string or "The password is wrong, or the name is registered")
        self.current = ""
        self.line.subscribe(f"chat/to/{self.name}/#", "chat/presence/+")

    def _ask(self, what: str, payload: str = "") -> Any:
        """The answer, or the refusal, of the last thing that was asked."""
        here = f"chat/to/{self.name}/"
        self.line.do(what, payload)
        answer = self.line.message("", lambda packet: packet.topic in (f"{here}{what}", f"{here}error"))
        if answer.topic.endswith("/error"):
            raise Refusal(body(answer)["error"])
        return body(answer)

    def _say(self, what: str, text: str) -> Any:
        self.line.do(what, text)
        here = f"chat/to/{self.name}/"
        answer = self.line.message("", lambda packet: packet.topic in (f"{here}stored", f"{here}error"))
        if answer.topic.endswith("/error"):
            raise Refusal(body(answer)["error"])
        return body(answer)

    def join(self, channel: str) -> None:
        self.line.subscribe(f"chat/channels/{channel}")
        self.current = self._ask(f"join/{channel}")["channel"]

    def leave(self, channel: str = "") -> None:
        left = self._ask(f"leave/{channel or self.current}")["channel"]
        self.line.unsubscribe(f"chat/channels/{left}")

    def say(self, text: str, channel: str = "") -> None:
        self._say(f"say/{channel or self.current}", text)

    def say_many(self, texts: list[str], channel: str) -> None:
        self.line.send(*[Publish(f"chat/from/{self.name}/say/{channel}", text.encode()) for text in texts[:-1]])
        for _ in texts[:-1]:
            self.line.message(f"chat/to/{self.name}/stored")
        self.say(texts[-1], channel)

    def msg(self, user: str, text: str) -> bool:
        return bool(self._say(f"msg/{user}", text).get("away"))

    def who(self, channel: str = "") -> tuple[list[str], list[str]]:
        members = self._ask(f"who/{channel}" if channel else "who")["members"]
        here = [one["name"] for one in members if one.get("online")]
        return here, [one["name"] for one in members if not one.get("online")]

    def channels(self) -> dict[str, Listed]:
        return {
            one["name"]: Listed(one["members"], one["tail"], one.get("joined", False), one.get("topic", ""))
            for one in self._ask("channels")["channels"]
        }

    def whois(self, user: str) -> Known:
        known = self._ask(f"lookup/{user}")
        return Known(known["online"], known.get("registered", False), known.get("doors", []), known.get("channels", []))

    def history(self, place: str, limit: int, before: int | None = None) -> list[Said]:
        span = f'{{"limit": {limit}}}' if before is None else f'{{"limit": {limit}, "before": {before}}}'
        return [(entry["sender"], entry["text"]) for entry in self._ask(f"history/{place}", span)["entries"]]

    def topic(self, channel: str, text: str | None = None) -> str:
        return str(self._ask(f"topic/{channel}", text or "")["topic"])

    def register(self, password: str) -> None:
        self._ask("register", f'{{"password": "{password}"}}')

    def help(self, command: str = "") -> list[str]:
        raise AssertionError("the table of topics is the help")

    def bye(self) -> str:
        self.line.ping()
        self.line.disconnect()
        return "Goodbye."

    def sync(self) -> None:
        self.line.ping()

    def _place(self, packet: Publish) -> str:
        levels = packet.topic.split("/")
        return levels[2] if levels[1] == "channels" else f"@{levels[-1]}" if levels[-2] == "msg" else ""

    def _entries(self) -> list[tuple[str, Said]]:
        found = [(self._place(packet), packet) for packet in self.line.messages()]
        return [(place, (body(packet)["sender"], body(packet)["text"])) for place, packet in found if place]

    def wait_for(self, place: str, text: str) -> None:
        if text not in [said[1] for where, said in self._entries() if where == place]:
            self.line.message("", lambda packet: self._place(packet) == place and bool(body(packet)["text"] == text))

    def heard(self, place: str) -> list[Said]:
        return [said for where, said in self._entries() if where == place]

    def everything(self) -> str:
        return "\n".join(map(repr, self.line.received))

    def wait_for_notice(self, user: str, what: str, channel: str | None = None) -> None:
        """MQTT has no notice of joins, leaves and topics, so this asks until the answer fits."""
        deadline = time.monotonic() + DEADLINE
        while not self._is_so(user, what, channel):
            assert time.monotonic() < deadline, f"{user}: no {what} of {channel}"

    def _is_so(self, user: str, what: str, channel: str | None) -> bool:
        if what == "topic":
            return bool(self.topic(channel or ""))
        here, away = self.who(channel or "")
        return (user in here + away) is (what in ("join", "online"))

    def gaps(self) -> list[tuple[str, int, int]]:
        found = [body(packet) for packet in self.line.messages(f"chat/to/{self.name}/gap")]
        return [(gap.get("channel") or f"@{gap['user']}", gap["first"], gap["last"]) for gap in found]

    def drop(self) -> None:
        self.line.reset()

    def close(self) -> None:
        self.line.close()


class OldMqttTalker(MqttTalker):
    """The same by 3.1.1."""

    version = V311
