"""A site for the tests of the mirror: a broker, a server that mirrors to it, and their users."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import bridge.mirror.connection
import bridge.mirror.mirror
from bridge.mirror import BrokerConfig, parse_broker
from server import Server
from tests.support.brokers import BROKERS, Broker, StartBroker, brokers
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine, body
from tests.support.waiting import eventually
from wire.frames import BridgeStatus
from wire.mqtt import Publish

_NUMBERS = count(1)


class Site:
    """A server inside this process and the broker that it mirrors to; `line` is somebody on the broker."""

    def __init__(self, server: Server, broker: Broker, mqtt: Callable[..., MqttLine]) -> None:
        self.server = server
        self.broker = broker
        self._mqtt = mqtt

    @property
    def status(self) -> BridgeStatus:
        """Return the status of the mirror."""
        bridge_status = self.server.chat.mirror_status
        assert bridge_status is not None
        return bridge_status()

    def line(self, name: str, *filters: str, **fields: Any) -> MqttLine:
        """Somebody who connects to the broker, subscribes to what is for them and to the filters, and says nothing."""
        line = self._mqtt(self.broker.address, name, **{"version": self.broker.version, **fields})
        line.subscribe(f"chat/to/{name}/#", *filters)
        return line

    def wait(self, fits: Callable[[BridgeStatus], bool]) -> BridgeStatus:
        """Wait until the mirror stands like that."""
        eventually(lambda: fits(self.status), lambda: f"the mirror stands like this: {self.status}")
        return self.status

    def up(self) -> BridgeStatus:
        """Wait until the mirror is connected."""
        return self.wait(lambda status: status.connected)

    def down(self, part: str = "") -> BridgeStatus:
        """Wait until the mirror is not connected, and the reason contains that."""
        return self.wait(lambda status: not status.connected and part in status.error)

    def retained(self, topic: str, fits: Callable[[Any], bool] = lambda _: True) -> Any:
        """Wait until that is retained, as JSON if it is an object."""

        def said(packet: Publish) -> Any:
            return body(packet) if packet.payload[:1] == b"{" else packet.payload.decode()

        left = 2 if self.broker.kind == "amqtt" else 0  # it was seen to end a connection that had just begun
        while True:
            client_id, version = f"watcher{next(_NUMBERS)}", self.broker.version
            line = self._mqtt(self.broker.address, "watcher", version=version, client_id=client_id)
            try:
                line.subscribe(topic)
                return said(line.message(topic, lambda packet: fits(said(packet))))
            except AssertionError:
                if not left or not line.ended:
                    raise
                left -= 1
            finally:
                line.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the mirror connect again at once, and wait for the answers of a broker on a busy machine."""
    monkeypatch.setattr(bridge.mirror.mirror, "_PAUSES", (0.01, 0.05))
    monkeypatch.setattr(bridge.mirror.connection, "_PATIENCE", 30.0)


@pytest.fixture
def fluent(broker_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the mirror begin with the version that the broker speaks: amqtt leaves a CONNECT of MQTT 5 unanswered."""
    version = BROKERS[broker_kind].version
    monkeypatch.setattr("server.parse_broker", lambda config: replace(parse_broker(config), version=version))


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[StartBroker]:
    """Start a broker: `start_broker("mosquitto", "persistence true")`; killed afterwards."""
    with brokers(tmp_path) as start:
        yield start


@pytest.fixture(params=BROKERS)
def broker_kind(request: pytest.FixtureRequest) -> str:
    """Each broker in turn."""
    return str(request.param)


@pytest.fixture
def site(
    quick: None, fluent: None, broker_kind: str, start_broker: StartBroker, start_server: StartServer,
    mqtt: Callable[..., MqttLine],
) -> Site:  # fmt: skip
    """A broker of each kind, and a server that is connected to it."""
    broker = start_broker(broker_kind)
    made = Site(start_server(broker=BrokerConfig(url=broker.url)), broker, mqtt)
    made.up()
    return made
