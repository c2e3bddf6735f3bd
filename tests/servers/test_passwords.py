"""Wrong passwords count for all servers together, and so does an address that has proven a name."""

from __future__ import annotations

import pytest

from server import Server
from tests.servers.alike import Connect
from tests.servers.conftest import StartServers
from tests.support.mqtt import MqttLine
from tests.support.servers import LocalSite
from tests.support.waiting import eventually
from wire.frames import Hello, Register, Welcome
from wire.limits import Limits
from wire.mqtt import V5, Reason

PASSWORD = "correct-horse"
STRANGER = "127.0.0.9"
TRIES = Limits(password_tries=3, password_delay=3_600)


def try_from(server: Server, address: str, password: str) -> int:
    """Log in as alice from an address. Return the reason code of the CONNACK."""
    line = MqttLine(
        server.address, "alice", version=V5, source=address, password=password.encode(), refused=password != PASSWORD
    )
    try:
        return line.connack.reason
    finally:
        line.close()


def registered(connect: Connect, *servers: Server) -> None:
    """Register alice at the first server, and wait until the others know the address that has proven the name."""
    with connect(servers[0].address, "alice") as alice:
        alice.request(Register(PASSWORD))
    eventually(
        lambda: all(
            f"alice {address}" in each.chat.passwords._delays._proven for each in servers for address in ("127.0.0.1",)
        ),
        lambda: "not all servers know the address",
    )


def wrong(server: Server, name: str = "alice") -> int:
    """Return how many wrong passwords a server knows of."""
    found = server.chat.passwords._delays._names._wrong.get(name)
    return found.count if found is not None else 0


def wait_until_counted(count: int, servers: list[Server]) -> None:
    """Return when all servers know of so many wrong passwords."""
    eventually(lambda: {wrong(each) for each in servers} == {count}, lambda: repr([wrong(each) for each in servers]))


def test_wrong_passwords_at_several_servers_count_together(start_servers: StartServers, connect: Connect) -> None:
    servers = start_servers(3, limits=TRIES)
    registered(connect, *servers)
    for count, server in enumerate(servers, 1):
        assert try_from(server, STRANGER, "wrong") == Reason.BAD_USER_NAME_OR_PASSWORD
        wait_until_counted(count, servers)
    for server in servers:
        assert try_from(server, STRANGER, "wrong") == Reason.CONNECTION_RATE_EXCEEDED
    assert {wrong(each) for each in servers} == {3}, "who has to wait is not counted"


def test_an_address_that_has_proven_a_name_does_not_wait_at_any_server(
    start_servers: StartServers, connect: Connect
) -> None:
    one, other = start_servers(2, limits=TRIES)
    registered(connect, one, other)
    for _ in range(3):
        try_from(one, STRANGER, "wrong")
    eventually(lambda: wrong(other) == 3, lambda: str(wrong(other)))
    assert isinstance(connect(other.address).request(Hello(name="alice", password=PASSWORD)), Welcome)


def test_a_right_password_is_told_once_a_day(start_servers: StartServers, connect: Connect, site: LocalSite) -> None:
    """Not at each login, and after a wrong one again."""
    one, other = start_servers(2)
    registered(connect, one, other)

    def told() -> int:
        return sum(message.count('"tried"') for _, message in site.told)

    assert told() == 1
    for _ in range(3):
        connect(one.address, "alice", password=PASSWORD)
    connect(one.address, "bob")
    eventually(lambda: other.chat.directory.find("bob") is not None, lambda: "bob is not known")
    assert told() == 1
    connect(one.address).request(Hello(name="alice", password="wrong"))
    connect(one.address, "alice", password=PASSWORD)
    eventually(lambda: told() == 3, lambda: repr(site.told))


@pytest.mark.parametrize("how", ["one", "other"])
def test_a_name_that_was_registered_at_one_server_needs_its_password_at_each(
    start_servers: StartServers, connect: Connect, how: str
) -> None:
    servers = dict(zip(("one", "other"), start_servers(2), strict=True))
    with connect(servers["one"].address, "alice") as alice:
        alice.request(Register(PASSWORD))
    assert connect(servers[how].address).request(Hello(name="alice")).code == "need-password"
    assert connect(servers[how].address).request(Hello(name="alice", password="wrong")).code == "wrong-password"
    assert isinstance(connect(servers[how].address).request(Hello(name="alice", password=PASSWORD)), Welcome)
