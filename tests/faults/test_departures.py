"""A name whose holder's connection has ended: the next connection gets it, however long the departure takes.

Nobody waits for a holder who is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from channels.directory import Directory
from channels.user import User
from server import Server
from tests.support.clients import Json, Text
from tests.support.fixtures import StartServer
from tests.support.mqtt import MqttLine
from tests.support.waiting import DEADLINE, ended
from wire.frames import Error, Hello, Join, Register, Registered, Say, Stored, Welcome
from wire.limits import Limits
from wire.mqtt import V5, V311, ConnAck, Connect, Disconnect, Reason

Connecting = Callable[..., Json]
Mqtt = Callable[..., MqttLine]
_FOR_EVER = Limits(login_seconds=86_400)  # whoever waits for a name, waits longer than any test


class Departures:
    """Holds up the departures of a server's users: each has ended its connection, and still has its name.

    `leaving` is set when the first of them has come to that point, `waited` when a login waits for one. `go` lets them
    end.
    """

    def __init__(self, directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
        self.leaving = threading.Event()
        self.waited = threading.Event()
        self.go = threading.Event()
        release, wait = directory.release, directory.wait_until_free

        def held(user: User, session: Any) -> bool:
            self.leaving.set()
            assert self.go.wait(DEADLINE)
            return release(user, session)

        def noted(key: str, seconds: float) -> bool:
            if directory.find(key) is not None:
                self.waited.set()
            return wait(key, seconds)

        monkeypatch.setattr(directory, "release", held)
        monkeypatch.setattr(directory, "wait_until_free", noted)

    def let_go(self) -> None:
        """Let the departures end as soon as a login waits for one."""
        assert self.waited.wait(DEADLINE), "no login waits for the name"
        self.go.set()


@pytest.fixture
def server(start_server: StartServer) -> Server:
    return start_server(limits=_FOR_EVER)


@pytest.fixture
def departures(server: Server, monkeypatch: pytest.MonkeyPatch) -> Departures:
    return Departures(server.chat.directory, monkeypatch)


def _json(address: str) -> None:
    with Json(address) as client:
        assert isinstance(client.request(Hello(name="oven")), Welcome)


def _text(address: str) -> None:
    text = Text(address)
    text.send("oven")
    text.expect("Welcome, oven")
    text.close()


def _mqtt(address: str, version: int = V5) -> None:
    line = MqttLine(address, connect=False, version=version)
    line.send(Connect(version=version, username="oven", client_id="another"))
    assert line.expect(ConnAck).reason == Reason.SUCCESS
    line.close()


def _mqtt_311(address: str) -> None:
    _mqtt(address, V311)


def _guest(address: str) -> None:
    """A client without a user name, whose client id is the name."""
    line = MqttLine(address, connect=False)
    line.send(Connect(version=V5, client_id="oven"))
    connack = line.expect(ConnAck)
    assert ("name", "oven") in connack.properties.user_property
    line.close()


_DOORS: dict[str, Callable[[str], None]] = {
    "json": _json, "text": _text, "mqtt 5": _mqtt, "mqtt 3.1.1": _mqtt_311, "mqtt guest": _guest,
}  # fmt: skip


def _leaves_json(server: Server) -> None:
    Json(server.address, "oven").close()


def _leaves_reset(server: Server) -> None:
    Json(server.address, "oven").reset()


def _leaves_mqtt(server: Server) -> None:
    MqttLine(server.address, "oven", client_id="one").close()


_LEAVES = {"close": _leaves_json, "reset": _leaves_reset, "mqtt": _leaves_mqtt}


@contextmanager
def in_thread(work: Callable[[], None]) -> Iterator[None]:
    """Do `work` meanwhile; fail if it has failed."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="newcomer")
    thread.start()
    try:
        yield
    finally:
        ended([thread], lambda: failed)
    assert not failed, failed


@pytest.mark.parametrize("leaves", _LEAVES)
@pytest.mark.parametrize("door", _DOORS)
def test_a_name_whose_holder_is_leaving_is_waited_for(
    server: Server, departures: Departures, door: str, leaves: str
) -> None:
    _LEAVES[leaves](server)
    with in_thread(lambda: _DOORS[door](server.address)):
        departures.let_go()


def test_a_client_that_has_said_goodbye_is_waited_for(server: Server, departures: Departures) -> None:
    """It keeps its side open until the server has closed."""
    line = MqttLine(server.address, "oven", client_id="one")
    line.send(Disconnect())
    assert departures.leaving.wait(DEADLINE)
    with in_thread(lambda: _mqtt(server.address)):
        departures.let_go()
    line.close()


def test_a_person_who_only_listens_to_the_answers_is_waited_for(server: Server, departures: Departures) -> None:
    """`nc -N` ends its side after the last line, and gets the answers then."""
    first = Text(server.address, "oven")
    first.send("/join lab", "bread")
    first.expect("You are in lab")
    first.socket.shutdown(1)
    with in_thread(lambda: _json(server.address)):
        departures.let_go()
    first.close()


@pytest.mark.parametrize("door", ["json", "text", "mqtt"])
def test_a_name_whose_holder_is_there_is_refused_at_once(
    server: Server, connect: Connecting, dial: Callable[..., Text], mqtt: Mqtt, door: str
) -> None:
    """The time to log in, for which a login would wait for a departure, is longer than this test may take."""
    holder = connect(server.address, "oven")
    if door == "json":
        answer = connect(server.address).request(Hello(name="oven"))
        assert isinstance(answer, Error)
        assert answer.code == "name-taken"
    elif door == "text":
        person = dial(server.address)
        person.send("oven")
        person.expect("The name oven is taken")
    else:
        assert mqtt(server.address, "oven", refused=True).connack.reason == Reason.NOT_AUTHORIZED
        guest = mqtt(server.address, client_id="oven")
        assert ("name", "oven") not in guest.connack.properties.user_property
    holder.request(Join("lab"))
    assert isinstance(holder.request(Say("still here", "lab")), Stored)


def test_a_name_that_another_takes_over_meanwhile_is_refused(
    server: Server, departures: Departures, connect: Connecting
) -> None:
    """The holder comes back with its token while somebody else waits for the name."""
    first = connect(server.address, "oven")
    token = first.welcome.token
    first.close()
    answers: list[Any] = []
    newcomer = connect(server.address)
    with in_thread(lambda: answers.append(newcomer.request(Hello(name="oven")))):
        assert departures.waited.wait(DEADLINE)
        back = connect(server.address, "oven", token=token)
    assert [answer.code for answer in answers] == ["name-taken"]
    departures.go.set()
    assert not isinstance(back.request(Join("lab")), Error)


def test_a_name_that_its_holder_has_registered_needs_the_password(
    server: Server, departures: Departures, connect: Connecting
) -> None:
    """A login that waits for the departure gets the same answer as one that comes after it."""
    first = connect(server.address, "oven")
    assert isinstance(first.request(Register("warm bread")), Registered)
    departures.go.set()
    first.close()
    answer = connect(server.address).request(Hello(name="oven"))
    assert answer.code == "need-password"


def test_a_name_registered_amid_a_login_takes_its_password(
    server: Server, connect: Connecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name has no password when the login looks at it, and has one when the login takes it."""
    owner = connect(server.address, "oven")
    claim, calls = server.chat.directory.claim, list[str]()

    def late(account: Any, *arguments: Any, **named: Any) -> Any:
        calls.append(account.key)
        if len(calls) == 1:
            assert isinstance(owner.request(Register("warm bread")), Registered)
            owner.close()
        return claim(account, *arguments, **named)

    monkeypatch.setattr(server.chat.directory, "claim", late)
    with Json(server.address) as again:
        assert isinstance(again.request(Hello(name="oven", password="warm bread")), Welcome)
    assert calls == ["oven", "oven"]


@pytest.mark.parametrize("door", _DOORS)
def test_a_crowd_that_reconnects_gets_all_of_its_names(start_server: StartServer, door: str) -> None:
    """All leave and come back at the same moment, under the same names, three times."""
    server = start_server()
    count, doors = 120, threading.Barrier(120)
    failed: list[str] = []

    def enter(name: str) -> Any:
        if door == "json":
            client = Json(server.address)
            answer = client.request(Hello(name=name))
            return client, isinstance(answer, Welcome), answer
        if door == "text":
            person = Text(server.address)
            person.send(name)
            return person, "Welcome" in person.expect(name), ""
        version = V311 if "3" in door else V5
        line = MqttLine(server.address, connect=False, version=version)
        if door == "mqtt guest":
            line.send(Connect(version=version, client_id=name))
        else:
            line.send(Connect(version=version, username=name, client_id=""))
        connack = line.expect(ConnAck)
        named = door != "mqtt guest" or ("name", name) in connack.properties.user_property
        return line, connack.reason == Reason.SUCCESS and named, connack

    def come_and_go(name: str) -> None:
        try:
            for _ in range(4):
                client, inside, answer = enter(name)
                if not inside:
                    failed.append(f"{name}: {answer}")
                doors.wait(DEADLINE)
                client.close()
        except BaseException as error:
            doors.abort()
            failed.append(f"{name}: {error!r}")

    threads = [threading.Thread(target=come_and_go, args=(f"user{n}",), name=f"crowd-{n}") for n in range(count)]
    for thread in threads:
        thread.start()
    ended(threads, lambda: len(failed))
    assert not failed, f"{len(failed)} of {4 * count}: {failed[:3]}"
