"""Socket options do in the kernel what they say."""

from __future__ import annotations

import socket

import pytest

from net import KeepAlive, disable_nagle, set_receive_timeout, unacknowledged_bytes
from tests.net.conftest import Pair, fill
from tests.support.waiting import DEADLINE


def option(sock: socket.socket, number: int) -> int:
    """A TCP option of a socket."""
    return sock.getsockopt(socket.IPPROTO_TCP, number)


def test_keep_alive_times(tcp: Pair) -> None:
    keep_alive = KeepAlive(idle=60, interval=20, probes=3)
    keep_alive.apply(tcp[0])
    assert keep_alive.seconds == 120
    assert tcp[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert option(tcp[0], socket.TCP_KEEPIDLE) == 60
    assert option(tcp[0], socket.TCP_KEEPINTVL) == 20
    assert option(tcp[0], socket.TCP_KEEPCNT) == 3
    assert option(tcp[0], socket.TCP_USER_TIMEOUT) == 0


def test_keep_alive_limits_sends_on_demand(tcp: Pair) -> None:
    KeepAlive(idle=60, interval=20, probes=3, limit_sends=True).apply(tcp[0])
    assert option(tcp[0], socket.TCP_USER_TIMEOUT) == 120_000


def test_small_packets_go_at_once(tcp: Pair) -> None:
    disable_nagle(tcp[0])
    assert option(tcp[0], socket.TCP_NODELAY) == 1


def test_a_receive_timeout_ends_the_wait_and_leaves_sends_blocking(pair: Pair) -> None:
    one, other = pair
    set_receive_timeout(one, 0.01)
    with pytest.raises(BlockingIOError):
        one.recv(1)
    assert one.gettimeout() is None
    set_receive_timeout(one, 0)  # the shortest there is, not for ever
    with pytest.raises(BlockingIOError):
        one.recv(1)
    set_receive_timeout(one, DEADLINE)
    other.send(b"x")
    assert one.recv(1) == b"x"


def test_without_a_receive_timeout_the_kernel_waits_for_ever(pair: Pair) -> None:
    one, _ = pair
    set_receive_timeout(one, 1.5)
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) != bytes(16)
    set_receive_timeout(one, None)
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == bytes(16)


def test_unacknowledged_bytes(tcp: Pair) -> None:
    one, other = tcp
    assert unacknowledged_bytes(one) == 0
    fill(one)
    assert unacknowledged_bytes(one) > 0
    other.close()
    one.close()
    with pytest.raises((OSError, ValueError)):
        unacknowledged_bytes(one)
