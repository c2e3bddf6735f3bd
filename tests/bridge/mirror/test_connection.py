"""Why a broker did not let the mirror in: what the operator reads; and that no old presence outlives its correction."""

from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace

import pytest

from bridge.mirror import BrokerConfig, mirror
from bridge.mirror.users import MirrorUsers
from channels import accounts
from channels.directory import Directory, User
from server import Server
from tests.support.brokers.scripted import ScriptedBroker, Visit, broker
from tests.support.clients import Json
from tests.support.fixtures import StartServer
from tests.support.mqtt import body
from tests.support.waiting import eventually
from wire.frames import Register
from wire.mqtt import PubAck, Publish, Reason

__all__ = ["broker"]


def error(server: Server) -> str:
    """Why the mirror is not connected."""
    status = server.chat.bridge
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
def test_not_authorized_may_be_the_password(
    start_server: StartServer, broker: ScriptedBroker, user: str, sentence: str
) -> None:
    server = start_server(broker=BrokerConfig(url=broker.url.replace("mqtt://", f"mqtt://{user}")))
    broker.visit().refuse(Reason.NOT_AUTHORIZED)
    assert error(server) == f"{broker.address} refused the connection: {sentence}."


def test_who_comes_while_an_old_presence_is_corrected_is_online_in_the_end(
    start_server: StartServer, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(broker=BrokerConfig(url=broker.url))
    visit = broker.visit()
    visit.accept()
    visit.grant()
    real = Directory.find
    come: list[Json] = []

    def find(directory: Directory, key: str) -> User | None:
        """Just after the mirror has looked, she comes."""
        found = real(directory, key)
        if threading.current_thread().name == "mirror" and not come:
            come.append(Json(server.address, "alice"))
        return found

    monkeypatch.setattr(Directory, "find", find)
    topic = "chat/presence/alice"
    visit.send(Publish(topic, b'{"user": "alice", "online": true}', 0, retain=True))
    visit.pong()
    visit.bring("chat/from/oven/say/lab", "that was all")
    visit.message("chat/channels/lab")
    come[0].close()
    assert body(visit.messages(topic)[-1])["online"] is True


def test_what_takes_us_long_is_not_the_brokers_silence(
    start_server: StartServer, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passwords, for one: many devices that register at once take a minute."""
    later = 0.0
    clock = time.monotonic

    def fits(_password: str, _kept: str) -> bool:
        nonlocal later
        later += 100.0
        return True

    monkeypatch.setattr(accounts, "fits", fits)
    server = start_server(broker=BrokerConfig(url=broker.url))
    with Json(server.address, "oven") as oven:
        oven.request(Register("a password"))
    visit = broker.visit()
    visit.open()
    monkeypatch.setattr("bridge.mirror.session.time", SimpleNamespace(monotonic=lambda: clock() + later))
    visit.bring("chat/from/oven/register", b'{"password": "a password"}')
    visit.message("chat/to/oven/register")
    visit.pong()  # it has looked at the clock, and asks whether we are there
    visit.bring("chat/from/oven/say/lab", "and it goes on")
    assert body(visit.message("chat/channels/lab"))["text"] == "and it goes on"
    assert server.chat.bridge is not None
    assert server.chat.bridge().connected


def welcome(broker: ScriptedBroker, *, present: bool = False) -> Visit:
    """A connection that has been let in."""
    visit = broker.visit()
    visit.accept(present=present)
    visit.grant()
    return visit


def test_a_password_that_fitted_is_not_checked_for_a_quarter_of_a_second_again(
    start_server: StartServer, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is back brings everyone's `register` at once; a wrong one is still checked, and so is a new one."""
    server = start_server(broker=BrokerConfig(url=broker.url))
    with Json(server.address, "oven") as oven:
        oven.request(Register("warm bread"))
    visit = welcome(broker)
    checked: list[str] = []
    fits = accounts.fits

    def counted(given: str, kept: str) -> bool:
        checked.append(given)
        return fits(given, kept)

    monkeypatch.setattr(accounts, "fits", counted)
    for at, password in enumerate(("warm bread", "warm bread", "cold bread", "warm bread"), 1):
        payload = f'{{"password": "{password}"}}'.encode()
        visit.send(Publish("chat/from/oven/register", payload, 1, packet_id=at))
        visit.expect(PubAck, lambda packet, at=at: packet.packet_id == at)  # type: ignore[misc]
    assert checked == ["warm bread", "cold bread"]
    assert json.loads(visit.message("chat/to/oven/error").payload)["code"] == "wrong-password"


def test_a_mistake_of_ours_does_not_end_the_connection_of_all(
    start_server: StartServer, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(broker=BrokerConfig(url=broker.url))
    visit = welcome(broker)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(MirrorUsers, "_enter", broken)
        visit.send(Publish("chat/from/oven/say/lab", b"poison", 1, packet_id=1))
        visit.expect(PubAck, lambda packet: packet.packet_id == 1)
    visit.send(Publish("chat/from/oven/say/lab", b"bread", 1, packet_id=2))
    visit.expect(PubAck, lambda packet: packet.packet_id == 2)
    assert json.loads(visit.message("chat/to/oven/error").payload)["code"] == "internal"
    assert [record.message for record in caplog.records if record.exc_info] == [
        "could not handle a message to chat/from/oven/say/lab"
    ]
    assert server.chat.channel("lab") is not None


def test_a_broker_that_forgot_us_is_told_of(
    start_server: StartServer, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mirror, "_PAUSES", (0.01, 0.02))
    start_server(broker=BrokerConfig(url=broker.url))
    forgotten = (
        f"{broker.address} did not keep our session: messages published there while we were disconnected are lost"
    )
    for present, count in ((False, 0), (True, 0), (False, 1)):
        welcome(broker, present=present).close()
        assert caplog.text.count(forgotten) == count
