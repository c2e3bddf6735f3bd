"""Many who take the same free name at once: exactly one has it, and each of the others is told so in a sentence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from server import Server
from tests.support.clients import Json, Text
from tests.support.fixtures import StartServer
from tests.support.waiting import DEADLINE
from wire.frames import Bye, Entry, Error, Frame, Hello, Join, Msg, Register, Registered, Say, Stored, Welcome, Who
from wire.limits import Limits

pytestmark = pytest.mark.usefixtures("slow_hashes")
Connect = Callable[..., Json]
_CROWD = 50
_MANY_ATTEMPTS = Limits(login_requests=1 << 40, login_bytes=1 << 40)


@contextmanager
def _crowd(address: str, count: int, act: Callable[[Json, int], None]) -> Iterator[list[Json]]:
    """So many programs that do the same at the same moment, each in a thread of its own."""
    clients = [Json(address) for _ in range(count)]
    gate = threading.Barrier(count)
    failed: list[BaseException] = []

    def run(client: Json, at: int) -> None:
        try:
            gate.wait(DEADLINE)
            act(client, at)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(client, at)) for at, client in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    try:
        assert not failed, failed[:3]
        yield clients
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("count", [2, _CROWD])
def test_exactly_one_gets_the_name(server: Server, count: int) -> None:
    answers: dict[int, Frame] = {}
    spelled = ["Zoe", "zoe", "ZOE"]

    def take(client: Json, at: int) -> None:
        answers[at] = client.request(Hello(name=spelled[at % 3]))

    for turn in range(5):
        answers.clear()
        with _crowd(server.address, count, take) as clients:
            winners = [at for at, answer in answers.items() if isinstance(answer, Welcome)]
            refusals = [answer for answer in answers.values() if isinstance(answer, Error)]
            assert len(winners) == 1, f"{len(winners)} have the name"
            assert len(refusals) == count - 1
            assert {refusal.code for refusal in refusals} <= {"name-taken"}
            assert all("is taken: another user is connected under it." in refusal.error for refusal in refusals)
            winner = clients[winners[0]]
            names = [member.name.lower() for member in winner.request(Who()).members]
            assert names.count("zoe") == 1
            for at, client in enumerate(clients):  # the others may take another one
                if at not in winners[:1]:
                    assert isinstance(client.request(Hello(name=f"zoe-{turn}-{at}")), Welcome)
            winner.request(Bye())
            winner.until_closed()


def test_a_name_that_goes_from_hand_to_hand(start_server: StartServer) -> None:
    """Each peer that gets the name releases it: two never hold it at once, and everyone gets it in the end."""
    server = start_server(limits=_MANY_ATTEMPTS)
    holders = 0
    most = 0
    lock = threading.Lock()

    def take(client: Json, at: int) -> None:
        nonlocal holders, most
        while isinstance(client.request(Hello(name="baton")), Error):
            pass
        with lock:
            holders += 1
            most = max(most, holders)
        client.request(Join("lab"))
        client.request(Say(f"{at} has it", "lab"))
        with lock:
            holders -= 1
        client.request(Bye())
        client.close()

    with _crowd(server.address, 12, take):
        assert most == 1
    with Json(server.address, "auditor") as auditor:
        assert auditor.request(Join("lab")).tail == 12


def test_others_register_meanwhile(server: Server) -> None:
    """Each of some registers a name of their own, while the rest want one name, and want the registered ones."""
    answers: dict[int, Frame] = {}
    named = {at: threading.Event() for at in range(0, _CROWD, 10)}

    def act(client: Json, at: int) -> None:
        if at % 10 == 0:
            assert isinstance(client.request(Hello(name=f"owner{at}")), Welcome)
            named[at].set()
            answers[at] = client.request(Register(f"password of {at}"))
        elif at % 10 == 1:
            named[at - 1].wait(DEADLINE)
            answers[at] = client.request(Hello(name=f"owner{at - 1}"))  # amid the registration, or after it
        else:
            answers[at] = client.request(Hello(name="free"))

    with _crowd(server.address, _CROWD, act) as clients:
        free = [answer for at, answer in answers.items() if at % 10 > 1]
        assert sum(isinstance(answer, Welcome) for answer in free) == 1
        assert all(isinstance(answer, Welcome) or answer.code == "name-taken" for answer in free)  # type: ignore[attr-defined]
        for at in range(0, _CROWD, 10):
            other = answers[at + 1]
            assert isinstance(other, Error), f"two have the name owner{at}"
            assert other.code in ("name-taken", "need-password")
            assert isinstance(answers[at], Registered)
            clients[at].close()
        for at in range(0, _CROWD, 10):
            client = clients[at + 1]
            assert client.request(Hello(name=f"owner{at}", password="guessed")).code == "wrong-password"
            assert isinstance(client.request(Hello(name=f"OWNER{at}", password=f"password of {at}")), Welcome)


def test_registering_is_not_undone_by_one_who_was_amid_a_login(start_server: StartServer, connect: Connect) -> None:
    """Guests who ask for the name all the while do not slip in when its owner registers it and leaves."""
    server = start_server(limits=_MANY_ATTEMPTS)
    owner = connect(server.address, "owner")
    stop = threading.Event()
    slipped: list[Json] = []

    def knock() -> None:
        with Json(server.address) as client:
            while not stop.is_set():
                if isinstance(client.request(Hello(name="owner")), Welcome):
                    slipped.append(client)
                    return

    threads = [threading.Thread(target=knock, name=f"knock-{n}") for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert isinstance(owner.request(Register("correct-horse")), Registered)
        owner.request(Bye())
        owner.until_closed()
        owner.close()
        for _ in range(5):
            again = connect(server.address, "owner", password="correct-horse")
            again.request(Bye())
            again.close()
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE)
    assert not slipped, "a guest has a registered name"


def test_many_make_the_same_channel_at_once(server: Server) -> None:
    """The result is one channel with the spelling of the first peer, and all peers are in it."""
    names = ["Lab", "lab", "LAB", "#lab"]

    def join(client: Json, at: int) -> None:
        client.request(Hello(name=f"user{at}"))
        client.request(Join(names[at % 4]))
        assert isinstance(client.request(Say(f"{at}", "lab")), Stored)

    with _crowd(server.address, _CROWD, join) as clients:
        members = clients[0].request(Who("lab")).members
        assert len(members) == _CROWD
        clients[0].request(Say("the end", "lab"))
        clients[-1].expect(Entry, lambda entry: entry.number == _CROWD + 1)


def test_many_write_to_one_who_was_never_here(server: Server, connect: Connect, dial: Callable[..., Text]) -> None:
    def write(client: Json, at: int) -> None:
        client.request(Hello(name=f"user{at}"))
        assert client.request(Msg(["Zoe", "zoe"][at % 2], f"{at}")).away

    with _crowd(server.address, _CROWD, write):
        zoe = connect(server.address, "ZOE")
        assert len(zoe.welcome.logs) == _CROWD
        texts = {zoe.expect(Entry).text for _ in range(_CROWD)}
        assert texts == {f"{at}" for at in range(_CROWD)}
