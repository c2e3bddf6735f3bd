"""Listening sockets, and the sentences of those that cannot listen."""

from __future__ import annotations

import socket

import pytest

from net import NetError, listen
from tests.support.waiting import DEADLINE


def test_it_listens_on_a_free_port() -> None:
    with listen("127.0.0.1", 0, 8) as listener:
        host, port = listener.getsockname()
        assert (host, port > 0) == ("127.0.0.1", True)
        socket.create_connection((host, port), DEADLINE).close()


def test_a_port_in_use_is_one_sentence() -> None:
    with listen("127.0.0.1", 0, 8) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(NetError) as raised:
            listen("127.0.0.1", port, 8)
    assert str(raised.value) == (
        f"Cannot listen on 127.0.0.1:{port}: another program uses this port. Choose another port."
    )


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid", "no..host"])
def test_an_address_of_another_machine_is_one_sentence(host: str) -> None:
    with pytest.raises(NetError, match=rf"^Cannot listen on {host}:0: [^:]+\.$"):
        listen(host, 0, 8)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no socket for both IPv4 and IPv6")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_ipv6_wildcard_serves_ipv4_too(host: str) -> None:
    with listen("::", 0, 8) as listener:
        socket.create_connection((host, listener.getsockname()[1]), DEADLINE).close()


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_another_ipv6_address_serves_only_itself() -> None:
    with listen("::1", 0, 8) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), DEADLINE)
