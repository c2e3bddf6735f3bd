"""Passwords under attack, on every door: delays, few hashes at a time, and nobody locked out from a proven address."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from channels.passwords import hash_process, hashing
from server import Server
from tests.support.clients import Json, Text
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine
from tests.support.waiting import DEADLINE, ended, eventually
from wire.frames import Error, Hello, Join, Msg, Register, Registered, Say, Stored, Welcome
from wire.limits import Limits
from wire.mqtt import V5, V311, ConnAck, Connect, Reason

Connecting = Callable[..., Json]
Mqtt = Callable[..., MqttLine]
_DELAYS = Limits(password_delay=61, password_tries=3)
_PASSWORD = "correct-horse"
_ELSEWHERE = "127.0.0.2"


class Hashes:
    """Counts the hashes that are verified. With `hold`, each waits until `go` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.now = self.most = 0
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()
        self._lock = threading.Lock()
        self._fits = hashing.fits
        monkeypatch.setattr(hash_process, "fits", self._counted)

    def _counted(self, password: str, kept: str) -> bool:
        with self._lock:
            self.count += 1
            self.now += 1
            self.most = max(self.most, self.now)
        self.begun.set()
        assert self.go.wait(DEADLINE)
        try:
            return self._fits(password, kept)
        finally:
            with self._lock:
                self.now -= 1


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> Hashes:
    return Hashes(monkeypatch)


class Clock:
    """The clock of the delays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr("channels.passwords.delays.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """A server on which alice has registered, from an address from which nobody else comes."""
    server = start_server(limits=_DELAYS)
    line = MqttLine(server.address, "alice", source="127.0.0.9")
    line.do("register", f'{{"password": "{_PASSWORD}"}}')
    line.close()
    return server


def _try_json(server: Server, password: str) -> str:
    with Json(server.address) as client:
        answer = client.request(Hello(name="alice", password=password))
        return answer.code if isinstance(answer, Error) else "welcome"


def _try_text(server: Server, password: str) -> str:
    person = Text(server.address)
    person.send("alice", password)
    person.expect("What is the password?")
    line = person.expect("!") if password != _PASSWORD else person.expect("alice")
    person.close()
    if "password is wrong" in line:
        return "wrong-password"
    return "password-delayed" if "Try again in" in line else "welcome"


def _try_mqtt(server: Server, password: str, version: int) -> str:
    line = MqttLine(server.address, connect=False, version=version)
    line.send(Connect(version=version, client_id="x", username="alice", password=password.encode()))
    reason = line.expect(ConnAck).reason
    line.close()
    return {
        Reason.SUCCESS: "welcome", Reason.BAD_USER_NAME_OR_PASSWORD: "wrong-password",
        Reason.CONNECTION_RATE_EXCEEDED: "password-delayed", Reason.SERVER_UNAVAILABLE: "password-delayed",
    }[Reason(reason)]  # fmt: skip


_DOORS: dict[str, Callable[[Server, str], str]] = {
    "json": _try_json,
    "text": _try_text,
    "mqtt 3.1.1": lambda server, password: _try_mqtt(server, password, V311),
    "mqtt 5": lambda server, password: _try_mqtt(server, password, V5),
}


@pytest.mark.parametrize("door", _DOORS)
def test_wrong_passwords_delay_the_name_on_every_door(server: Server, clock: Clock, hashes: Hashes, door: str) -> None:
    """An attempt that has to wait is not hashed, and even the right password has to wait, at a new address."""
    attempt = _DOORS[door]
    assert [attempt(server, f"guess {n}") for n in range(3)] == ["wrong-password"] * 3
    assert hashes.count == 3
    for other in _DOORS.values():
        assert other(server, "another guess") == "password-delayed"
    assert attempt(server, _PASSWORD) == "password-delayed"
    assert hashes.count == 3
    clock.now += 1.01
    assert attempt(server, "guess 3") == "wrong-password"
    clock.now += 1.01
    assert attempt(server, _PASSWORD) == "password-delayed", "it grows"
    clock.now += 1.01
    assert attempt(server, _PASSWORD) == "welcome"


@pytest.mark.usefixtures("clock")
def test_strangers_do_not_lock_out_who_comes_from_a_proven_address(server: Server, mqtt: Mqtt) -> None:
    for n in range(10):
        _try_json(server, f"guess {n}")
    assert _try_json(server, _PASSWORD) == "password-delayed"
    mine = mqtt(server.address, "alice", password=_PASSWORD.encode(), source="127.0.0.9")
    assert mine.connack.reason == Reason.SUCCESS


@pytest.mark.usefixtures("clock")
def test_an_address_that_guesses_has_to_wait_for_every_name(
    server: Server, connect: Connecting, mqtt: Mqtt, hashes: Hashes
) -> None:
    for n in range(20):
        line = MqttLine(server.address, f"user{n}", source="127.0.0.9")
        line.do("register", f'{{"password": "{_PASSWORD}"}}')
        line.close()
    for n in range(15):
        answer = connect(server.address).request(Hello(name=f"user{n}", password="a guess"))
        assert answer.code == "wrong-password"
    count = hashes.count
    answer = connect(server.address).request(Hello(name="user19", password=_PASSWORD))
    assert answer.error == "Too many passwords from your address were wrong. Try again in 1 second."
    assert hashes.count == count
    there = mqtt(server.address, "user19", password=_PASSWORD.encode(), source=_ELSEWHERE)
    assert there.connack.reason == Reason.SUCCESS
    assert isinstance(connect(server.address).request(Hello(name="guest")), Welcome), "a name without a password"


@pytest.mark.usefixtures("clock")
def test_many_guesses_at_once_are_not_more_guesses(server: Server, hashes: Hashes) -> None:
    """All of them came before the first was wrong."""
    hashes.go.clear()
    codes: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: codes.append(_try_json(server, f"guess {n}")), name=f"guess-{n}")
        for n in range(30)
    ]
    for thread in threads:
        thread.start()
    assert hashes.begun.wait(DEADLINE)
    hashes.go.set()
    ended(threads, lambda: len(codes))
    workers = len([each for each in threading.enumerate() if each.name.startswith("password-")])
    assert codes.count("wrong-password") <= 3 + workers
    assert hashes.count <= 3 + workers
    assert set(codes) == {"wrong-password", "password-delayed"}


# Hashing is in nobody's way


def test_passwords_are_hashed_by_few_threads_and_nobody_else_waits(
    start_server: StartServer, connect: Connecting, hashes: Hashes
) -> None:
    """A storm of logins; meanwhile others talk, log in without a password, and are answered."""
    server = start_server()
    names = [f"user{n}" for n in range(60)]
    for name in names:
        with Json(server.address, name) as client:
            assert isinstance(client.request(Register(_PASSWORD)), Registered)
    server.chat.passwords._known.clear()
    bob, carol = connect(server.address, "bob"), connect(server.address, "carol")
    for client in (bob, carol):
        client.request(Join("lab"))
    hashes.go.clear()
    clients = [connect(server.address) for _ in names]
    for client, name in zip(clients, names, strict=True):
        client.send(Hello(name=name, password=_PASSWORD))
    assert hashes.begun.wait(DEADLINE)
    assert isinstance(bob.request(Say("they hash, we talk", "lab")), Stored)
    assert isinstance(bob.request(Msg("carol", "psst")), Stored)
    assert isinstance(connect(server.address).request(Hello(name="guest")), Welcome)
    hashes.go.set()
    for client in clients:
        client.expect(Welcome)
    workers = len([each for each in threading.enumerate() if each.name.startswith("password-")])
    assert hashes.most <= workers
    assert hashes.count == len(names)


def test_when_too_many_wait_one_is_refused_with_a_sentence(
    start_server: StartServer, connect: Connecting, mqtt: Mqtt, hashes: Hashes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(limits=Limits(passwords_waiting=1, logins_per_minute=10_000))
    connect(server.address, "alice").request(Register(_PASSWORD))
    server.chat.passwords._known.clear()
    workers = server.chat.passwords._workers
    monkeypatch.setattr(workers, "_count", 1)
    hashes.go.clear()
    clients = [connect(server.address) for _ in range(12)]
    login = Hello(name="alice", password=_PASSWORD)
    clients[0].send(login)
    assert hashes.begun.wait(DEADLINE), "the worker has taken the first one, so that the second one waits"
    clients[1].send(login)
    eventually(lambda: workers._size == 1, lambda: f"{workers._size} wait")
    for client in clients[2:]:
        client.send(login)
        assert client.expect(Error).code == "busy"
    refused = []
    for version, reason in ((V5, Reason.SERVER_BUSY), (V311, Reason.SERVER_UNAVAILABLE)):
        line = mqtt(
            server.address, "alice", password=_PASSWORD.encode(), version=version, refused=True, client_id="late"
        )
        refused.append(line.connack.reason == reason)
    assert refused == [True, True]
    hashes.go.set()
    for client in clients[:2]:
        client.expect(Welcome)
    assert isinstance(connect(server.address).request(login), Welcome)


# The length


@pytest.mark.parametrize(("password", "fits"), [("1234567", False), ("12345678", True), ("ünïcödé8", True)])
def test_a_new_password_has_at_least_8_characters(
    server: Server, connect: Connecting, password: str, fits: bool
) -> None:
    answer = connect(server.address, "bob").request(Register(password))
    if fits:
        assert isinstance(answer, Registered)
    else:
        assert (answer.code, answer.error) == ("bad-password", "A password has 8 to 128 characters.")


def test_an_old_password_that_is_shorter_still_works_and_a_change_is_a_new_one(
    server: Server, connect: Connecting, mqtt: Mqtt
) -> None:
    server.chat.store.open_account("old")
    server.chat.store.set_password("old", hashing.make_hash("1234"))
    old = connect(server.address, "old", password="1234")
    assert mqtt(server.address, "old", password=b"1234").connack.reason == Reason.SUCCESS
    assert old.request(Register("12345")).code == "bad-password"
    assert isinstance(old.request(Register("12345678")), Registered)
    assert connect(server.address).request(Hello(name="old", password="1234")).code == "wrong-password"
