"""The sessions of users on the broker: when they begin and end, and what a change of user leaves behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from bridge.mirror import BrokerConfig
from bridge.mirror.status import MirrorStatus
from reporting import events
from server import Config, Server
from tests.support.brokers.scripted import ScriptedBroker, Visit, broker, server, status, wait
from tests.support.brokers.site import quick
from tests.support.clients import Json
from tests.support.mqtt import body
from tests.support.reported import Reported
from tests.support.stores.watched import WatchedStore
from tests.support.waiting import DEADLINE, eventually
from wire.frames import Join, Msg, Register
from wire.mqtt import PubAck, Publish, encode

__all__ = ["broker", "quick", "server"]
Connected = Callable[..., Json]
pytestmark = pytest.mark.usefixtures("quick")


def settled(visit: Visit) -> None:
    """Return when the mirror's thread has handled everything that was brought before."""
    visit.bring("chat/from/dora/status", "")
    visit.message("chat/to/dora/status")


def online(server: Server) -> set[str]:
    """Return the names of all users who are online."""
    return {user.name for user in server.chat.directory.users()}


def test_the_first_message_brings_what_was_kept(server: Server, broker: ScriptedBroker, connect: Connected) -> None:
    """A user is present from the first message; the kept messages come then, as after `register`."""
    connect(server.address, "alice").request(Msg("oven", "kept"))
    visit = broker.visit()
    visit.open()
    visit.bring("chat/from/oven/say/lab", "bread")
    assert body(visit.message("chat/to/oven/msg/alice"))["text"] == "kept"


def test_only_silent_users_who_never_announced_themselves_are_swept(
    server: Server, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mirror sweeps with each PINGREQ, which it sends after half of the keep-alive of 30 s."""
    clock, silence, pings = time.monotonic, [0.0], [0.0]
    monkeypatch.setattr("bridge.mirror.users.time", SimpleNamespace(monotonic=lambda: clock() + silence[0]))
    monkeypatch.setattr("bridge.mirror.session.time", SimpleNamespace(monotonic=lambda: clock() + pings[0]))

    def swept() -> set[str]:
        pings[0] += 16.0
        settled(visit)
        settled(visit)  # the sweep comes after what was brought before it
        return online(server)

    visit = broker.visit()
    visit.open()
    for name in ("silent", "active"):
        visit.bring(f"chat/from/{name}/say/lab", "hello")
    visit.bring("chat/from/announced/register", "")
    settled(visit)
    silence[0] = 500.0
    visit.bring("chat/from/active/say/lab", "still here")
    assert swept() == {"silent", "active", "announced", "dora"}
    silence[0] = 601.0
    assert swept() == {"active", "announced", "dora"}


def test_a_post_is_stored_before_another_spelling_takes_the_session(
    server: Server, broker: ScriptedBroker, connect: Connected
) -> None:
    """Both packets come at once, so the post is gathered when the second one ends the session."""
    with Json(server.address, "carol") as carol:
        carol.request(Join("lab"))
        carol.request(Register("open-sesame"))
    visit = broker.visit()
    visit.open()
    password = b'{"password": "open-sesame"}'
    visit.bring("chat/from/carol/register", password)
    visit.message("chat/to/carol/register")
    visit.bring("chat/from/carol/say/lab", "first")
    visit.message("chat/channels/lab")
    packets = [
        Publish("chat/from/carol/say/lab", b"second", 1, packet_id=101),
        Publish("chat/from/CAROL/register", password, 1, packet_id=102),
    ]
    visit.send_bytes(b"".join([encode(packet, visit.version) for packet in packets]))
    for packet in packets:
        visit.expect(PubAck, lambda answer, packet=packet: answer.packet_id == packet.packet_id)  # type: ignore[misc]
    assert body(visit.message("chat/channels/lab"))["text"] == "second"
    visit.message("chat/to/CAROL/register")
    visit.bring("chat/from/CAROL/gone", "")
    visit.message("chat/presence/carol", lambda packet: not body(packet)["online"])
    settled(visit)
    assert online(server) == {"dora"}


def test_a_user_who_has_left_is_not_restored(broker: ScriptedBroker, tmp_path: Path) -> None:
    config = Config(port=0, mqtt_port=0, data=str(tmp_path / "data"), broker=BrokerConfig(url=broker.url))
    with closing(Server(config)) as server:
        visit = broker.visit()
        visit.open()
        for name in ("oven", "lamp"):
            visit.bring(f"chat/from/{name}/register", "")
            visit.message(f"chat/to/{name}/register")
        visit.bring("chat/from/oven/gone", "")
        settled(visit)
        assert online(server) == {"lamp", "dora"}
    with closing(Server(config)) as server:
        assert online(server) == {"lamp"}


def test_a_user_whose_name_was_taken_meanwhile_is_dropped(
    broker: ScriptedBroker, tmp_path: Path, reported: Reported
) -> None:
    """A server without a mirror runs in between, and somebody registers the name there."""
    config = Config(port=0, mqtt_port=0, data=str(tmp_path / "data"), broker=BrokerConfig(url=broker.url))
    with closing(Server(config)):
        visit = broker.visit()
        visit.open()
        visit.bring("chat/from/oven/register", "")
        visit.message("chat/to/oven/register")
    with closing(Server(Config(port=0, mqtt_port=0, data=config.data))) as server, Json(server.address, "oven") as oven:
        oven.request(Register("open-sesame"))
    for count in (1, 1):  # the second time, the store knows nothing of it
        with closing(Server(config)) as server:
            assert online(server) == set()
        assert [event.user for event in reported.of(events.MirrorUserDropped)] == ["oven"] * count


def test_requests_are_settled_before_the_next_connection(
    server: Server, broker: ScriptedBroker, connect: Connected, stores: list[WatchedStore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Their answers would otherwise go to a connection on which the packet identifiers stand for other messages."""
    committing, released = threading.Event(), threading.Event()
    tails: list[int] = []  # of the lab, when the mirror knows that it is disconnected
    real = MirrorStatus.disconnected

    def disconnected(status: MirrorStatus, error: str, *, quiet: bool) -> bool:
        tails.append(log.tail)
        return real(status, error, quiet=quiet)

    def before(method: str) -> None:
        if method == "append" and not released.is_set():
            committing.set()
            assert released.wait(DEADLINE)

    visit = broker.visit()
    visit.open()
    visit.bring("chat/from/oven/say/lab", "first")
    visit.message("chat/channels/lab")
    log = server.chat.known_channel("lab")
    monkeypatch.setattr(MirrorStatus, "disconnected", disconnected)
    stores[0].before = before
    connect(server.address, "alice").send(Msg("carol", "a commit that takes long"))
    assert committing.wait(DEADLINE)
    received = status(server).received
    packet_id = visit.bring("chat/from/oven/say/lab", "second")
    wait(server, lambda status: status.received > received)
    visit.close()
    mirror = server._mirror
    assert mirror is not None
    eventually(lambda: mirror._sender.reader is None, lambda: "the mirror has not noticed that it is disconnected")
    released.set()
    again = broker.newest()
    again.open(present=True)
    settled(again)
    assert tails[0] == 2
    assert PubAck(packet_id) not in again.received
