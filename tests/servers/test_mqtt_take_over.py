"""An MQTT client that connects at one server takes over its connection at another one, as it does at the same one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from server import Server
from tests.servers.alike import Connect, wait_until_alike
from tests.servers.conftest import StartServers
from tests.support.mqtt import MqttLine
from tests.support.servers import LocalSite
from tests.support.waiting import ended, eventually
from wire.frames import Error, Hello, Ping, Register
from wire.mqtt import V5, Disconnect, Reason
from wire.mqtt import Connect as Packet

Mqtt = Callable[..., MqttLine]
PASSWORD = "correct-horse"


def register(connect: Connect, server: Server, name: str) -> None:
    """Register a name, and let go of it."""
    client = connect(server.address, name)
    client.request(Register(PASSWORD))
    client.close()


def known(mqtt: Mqtt, server: Server, client_id: str, **fields: Any) -> MqttLine:
    """Connect a client of the registered user alice."""
    return mqtt(server.address, "alice", client_id=client_id, password=PASSWORD.encode(), **fields)


def goodbye(line: MqttLine) -> list[int]:
    """Return the reasons for which a connection was ended by the server."""
    return [item.reason for item in line.until_closed() if isinstance(item, Disconnect)]


def test_a_client_of_a_registered_user_takes_itself_over(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, version: int
) -> None:
    """And no other client of the user, at any server."""
    one, other = start_servers(2)
    register(connect, one, "alice")
    phone, tablet = known(mqtt, one, "phone", version=version), known(mqtt, one, "tablet", version=version)
    desk = connect(one.address, "alice", password=PASSWORD)
    far = known(mqtt, other, "far", version=version)
    again = known(mqtt, other, "phone", version=version)
    assert goodbye(phone) == ([Reason.SESSION_TAKEN_OVER] if version == V5 else [])
    for line in (tablet, far, again):
        line.ping()
    desk.request(Ping())
    wait_until_alike(one, other)
    assert one.chat.status().connections == 4
    back = known(mqtt, one, "phone", version=version)
    assert goodbye(again) == ([Reason.SESSION_TAKEN_OVER] if version == V5 else [])
    back.ping()
    third = known(mqtt, one, "phone", version=version)
    assert goodbye(back) == ([Reason.SESSION_TAKEN_OVER] if version == V5 else [])
    third.ping()
    wait_until_alike(one, other)
    assert one.chat.status().connections == 4


def test_a_guests_client_takes_itself_over_from_the_same_address(
    start_servers: StartServers, mqtt: Mqtt, connect: Connect
) -> None:
    one, other = start_servers(2)
    first = mqtt(one.address, "alice")
    others: tuple[dict[str, Any], ...] = ({"client_id": "another"}, {"source": "127.0.0.2"})
    for fields in others:
        refused = mqtt(other.address, "alice", refused=True, **fields)
        assert refused.connack.reason == Reason.NOT_AUTHORIZED
    answer = connect(other.address).request(Hello(name="alice"))
    assert isinstance(answer, Error)
    assert answer.code == "name-taken"
    first.ping()
    first.ping()
    second = mqtt(other.address, "alice")
    assert goodbye(first) == [Reason.SESSION_TAKEN_OVER]
    wait_until_alike(one, other)
    assert [user.name for user in one.chat.directory.users()] == ["alice"]
    second.disconnect()
    eventually(lambda: not one.chat.directory.users(), lambda: "alice stays")
    wait_until_alike(one, other)


def test_a_client_without_a_user_name_keeps_its_name(start_servers: StartServers, mqtt: Mqtt) -> None:
    one, other = start_servers(2)

    def name(line: MqttLine) -> str:
        return dict(line.connack.properties.user_property)["name"]

    first = mqtt(one.address, None, client_id="sensor")
    stranger = mqtt(other.address, None, client_id="sensor", source="127.0.0.2")
    assert (name(first), name(stranger)[:6]) == ("sensor", "guest-")
    first.ping()
    second = mqtt(other.address, None, client_id="sensor")
    assert name(second) == "sensor"
    assert goodbye(first) == [Reason.SESSION_TAKEN_OVER]
    stranger.ping()


def test_a_client_whose_take_over_was_not_told_is_ended_with_the_next_look(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, site: LocalSite
) -> None:
    one, other = start_servers(2)
    register(connect, one, "alice")
    first, guest = known(mqtt, one, "phone"), mqtt(one.address, "bob")
    for line in (first, guest):
        line.ping()
    others = [known(mqtt, one, "tablet"), mqtt(one.address, "carol")]
    wait_until_alike(one, other)
    site.living[1].deaf = True  # it misses what the other server tells
    known(mqtt, other, "phone").ping()
    mqtt(other.address, "bob").ping()
    eventually(lambda: any('"c"' in told for _, told in site.told), lambda: repr(site.told))
    eventually(lambda: not other.chat.outbox._notices, lambda: "the notices wait")
    site.living[1].deaf = False
    one.chat._inbox._look_later()
    one.chat._inbox._wake.set()
    assert [goodbye(line) for line in (first, guest)] == [[Reason.SESSION_TAKEN_OVER]] * 2
    for line in others:
        line.ping()
    wait_until_alike(one, other)


@pytest.mark.parametrize("registered", [True, False])
def test_of_connections_at_the_same_moment_one_stays(
    start_servers: StartServers, connect: Connect, mqtt: Mqtt, *, registered: bool
) -> None:
    """Also of two at one server, from different addresses: whoever was given the name last."""
    servers = start_servers(2)
    if registered:
        register(connect, servers[0], "alice")
    places = [(servers[0], "127.0.0.1"), (servers[1], "127.0.0.1"), (servers[1], "127.0.0.1")]
    if registered:
        places.append((servers[0], "127.0.0.2"))
    lines: list[MqttLine] = []

    def dial(server: Server, source: str) -> None:
        line = mqtt(server.address, "alice", connect=False, source=source)
        lines.append(line)
        line.send(Packet(version=V5, client_id="phone", username="alice", password=PASSWORD.encode()))
        stays(line)

    for turn in range(1, 11):
        threads = [threading.Thread(target=dial, args=place) for place in places]
        for thread in threads:
            thread.start()
        ended(threads, lambda: len(lines))
        assert len(lines) == turn * len(places)
        eventually(lambda: sum(map(stays, lines)) == 1, lambda: repr([*map(stays, lines)]))
        wait_until_alike(*servers)
        assert servers[0].chat.status().connections == 1


def stays(line: MqttLine) -> bool:
    """Return whether a connection is there."""
    try:
        if not line.ended:
            line.ping()
    except (AssertionError, OSError):
        line.ended = True
    return not line.ended
