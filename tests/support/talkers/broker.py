"""Somebody who takes part in the tests' conversations by way of another broker, which the server mirrors to."""

from __future__ import annotations

import itertools
import json
from typing import Any, ClassVar

from tests.support.mqtt import MqttLine, body
from tests.support.talkers.mqtt import MqttTalker
from wire.mqtt import V5, V311, ConnAck, Connect, Properties, Publish, Will


class BrokerTalker(MqttTalker):
    """Says that it is here with `register`, and has a will; `address` is the broker's. What it says has an id."""

    ids: ClassVar[itertools.count[int]] = itertools.count(1)

    def _enter(self, password: str | None) -> None:
        self.line = MqttLine(self.address, version=self.version, connect=False)
        self.line.name = self.name
        keep = Properties(session_expiry_interval=1_000) if self.version == V5 else Properties()
        self.line.send(
            Connect(
                version=self.version, client_id=f"talker-{self.name}", clean=False, username=self.name, properties=keep,
                will=Will(f"chat/from/{self.name}/gone", b"", 1),
            )
        )  # fmt: skip
        assert not self.line.expect(ConnAck).reason
        self.current = ""
        self.line.subscribe(f"chat/to/{self.name}/#", "chat/presence/+")
        self.welcome = self._ask("register", "" if password is None else json.dumps({"password": password}))

    def _say(self, what: str, text: str) -> Any:
        return super()._say(what, json.dumps({"text": text, "id": f"{self.name}-{next(self.ids)}"}))

    def say_many(self, texts: list[str], channel: str) -> None:
        for text in texts[:-1]:
            said = json.dumps({"text": text, "id": f"{self.name}-{next(self.ids)}"})
            self.line.send(Publish(f"chat/from/{self.name}/say/{channel}", said.encode()))
        for _ in texts[:-1]:
            self.line.message(f"chat/to/{self.name}/stored")
        self.say(texts[-1], channel)

    def bye(self) -> str:
        self.line.do("gone")
        self.line.message(f"chat/presence/{self.name}", lambda packet: not body(packet)["online"])
        return super().bye()

    def sync(self) -> None:
        self._ask("status")


class OldBrokerTalker(BrokerTalker):
    """The same by 3.1.1."""

    version = V311
