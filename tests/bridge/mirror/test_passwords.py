"""Passwords of users on another broker: nobody waits while one is hashed, and wrong ones bring delays."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from bridge.mirror import BrokerConfig
from channels.passwords import hash_process
from server import Server
from tests.support.brokers.scripted import ScriptedBroker, Visit, broker, server
from tests.support.clients import Json
from tests.support.fixtures import StartServer
from tests.support.mqtt import body
from tests.support.waiting import DEADLINE
from wire.frames import Entry, Hello, Join, Register, Registered
from wire.limits import Limits
from wire.mqtt import PubAck, Publish

__all__ = ["broker", "server"]  # fixtures

Connecting = Callable[..., Json]
_PASSWORD = b'{"password": "warm bread"}'


class Held:
    """Hashing waits until `go` is set; `begun` is set when the first hash begins."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.count = 0
        for name in ("make_hash", "fits"):
            monkeypatch.setattr(hash_process, name, self._held(getattr(hash_process, name)))

    def _held(self, work: Callable[..., object]) -> Callable[..., object]:
        def held(*arguments: str) -> object:
            self.count += 1
            self.begun.set()
            assert self.go.wait(DEADLINE)
            return work(*arguments)

        return held


def opened(broker: ScriptedBroker) -> Visit:
    visit = broker.visit()
    visit.open()
    return visit


def acknowledged(visit: Visit, packet_id: int) -> None:
    visit.expect(PubAck, lambda packet: packet.packet_id == packet_id)


def registered(server: Server, name: str) -> None:
    """Bind a name to the password, elsewhere."""
    with Json(server.address, name) as client:
        assert isinstance(client.request(Register("warm bread")), Registered)
    server.chat.passwords._known.clear()


def test_registrations_hold_up_nobody(server: Server, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty devices set a password; a bystander's message is stored and acknowledged before the first hash is made."""
    visit = opened(broker)
    held = Held(monkeypatch)
    for n in range(40):
        acknowledged(visit, visit.bring(f"chat/from/oven{n}/register", _PASSWORD))
    assert held.begun.wait(DEADLINE)
    acknowledged(visit, visit.bring("chat/from/bystander/say/lab", "bread?"))
    assert body(visit.message("chat/channels/lab"))["text"] == "bread?"
    assert held.count <= 2, "few at a time"
    held.go.set()
    for n in range(40):
        assert body(visit.message(f"chat/to/oven{n}/register")) == {"name": f"oven{n}"}
    for n in range(40):
        account = server.chat.store.account(f"oven{n}")
        assert account is not None
        assert account.password is not None


def test_logins_hold_up_nobody(server: Server, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(5):
        registered(server, f"oven{n}")
    visit = opened(broker)
    held = Held(monkeypatch)
    for n in range(5):
        acknowledged(visit, visit.bring(f"chat/from/oven{n}/register", _PASSWORD))
    assert held.begun.wait(DEADLINE)
    acknowledged(visit, visit.bring("chat/from/bystander/say/lab", "bread?"))
    held.go.set()
    for n in range(5):
        assert body(visit.message(f"chat/to/oven{n}/register"))["registered"] is True
    acknowledged(visit, visit.bring("chat/from/oven4/say/lab", "warm"))


def test_what_a_user_says_meanwhile_comes_after_the_login(
    server: Server, broker: ScriptedBroker, connect: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(server, "oven")
    bob = connect(server.address, "bob")
    bob.request(Join("lab"))
    visit = opened(broker)
    held = Held(monkeypatch)
    acknowledged(visit, visit.bring("chat/from/oven/register", _PASSWORD))
    posts = [visit.bring("chat/from/oven/say/lab", f"{n}") for n in range(5)]
    acknowledged(visit, visit.bring("chat/from/other/say/lab", "not held"))
    held.go.set()
    for packet_id in posts:
        acknowledged(visit, packet_id)
    bob.expect(Entry, lambda entry: entry.text == "4")
    assert [entry.text for entry in bob.of(Entry)] == ["not held", "0", "1", "2", "3", "4"]


def test_after_a_wrong_password_what_was_held_is_refused(
    server: Server, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(server, "oven")
    visit = opened(broker)
    held = Held(monkeypatch)
    visit.bring("chat/from/oven/register", b'{"password": "cold bread"}')
    post = visit.bring("chat/from/oven/say/lab", "let me in")
    held.go.set()
    assert body(visit.message("chat/to/oven/error"))["code"] == "wrong-password"
    assert body(visit.message("chat/to/oven/error"))["code"] == "need-password"
    acknowledged(visit, post)
    assert server.chat.channel("lab") is None


def test_few_messages_are_held(server: Server, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker lets few be unacknowledged, and others need some of those. So further ones are refused at once."""
    for name in ("oven", "kiln"):
        registered(server, name)
    visit = opened(broker)
    held = Held(monkeypatch)
    for name in ("oven", "kiln"):
        visit.bring(f"chat/from/{name}/register", _PASSWORD)
    posts = [visit.bring(f"chat/from/{('oven', 'kiln')[n % 2]}/say/lab", f"{n}") for n in range(14)]
    for packet_id in posts[10:]:
        acknowledged(visit, packet_id)
    assert body(visit.message("chat/to/oven/error"))["code"] == "busy"
    held.go.set()
    for packet_id in posts[:10]:
        acknowledged(visit, packet_id)


def test_what_was_held_comes_again_with_the_next_connection(
    server: Server, broker: ScriptedBroker, connect: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.mirror.mirror._PAUSES", (0.01, 0.02))
    registered(server, "oven")
    bob = connect(server.address, "bob")
    bob.request(Join("lab"))
    visit = opened(broker)
    held = Held(monkeypatch)
    acknowledged(visit, visit.bring("chat/from/oven/register", _PASSWORD))
    packet_id = visit.bring("chat/from/oven/say/lab", "once")
    acknowledged(visit, visit.bring("chat/from/other/say/lab", "the mirror has read both"))
    visit.close()
    again = broker.newest()
    again.open(present=True)
    held.go.set()
    again.message("chat/to/oven/register")
    again.send(Publish("chat/from/oven/say/lab", b"once", 1, dup=True, packet_id=packet_id))
    acknowledged(again, packet_id)
    bob.expect(Entry, lambda entry: entry.text == "once")
    assert server.chat.known_channel("lab").tail == 2


def test_a_second_password_meanwhile_is_refused(
    server: Server, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    visit = opened(broker)
    held = Held(monkeypatch)
    visit.bring("chat/from/oven/register", _PASSWORD)
    visit.bring("chat/from/oven/register", b'{"password": "cold bread"}')
    assert body(visit.message("chat/to/oven/error"))["code"] == "busy"
    held.go.set()
    assert body(visit.message("chat/to/oven/register")) == {"name": "oven"}


@pytest.mark.parametrize("password", ["short", "/command-like"])
def test_a_password_that_breaks_the_rules_is_refused_at_once(
    server: Server, broker: ScriptedBroker, password: str
) -> None:
    visit = opened(broker)
    acknowledged(visit, visit.bring("chat/from/oven/register", f'{{"password": "{password}"}}'))
    assert body(visit.message("chat/to/oven/error"))["code"] == "bad-password"
    assert server.chat.store.account("oven").password is None  # type: ignore[union-attr]


def test_wrong_passwords_delay_the_name(
    start_server: StartServer, broker: ScriptedBroker, connect: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the bridge and on the doors alike; there is one clock for all of them, and it stands still."""
    monkeypatch.setattr("channels.passwords.delays.time.monotonic", lambda: 1_000.0)
    server = start_server(broker=BrokerConfig(url=broker.url), limits=Limits(password_delay=59))
    with Json(server.address, "oven") as oven:
        oven.request(Register("warm bread"))
    visit = opened(broker)
    for n in range(3):
        visit.bring("chat/from/oven/register", f'{{"password": "guess {n}"}}')
        assert body(visit.message("chat/to/oven/error"))["code"] == "wrong-password"
    count = Held(monkeypatch)
    for password in ("another guess", "warm bread"):
        visit.bring("chat/from/oven/register", f'{{"password": "{password}"}}')
        error = body(visit.message("chat/to/oven/error"))
        assert error["code"] == "password-delayed"
        assert error["error"] == "Too many passwords for oven were wrong. Try again in 1 second."
    assert count.count == 0
    count.go.set()
    answer = connect(server.address).request(Hello(name="oven", password="warm bread"))
    assert answer.name == "oven", "it has registered from this address"
