"""The JSON link, against a socket."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator

import pytest

from doors.line_speaker import GREETING
from net import client_context, server_context
from terminal.links import json as link_module
from terminal.links.endpoint import Endpoint
from terminal.links.json import JsonLink
from terminal.links.link import Connected, Disconnected, Event, Received
from tests.support.certificates import Certificate
from tests.support.waiting import DEADLINE
from wire.frames import (
    Frame,
    Join,
    Malformed,
    Ok,
    Pong,
    Say,
)
from wire.jsonlines import JsonLines


class Peer:
    """A listening socket, and a JsonLink that connects to it."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.events: queue.Queue[Event] = queue.Queue()
        self.endpoint = Endpoint(*self.listener.getsockname())
        self.link = JsonLink([self.endpoint], self.events.put)

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(DEADLINE)
        return connection

    def expect(self, kind: type[Event]) -> Event:
        event = self.events.get(timeout=DEADLINE)
        assert isinstance(event, kind), event
        return event


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.link.stop()
    peer.listener.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "partyline-link"]


def test_the_link_reconnects_and_sends_nothing_old(peer: Peer) -> None:
    peer.link.start()
    first = peer.accept()
    peer.expect(Connected)
    peer.link.send([Say("one", "lab")])
    assert first.recv(100) == b'{"op":"say","text":"one","channel":"lab"}\n'
    first.sendall(JsonLines.encode(Join("lab"))[:5])
    first.close()
    peer.expect(Disconnected)
    peer.link.send([Say("lost", "lab")])
    with peer.accept() as second:
        peer.expect(Connected)
        peer.link.send([Say("two", "lab")])
        assert second.recv(100) == b'{"op":"say","text":"two","channel":"lab"}\n'
        second.sendall(b'{"op":"ok"}\n{"op":"o')
        received = peer.expect(Received)
        assert isinstance(received, Received)
        assert len(received.frames) == 1


def test_the_link_skips_the_greeting_for_people(peer: Peer) -> None:
    """The server sends it to a connection that is silent at first. Later, the same line is no frame."""
    peer.link.start()
    with peer.accept() as server:
        peer.expect(Connected)
        server.sendall(GREETING + b'{"op":"ok"}\n')
        received = peer.expect(Received)
        assert isinstance(received, Received)
        assert received.frames == [Ok()]
        server.sendall(GREETING)
        received = peer.expect(Received)
        assert isinstance(received, Received)
        assert [type(frame) for frame in received.frames] == [Malformed]


def test_the_link_delivers_the_reason_of_a_failed_attempt() -> None:
    peer = Peer()
    peer.listener.close()
    peer.link.start()
    event = peer.expect(Disconnected)
    assert isinstance(event, Disconnected)
    assert event.reason == "Connection refused"
    peer.link.stop()


def test_send_does_not_block_while_the_server_does_not_read(peer: Peer) -> None:
    peer.link.start()
    with peer.accept() as connection:
        peer.expect(Connected)
        frames: list[Frame] = [Say("x" * 16_000, "lab")] * 1_000
        peer.link.send(frames)
        peer.link.send(frames)
        size, wanted = 0, 2 * sum(len(JsonLines.encode(frame)) for frame in frames)
        while size < wanted:
            size += len(connection.recv(1 << 20))
        assert size == wanted


def test_a_dropped_connection_is_opened_again(peer: Peer) -> None:
    peer.link.start()
    with peer.accept():
        peer.expect(Connected)
        peer.link.drop()
        peer.expect(Disconnected)
        with peer.accept():
            peer.expect(Connected)


def test_a_silent_server_is_pinged_and_then_given_up(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_SILENCE", 0.02)
    peer.link.start()
    with peer.accept() as connection:
        peer.expect(Connected)
        assert connection.recv(100) == b'{"op":"ping"}\n'
        assert peer.expect(Disconnected) == Disconnected("the server does not respond", endpoint=peer.endpoint)


def test_a_host_that_no_resolver_takes_is_a_failed_attempt() -> None:
    """The resolver raises UnicodeError for it, no OSError."""
    events: queue.Queue[Event] = queue.Queue()
    nowhere = Endpoint("a..b", 7000)
    link = JsonLink([nowhere], events.put)
    link.start()
    event = events.get(timeout=DEADLINE)
    assert event == Disconnected("that is not a host name", reached=False, endpoint=nowhere)
    link.stop()


def test_the_link_speaks_tls(certificate: Certificate) -> None:
    """Many frames at once come whole, also the last ones, which the socket does not show any more."""
    context = server_context(certificate.file, certificate.key)
    events: queue.Queue[Event] = queue.Queue()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        endpoint = Endpoint("127.0.0.1", listener.getsockname()[1], client_context(certificate.file))
        link = JsonLink([endpoint], events.put)
        link.start()
        accepted, _ = listener.accept()
        accepted.settimeout(DEADLINE)
        with context.wrap_socket(accepted, server_side=True) as server:
            assert events.get(timeout=DEADLINE) == Connected(endpoint)
            link.send([Join("lab")])
            assert server.recv(100) == JsonLines.encode(Join("lab"))
            server.sendall(JsonLines.encode(Pong(ref="x" * 50)) * 5_000)
            came = 0
            while came < 5_000:
                event = events.get(timeout=DEADLINE)
                assert isinstance(event, Received)
                came += len(event.frames)
        assert isinstance(events.get(timeout=DEADLINE), Disconnected)
        link.stop()


def test_a_certificate_that_is_not_trusted_is_the_reason(certificate: Certificate) -> None:
    """Nothing is sent to that server."""
    context = server_context(certificate.file, certificate.key)
    events: queue.Queue[Event] = queue.Queue()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        link = JsonLink([Endpoint("127.0.0.1", listener.getsockname()[1], client_context())], events.put)
        link.start()
        accepted, _ = listener.accept()
        accepted.settimeout(DEADLINE)
        with accepted, pytest.raises(OSError, match=r"."):
            context.wrap_socket(accepted, server_side=True)
        event = events.get(timeout=DEADLINE)
        link.stop()
    assert isinstance(event, Disconnected)
    assert not event.reached
    assert event.reason == "its certificate is not valid (self-signed certificate)"
