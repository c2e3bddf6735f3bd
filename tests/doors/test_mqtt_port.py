"""The port for MQTT devices has the same protocols as the other port, but greets no silent peer as a person."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from doors import connection
from server import Server
from tests.support.clients import Json, Text
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine
from wire.limits import Limits
from wire.mqtt import ConnAck, Connect


def test_a_device_may_take_its_time_for_connect(
    server: Server, mqtt: Callable[..., MqttLine], version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "GREET_AFTER", 0.01)
    assert server.mqtt_address is not None
    slow = mqtt(server.mqtt_address, connect=False, version=version)
    with Text(server.address) as person:
        person.expect("What is your name?")
    slow.send(Connect(version=version, client_id="slow"))
    assert slow.expect(ConnAck) is slow.received[0]
    slow.ping()


def test_people_and_programs_are_served_there_as_well(server: Server) -> None:
    assert server.mqtt_address is not None
    with Text(server.mqtt_address, "alice") as alice, Json(server.mqtt_address, "bob"):
        alice.send("/who")
        alice.expect("alice, bob")


def test_a_full_server_says_no_text_to_a_device(start_server: StartServer, mqtt: Callable[..., MqttLine]) -> None:
    server = start_server(limits=Limits(connections=1))
    assert server.mqtt_address is not None
    with Json(server.address, "alice"):
        assert mqtt(server.mqtt_address, connect=False).until_closed() == []
