"""Why a broker did not let the mirror in: what the operator reads; and that no old presence outlives its correction."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace

import pytest

from bridge.broker import BrokerConfig
from channels import accounts
from channels.directory import Directory, User
from server import Server
from tests.bulk import eventually
from tests.conftest import StartServer
from tests.helpers import Json
from tests.helpers_mqtt import body
from tests.scripted_broker import ScriptedBroker
from wire.frames import Register
from wire.mqtt_codes import Reason
from wire.mqtt_packets import Publish


@pytest.fixture
def broker() -> Iterator[ScriptedBroker]:
    """A broker that answers nobody by itself."""
    with closing(ScriptedBroker()) as made:
        yield made


def error(server: Server) -> str:
    """Why the mirror is not connected."""
    status = server.chat.bridge
    assert status is not None
    eventually(lambda: "tried yet" not in status().error, lambda: "it was not tried")
    return status().error


@pytest.mark.parametrize(
    ("user", "sentence"),
    [
        ("", "it wants a user name and a password, or lets nobody in from here"),
        ("me:wrong@", "our user name or our password is wrong, or has no right to connect"),
    ],
)
def test_not_authorized_may_be_the_password(
    start_server: StartServer, broker: ScriptedBroker, user: str, sentence: str
) -> None:
    server = start_server(broker=BrokerConfig(url=broker.url.replace("mqtt://", f"mqtt://{user}")))
    broker.visit().refuse(Reason.NOT_AUTHORIZED)
    assert error(server) == f"{broker.address} refuses us: {sentence}."


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
    monkeypatch.setattr("bridge.mirror.time", SimpleNamespace(monotonic=lambda: clock() + later))
    visit.bring("chat/from/oven/register", b'{"password": "a password"}')
    visit.message("chat/to/oven/register")
    visit.pong()  # it has looked at the clock, and asks whether we are there
    visit.bring("chat/from/oven/say/lab", "and it goes on")
    assert body(visit.message("chat/channels/lab"))["text"] == "and it goes on"
    assert server.chat.bridge is not None
    assert server.chat.bridge().connected
