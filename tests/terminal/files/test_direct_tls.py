"""Direct transfers of clients that are connected to the server by TLS: they are encrypted, too."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from net import client_context, pinned_context
from server import Server
from terminal.files import direct_listener as listener_module
from terminal.files.connection import ConnectionLostError
from terminal.files.direct_listener import DirectListener
from terminal.files.json_connection import JsonFileConnection
from terminal.files.sources import Source
from tests.support.certificates import Certificate
from tests.support.clients import Json, in_tls
from tests.support.files import PHOTO
from tests.support.processes.clients import Running
from tests.support.waiting import DEADLINE
from wire.frames import Error, Listen, Offer, Ok, Ranges, Reach, Visitor, Way


@pytest.fixture
def listener(photo: Path) -> Iterator[DirectListener]:
    """A sender's port, in TLS, that expects bob with the token `secret`."""
    source = Source(str(photo))
    info = Ranges(file="f", name="photo.jpg", size=len(PHOTO), sender="alice", sha256="0" * 64)
    with DirectListener("127.0.0.1", 0, source, info, lambda _: None, encrypted=True) as made:
        made.expect("bob", "secret")
        yield made
    source.close()


def test_the_fingerprint_is_what_a_receiver_accepts(listener: DirectListener) -> None:
    context = pinned_context(listener.fingerprint)
    connection = JsonFileConnection("127.0.0.1", listener.port, "bob", "secret", tls=context)
    assert b"".join(map(bytes, connection.fetch("f", 0, len(PHOTO)))) == PHOTO
    connection.close()


@pytest.mark.parametrize("context", [pinned_context(":".join(["00"] * 32)), client_context()])
def test_another_certificate_is_not_accepted(listener: DirectListener, context: object) -> None:
    """Nor is the token shown to who has it."""
    with pytest.raises(ConnectionLostError, match="certificate"):
        JsonFileConnection("127.0.0.1", listener.port, "bob", "secret", tls=context)  # type: ignore[arg-type]
    right = pinned_context(listener.fingerprint)
    JsonFileConnection("127.0.0.1", listener.port, "bob", "secret", tls=right).close()


def test_who_does_not_speak_tls_gets_nothing(listener: DirectListener) -> None:
    with pytest.raises(ConnectionLostError):
        JsonFileConnection("127.0.0.1", listener.port, "bob", "secret")


def test_a_stalled_handshake_ends_in_time(listener: DirectListener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "_PATIENCE", 0.1)
    with socket.create_connection(("127.0.0.1", listener.port), DEADLINE) as peer:
        peer.sendall(b"\x16\x03\x01")
        while peer.recv(100):  # an alert
            pass


def test_the_server_passes_the_fingerprint_on(tls_server: Server, connect: Callable[..., Json]) -> None:
    alice, bob = connect(in_tls(tls_server.address), "alice"), connect(tls_server.address, "bob")
    file = alice.request(Offer(name="a", size=3, user="bob")).file
    for wrong in ("ab", "AB" * 32, ":".join(["GG"] * 32), "x" * 10_000):
        refused = alice.request(Listen(file=file, port=7, sha256="0" * 64, fingerprint=wrong))
        assert isinstance(refused, Error)
        assert refused.code == "bad-frame"
    right = ":".join(["AB"] * 32)
    assert isinstance(alice.request(Listen(file=file, port=7, sha256="0" * 64, fingerprint=right)), Ok)
    way = bob.request(Reach(file=file))
    assert isinstance(way, Way)
    assert way.fingerprint == right
    alice.expect(Visitor)


@pytest.mark.parametrize("to_tls", [True, False], ids=["receiver in TLS", "receiver in plain"])
def test_clients_in_tls_send_directly(
    tls_server: Server, certificate: Certificate, running: Callable[..., Running], photo: Path, tmp_path: Path,
    to_tls: bool,
) -> None:  # fmt: skip
    url, ca = f"tls://{tls_server.address}", ("--ca", str(certificate.file))
    bob = running(*((url, *ca) if to_tls else (tls_server.address,)), "--name", "bob", "--listen",
                  "--downloads", str(tmp_path / "downloads"))  # fmt: skip
    bob.say("/join lab")
    bob.expect("You are in lab")
    alice = running(url, *ca, "--name", "alice", "--listen")
    alice.say(f"/send --direct bob {photo}")
    bob.expect("/get ")
    offer = bob.lines[-1]
    bob.say(f"/get {offer.split('/get ')[1].split()[0].rstrip('.')}")
    bob.expect("Received photo.jpg", stderr=True)
    assert "(directly)" in bob.lines[-1]
    assert (tmp_path / "downloads" / "photo.jpg").read_bytes() == PHOTO


def test_a_receiver_in_tls_fetches_nothing_in_plain(
    tls_server: Server, certificate: Certificate, running: Callable[..., Running], photo: Path, tmp_path: Path
) -> None:
    """The sender has chosen to send without TLS, to the server, too; the receiver's side stays encrypted."""
    bob = running(
        f"tls://{tls_server.address}", "--ca", str(certificate.file), "--name", "bob", "--listen",
        "--downloads", str(tmp_path / "downloads"),
    )  # fmt: skip
    bob.say("/join lab")
    bob.expect("You are in lab")
    alice = running(tls_server.address, "--name", "alice", "--listen")
    alice.say(f"/send --direct bob {photo}")
    bob.expect("/get ")
    bob.say(f"/get {bob.lines[-1].split('/get ')[1].split()[0].rstrip('.')}")
    bob.expect("Received photo.jpg", stderr=True)
    assert "(through the server)" in bob.lines[-1]
