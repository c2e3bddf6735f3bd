"""`/status` at any server lists all servers: their connections, and how long what they tell takes."""

from __future__ import annotations

from collections.abc import Callable

from server import Server
from tests.servers.alike import Connect
from tests.servers.conftest import StartServers
from tests.support.clients import Json, Text
from tests.support.mqtt import MqttLine
from tests.support.servers import LocalSite
from tests.support.waiting import eventually
from wire import VERSION
from wire.frames import ServerInfo, ServerStatus, Status


def servers(client: Json) -> list[ServerInfo]:
    """What a client is shown."""
    status = client.request(Status())
    assert isinstance(status, ServerStatus)
    return status.servers


def wait_until_measured(server: Server, count: int) -> None:
    """Return when the server knows that many servers, and each has measured its lag."""
    shown = server.chat.status
    eventually(
        lambda: [each.lag is not None for each in shown().servers] == [True] * count, lambda: repr(shown().servers)
    )


def test_each_server_lists_all(
    start_servers: StartServers, connect: Connect, dial: Callable[..., Text], mqtt: Callable[..., MqttLine]
) -> None:
    """By JSON, as text and by MQTT, also for one who has not logged in."""
    one, other = start_servers(2)
    ann = connect(one.address, "ann")
    connect(one.address, "bob")
    for each in (one, other):
        wait_until_measured(each, 2)
    shown = other.chat.status
    eventually(lambda: [each.connections for each in shown().servers] == [2, 0], lambda: repr(shown()))
    nobody = Json(other.address)
    for client, address in ((ann, one.address), (nobody, other.address)):
        first, second = servers(client)
        assert (first.address, second.address) == (one.address, other.address)
        assert {first.version, second.version} == {VERSION}
        assert [each.address for each in (first, second) if each.here] == [address]
        assert first.number < second.number
        assert not first.silent
        assert not second.silent
    person = dial(one.address, "carol")
    person.send("/status")
    person.expect(f"* Server {second.number}, ")
    device = mqtt(other.address, "oven")
    device.subscribe("chat/to/oven/#")
    told = device.ask("status")
    assert [each["address"] for each in told["servers"]] == [one.address, other.address]
    nobody.close()


def test_a_server_that_is_gone_is_not_listed(start_servers: StartServers, connect: Connect) -> None:
    one, other = start_servers(2)
    ann = connect(one.address, "ann")
    wait_until_measured(one, 2)
    other.close()
    eventually(lambda: len(servers(ann)) == 1, lambda: repr(servers(ann)))


def test_a_server_that_went_while_this_one_was_cut_off_is_not_listed(
    start_servers: StartServers, connect: Connect, site: LocalSite
) -> None:
    one, other = start_servers(2)
    ann = connect(one.address, "ann")
    wait_until_measured(one, 2)
    site.cut_off(1)
    site.kill(2)
    site.back(1)
    eventually(lambda: len(servers(ann)) == 1, lambda: repr(servers(ann)))
    assert isinstance(other, Server)


def test_news_that_are_late_show_as_lag(start_servers: StartServers, connect: Connect, site: LocalSite) -> None:
    """While the database is away, the lag grows."""
    one, _ = start_servers(2)
    ann = connect(one.address, "ann")
    wait_until_measured(one, 2)
    site.away = True
    eventually(lambda: (servers(ann)[0].lag or 0) > 1_000_000, lambda: repr(servers(ann)))
    site.away = False
    eventually(lambda: (servers(ann)[0].lag or 0) < 900_000, lambda: repr(servers(ann)))
