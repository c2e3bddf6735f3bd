"""One connection of the mirror: refusals, presence from before, passwords, mistakes, a lost session."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from bridge.mirror import BrokerConfig, mirror
from bridge.mirror.users import MirrorUsers
from channels.directory import Directory
from channels.passwords import hash_process, hashing
from channels.user import User
from reporting import events
from server import Config, Server
from tests.support.brokers.scripted import ScriptedBroker, Visit, broker
from tests.support.clients import Json
from tests.support.fixtures import StartServer
from tests.support.mqtt import body
from tests.support.reported import Reported
from tests.support.stores import WatchedStore
from tests.support.waiting import eventually
from wire.frames import Msg, Register
from wire.mqtt import V5, V311, PubAck, PubComp, Publish, PubRec, PubRel, Reason, Unsubscribe

__all__ = ["broker"]


def error(server: Server) -> str:
    """Return why the mirror is not connected."""
    status = server.chat.mirror_status
    assert status is not None
    eventually(lambda: "Not connected yet" not in status().error, lambda: "it was not tried")
    return status().error


@pytest.mark.parametrize(
    ("user", "sentence"),
    [
        ("", "it requires a user name and a password, or does not allow this machine"),
        ("me:wrong@", "wrong user name or password, or this user may not connect"),
    ],
)
def test_not_authorized_may_mean_a_wrong_password(
    start_server: StartServer, broker: ScriptedBroker, user: str, sentence: str
) -> None:
    server = start_server(broker=BrokerConfig(url=broker.url.replace("mqtt://", f"mqtt://{user}")))
    broker.visit().refuse(Reason.NOT_AUTHORIZED)
    assert error(server) == f"{broker.address} refused the connection: {sentence}."


def test_a_user_who_comes_while_presence_is_corrected_ends_online(
    start_server: StartServer, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Directory.find
    come: list[Json] = []

    def find(directory: Directory, key: str) -> User | None:
        """Have her connect just after the mirror has looked for her."""
        found = real(directory, key)
        if threading.current_thread().name == "mirror" and key == "alice" and not come:
            come.append(Json(server.address, "alice"))
        return found

    monkeypatch.setattr(Directory, "find", find)  # before the start: the mirror keeps the method
    server = start_server(broker=BrokerConfig(url=broker.url))
    visit = broker.visit()
    visit.accept()
    visit.grant()
    topic = "chat/presence/alice"
    visit.send(Publish(topic, b'{"user": "alice", "online": true}', 0, retain=True))
    visit.pong()
    visit.bring("chat/from/oven/say/lab", "that was all")
    visit.message("chat/channels/lab")
    come[0].close()
    assert body(visit.messages(topic)[-1])["online"] is True


def test_slow_work_of_the_mirror_does_not_count_as_silence_of_the_broker(
    start_server: StartServer, broker: ScriptedBroker, stores: list[WatchedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk: many devices that register at once take a minute."""
    later = 0.0
    clock = time.monotonic

    def before(method: str) -> None:
        nonlocal later
        later += 100.0 if method == "save_client" else 0.0

    server = start_server(broker=BrokerConfig(url=broker.url))
    visit = broker.visit()
    visit.open()
    monkeypatch.setattr("bridge.mirror.session.time", SimpleNamespace(monotonic=lambda: clock() + later))
    stores[0].before = before
    visit.bring("chat/from/oven/register", b"")
    visit.message("chat/to/oven/register")
    stores[0].before = None
    visit.pong()  # the mirror has looked at the clock, and has sent PINGREQ
    visit.bring("chat/from/oven/say/lab", "and it goes on")
    assert body(visit.message("chat/channels/lab"))["text"] == "and it goes on"
    assert server.chat.mirror_status is not None
    assert server.chat.mirror_status().connected


def accepted(broker: ScriptedBroker, *, present: bool = False) -> Visit:
    """Accept the next connection."""
    visit = broker.visit()
    visit.accept(present=present)
    visit.grant()
    return visit


def test_a_password_that_was_right_is_not_hashed_again(
    start_server: StartServer, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage, the broker brings every `register` at once. A wrong password is still hashed."""
    server = start_server(broker=BrokerConfig(url=broker.url))
    with Json(server.address, "oven") as oven:
        oven.request(Register("warm bread"))
    visit = accepted(broker)
    checked: list[str] = []
    fits = hashing.fits

    def counted(given: str, kept: str) -> bool:
        checked.append(given)
        return fits(given, kept)

    monkeypatch.setattr(hash_process, "fits", counted)
    for password in ("warm bread", "warm bread", "cold bread", "warm bread"):
        visit.bring("chat/from/oven/register", f'{{"password": "{password}"}}'.encode())
        answer = visit.message("chat/to/oven/register" if password == "warm bread" else "chat/to/oven/error")
        assert json.loads(answer.payload).get("code") == (None if password == "warm bread" else "wrong-password")
    assert checked == ["cold bread"]


def test_an_internal_error_does_not_end_the_connection(
    start_server: StartServer, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    server = start_server(broker=BrokerConfig(url=broker.url))
    visit = accepted(broker)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(MirrorUsers, "_enter", broken)
        visit.send(Publish("chat/from/oven/say/lab", b"poison", 1, packet_id=1))
        visit.expect(PubAck, lambda packet: packet.packet_id == 1)
    visit.send(Publish("chat/from/oven/say/lab", b"bread", 1, packet_id=2))
    visit.expect(PubAck, lambda packet: packet.packet_id == 2)
    assert json.loads(visit.message("chat/to/oven/error").payload)["code"] == "internal"
    consequence = "A message to chat/from/oven/say/lab was refused."
    assert reported.of(events.InternalError) == [events.InternalError(part="mirror", consequence=consequence)]
    assert "ZeroDivisionError" in reported.text
    assert server.chat.channel("lab") is not None


def test_the_mirror_s_requests_have_low_packet_identifiers(
    start_server: StartServer, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ 3.10 counts on from that of a SUBSCRIBE: after 0xFFFF, the session crashed when the mirror came back."""
    monkeypatch.setattr(mirror, "_PAUSES", (0.01, 0.02))
    start_server(broker=BrokerConfig(url=broker.url))
    for _ in range(2):
        visit = broker.visit()
        visit.accept()
        subscribe = visit.grant()
        visit.pong()
        assert (subscribe.packet_id, visit.expect(Unsubscribe).packet_id) == (1, 2)
        visit.close()


def test_a_lost_session_is_logged(
    start_server: StartServer, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    monkeypatch.setattr(mirror, "_PAUSES", (0.01, 0.02))
    start_server(broker=BrokerConfig(url=broker.url))
    lost = events.MirrorSessionLost(broker.address)
    for present, count in ((False, 0), (True, 0), (False, 1)):
        accepted(broker, present=present).close()
        assert reported.events.count(lost) == count


@pytest.mark.usefixtures("quick")
def test_the_server_stops_while_a_broker_has_not_answered(broker: ScriptedBroker, tmp_path: Path) -> None:
    config = Config(port=0, mqtt_port=0, data=str(tmp_path / "data"), broker=BrokerConfig(url=broker.url))
    with closing(Server(config)):
        broker.visit()  # which has read CONNECT
    assert "mirror" not in {thread.name for thread in threading.enumerate()}


def test_another_broker_has_not_lost_the_session(broker: ScriptedBroker, tmp_path: Path, reported: Reported) -> None:
    """The session that the store knows of is that of another address."""
    with closing(ScriptedBroker()) as another:
        for each in (broker, another):
            config = Config(port=0, mqtt_port=0, data=str(tmp_path / "data"), broker=BrokerConfig(url=each.url))
            with closing(Server(config)):
                accepted(each).pong()
    assert len(reported.of(events.MirrorConnected)) == 2
    assert not reported.of(events.MirrorSessionLost)


@pytest.mark.usefixtures("quick")
def test_the_version_is_tried_anew_after_a_refusal(start_server: StartServer, broker: ScriptedBroker) -> None:
    """A broker that was replaced may speak the newer version; one that only closed a connection speaks the same."""
    start_server(broker=BrokerConfig(url=broker.url))
    versions: list[int] = []
    for reason in (Reason.UNSUPPORTED_PROTOCOL_VERSION, None, Reason.NOT_AUTHORIZED, None):
        visit = broker.visit()
        versions.append(visit.connect.version)
        if reason is not None:
            visit.refuse(reason)
        else:
            visit.open()
            visit.close()
    assert versions == [V5, V311, V311, V5]


@pytest.mark.usefixtures("quick")
def test_private_messages_that_came_during_an_outage_are_published_after_it(
    start_server: StartServer, broker: ScriptedBroker
) -> None:
    """The user need not say `register` again."""
    server = start_server(broker=BrokerConfig(url=broker.url))
    visit = broker.visit()
    visit.open()
    visit.bring("chat/from/bob/register", "")
    visit.message("chat/to/bob/register")
    visit.close()
    assert server.chat.mirror_status is not None
    bridge = server.chat.mirror_status
    eventually(lambda: not bridge().connected, lambda: "it is connected")
    with Json(server.address, "alice") as alice:
        alice.request(Msg("bob", "meanwhile"))
        again = broker.newest()
        again.open(present=True)
        assert body(again.message("chat/to/bob/msg/alice"))["text"] == "meanwhile"


def test_a_message_at_qos_2_is_completed(start_server: StartServer, broker: ScriptedBroker) -> None:
    start_server(broker=BrokerConfig(url=broker.url))
    visit = broker.visit()
    visit.open()
    visit.send(Publish("chat/from/oven/say/lab", b"bread", 2, packet_id=7))
    visit.expect(PubRec, lambda packet: packet.packet_id == 7)
    visit.send(PubRel(7))
    visit.expect(PubComp, lambda packet: packet.packet_id == 7)
    assert body(visit.message("chat/channels/lab"))["text"] == "bread"


def test_presence_is_read_only_until_the_retained_messages_have_come(
    start_server: StartServer, broker: ScriptedBroker
) -> None:
    start_server(broker=BrokerConfig(url=broker.url))
    visit = accepted(broker)
    visit.pong()
    assert visit.expect(Unsubscribe).filters == ("chat/presence/+",)
