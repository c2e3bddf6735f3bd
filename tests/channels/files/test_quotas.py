"""Quotas of files: they count bytes that are there, for users, addresses, guests and all, whatever happens between."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from channels.files.quotas import RESERVE, Owner, Quotas, Usage, charge
from server import Server
from tests.support.clients import Json
from tests.support.files import fill, offer, put, refused
from tests.support.fixtures import StartProcess, StartServer
from tests.support.mqtt import MqttLine
from tests.support.waiting import eventually
from wire.errors import Refused
from wire.frames import Cancel, Error, Files, Finish, Have, Join, Listen, More, Offer, Offered, Put, Register
from wire.limits import Limits
from wire.mqtt import Publish

Connect = Callable[..., Json]

MB = 1_000_000
PASSWORD = "correct-horse"
ANN, BOB, EVE = Owner("ann", "10.0.0.1"), Owner("bob", "10.0.0.1"), Owner("eve", "10.0.0.2")


def sentence(quotas: Quotas, owner: Owner, size: int) -> str:
    """Return why so many bytes are refused, an empty text if they are not."""
    try:
        quotas.grow(owner, size, 0)
    except Refused as error:
        return f"{error.code}: {error.sentence}"
    quotas.shrink(owner, size)
    return ""


def test_each_quota_has_its_limit_and_its_sentence() -> None:
    def quotas(**limits: int) -> Quotas:
        nothing = dict.fromkeys(
            ("files_per_user", "files_per_guest", "files_per_address", "files_of_guests", "files"), 0
        )
        there = [Usage(ANN, True, 3 * MB, 0), Usage(BOB, False, 2 * MB, 0), Usage(EVE, False, MB, 0)]
        return Quotas(Limits(**{**nothing, **limits}), there)

    for limits, owner, fits, why in (
        ({}, ANN, 1 << 60, ""),
        ({"files_per_user": 5 * MB}, ANN, 2 * MB, "Your files may have 5.0 MB in all. /cancel one first."),
        ({"files_per_guest": 5 * MB}, ANN, 1 << 60, ""),
        (
            {"files_per_guest": 5 * MB}, BOB, 3 * MB,
            "The files of a guest may have 5.0 MB in all. /register your name for more room, or /cancel one first.",
        ),
        (
            {"files_per_address": 9 * MB}, ANN, 4 * MB,
            "The files from your address may have 9.0 MB in all. /cancel one first.",
        ),
        (
            {"files_of_guests": 4 * MB}, EVE, MB,
            "The files of all guests may have 4.0 MB in all. /register your name, or try again later.",
        ),
        ({"files_of_guests": 3 * MB}, ANN, 1 << 60, ""),
        ({"files": 10 * MB}, ANN, 4 * MB, "All files here may have 10.0 MB in all. Try again later."),
    ):  # fmt: skip
        assert sentence(quotas(**limits), owner, fits) == ""
        assert sentence(quotas(**limits), owner, fits + 1) == (f"quota: {why}" if why else "")


def test_incomplete_files_are_limited_by_number() -> None:
    quotas = Quotas(Limits(offers_per_user=2, offers_per_address=3), [])
    quotas.offer(ANN, 0, 0, registered=True)
    quotas.offer(ANN, 0, 0, registered=True)
    with pytest.raises(Refused, match="You offer 2 files that are not complete, which is the limit"):
        quotas.offer(ANN, 0, 0, registered=True)
    quotas.offer(BOB, 0, 0, registered=False)
    with pytest.raises(Refused, match="3 files from your address are not complete, which is the limit"):
        quotas.offer(BOB, 0, 0, registered=False)
    quotas.offer(EVE, 0, 0, registered=False)
    quotas.shrink(ANN, RESERVE, 1)
    quotas.offer(BOB, 0, 0, registered=False)


def test_a_file_does_not_start_if_it_cannot_be_completed() -> None:
    quotas = Quotas(Limits(files_per_user=MB), [])
    quotas.offer(ANN, 0, 0, registered=True)
    with pytest.raises(Refused):
        quotas.grow(ANN, 10, MB)
    quotas.grow(ANN, 10, MB - RESERVE)


def test_who_registers_leaves_room_for_guests_and_nothing_is_left_of_who_has_no_files() -> None:
    quotas = Quotas(Limits(), [])
    quotas.offer(ANN, 100, 0, registered=False)
    quotas.grow(ANN, MB, MB)
    assert quotas.totals() == (MB + RESERVE + 100, MB + RESERVE + 100, {"ann": (MB + RESERVE + 100, 1)})
    quotas.registered("ann")
    quotas.registered("nobody")
    assert quotas.totals()[1] == 0
    quotas.shrink(ANN, MB + RESERVE + 100, 1)
    assert quotas.totals() == (0, 0, {})
    assert not quotas._networks


def test_holes_count_as_the_disk_counts_them() -> None:
    """A byte in each block of the file takes all of its blocks."""
    assert charge((), 7) == RESERVE + 7
    assert charge(((0, MB),), 0) == MB + 4_096
    assert charge(tuple((at * 4_096, at * 4_096 + 1) for at in range(1_000)), 0) == 1_000 * 4_097


# On a server


def entered(connect: Connect, server: Server, name: str, *, registered: bool = False) -> Json:
    """Connect a user."""
    if registered and server.chat.store.account(name) is not None:
        return connect(server.address, name, password=PASSWORD)
    user = connect(server.address, name)
    if registered:
        user.request(Register(PASSWORD))
    return user


def by_json(server: Server, connect: Connect, name: str) -> None:
    for number in range(2):
        guest = connect(server.address, f"{name}{number}")
        for _ in range(2):
            guest.request(Offer(name="x", size=4 << 30, user="bob"))


def by_mqtt(server: Server, connect: Connect, name: str) -> None:
    for number in range(2):
        with MqttLine(server.address, f"{name}{number}") as guest:
            for id in ("a", "b"):
                init = {"name": "x", "size": 4 << 30, "to": "bob"}
                guest.publish(f"chat/from/{name}{number}/file/{id}/init", json.dumps(init))


@pytest.mark.parametrize("attack", [by_json, by_mqtt])
def test_announced_files_take_nobody_s_room(
    server: Server, connect: Connect, attack: Callable[[Server, Connect, str], None]
) -> None:
    """Eight small requests of four guests blocked files for everyone, for seven days."""
    attack(server, connect, "evil")
    attack(server, connect, "worse")
    for alice in (entered(connect, server, "alice", registered=True), entered(connect, server, "guest")):
        fill(alice, offer(alice, 300_000, user="bob"), bytes(300_000))


def test_guests_leave_room_for_registered_users(start_server: StartServer, connect: Connect) -> None:
    """The share of the guests holds for all of them together, by JSON and by MQTT."""
    server = start_server(limits=Limits(files_of_guests=MB, files=10 * MB))
    alice = entered(connect, server, "alice", registered=True)
    first, second = entered(connect, server, "first"), entered(connect, server, "second")
    fill(first, offer(first, 800_000), bytes(800_000))
    late = offer(second, 250_000)
    answer = second.request(Put(file=late, offset=0, payload=b"x"))
    assert isinstance(answer, Error)
    assert (answer.code, answer.error) == (
        "quota",
        "The files of all guests may have 1.0 MB in all. /register your name, or try again later.",
    )
    fill(alice, offer(alice, 900_000), bytes(900_000))
    with MqttLine(server.address, "device") as device:
        device.subscribe("chat/to/device/#")
        init = {"name": "x", "size": 250_000, "to": "bob"}
        device.publish("chat/from/device/file/f/init", json.dumps(init))
        device.publish("chat/from/device/file/f/0", b"x")
        told = [device.expect(Publish, lambda each: each.topic == "chat/to/device/file/f") for _ in range(2)]
        assert [json.loads(each.payload)["reason_code"] for each in told] == [0, 151]
    second.request(Register(PASSWORD))
    fill(second, late, bytes(250_000))


def test_a_full_quota_does_not_stop_direct_transfers_nor_repeated_offers(
    start_server: StartServer, connect: Connect
) -> None:
    """A file that goes directly takes none of the server's disk; an upload goes on under the offer that it has."""
    server = start_server(limits=Limits(files_per_user=300_000))
    alice = entered(connect, server, "alice")
    begun = offer(alice, 150_000, id="begun")
    put(alice, begun, 0, 100_000, bytes(100_000))
    fill(alice, offer(alice, 60_000), bytes(60_000))
    again = alice.request(Offer(name="x.bin", size=150_000, user="bob", id="begun"))
    assert isinstance(again, Offered)
    assert again.have == [[0, 100_000]]
    alice.request(Join("lab"))
    assert refused(alice, Offer(name="x", size=150_000, channel="lab")) == "quota", "it cannot go directly"
    direct = offer(alice, 4 << 20)
    assert not isinstance(alice.request(Listen(file=direct, port=9, sha256="ab" * 32)), Error)
    assert refused(alice, Put(file=direct, offset=0, payload=b"x")) == "quota"
    alice.request(Cancel(file=direct))
    put(alice, begun, 100_000, 150_000, bytes(150_000))


def test_the_counts_are_those_of_the_disk_whatever_happened(
    start_server: StartServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After random uploads, failures, ends and restarts, they are what the store and the folder say."""
    chance = random.Random(11)
    server = start_server()
    for _ in range(3):
        users = [entered(connect, server, name, registered=name == "ann") for name in ("ann", "bob", "eve")]
        open_files: list[tuple[Json, str]] = []
        for _ in range(60):
            user = chance.choice(users)
            what = chance.random()
            if what < 0.3 or not open_files:
                open_files.append((user, offer(user, 200_000)))
                continue
            user, file = chance.choice(open_files)
            if what < 0.7:
                at = chance.randrange(190_000)
                user.request(Put(file=file, offset=at, payload=bytes(chance.randrange(1, 10_000))))
            elif what < 0.8:
                with monkeypatch.context() as patch:
                    patch.setattr("store.blobs.os.pwrite", no_room)
                    assert (
                        refused(user, Put(file=file, offset=chance.randrange(1_000), payload=b"x" * 9_000))
                        in ("not-stored")
                        or True
                    )  # all of it may be there
            elif what < 0.9:
                user.request(Cancel(file=file))
                open_files.remove((user, file))
            else:
                for first in range(0, 200_000, 100_000):
                    user.request(Put(file=file, offset=first, payload=bytes(100_000)))
                user.request(Finish(file=file))
                open_files.remove((user, file))
            assert_right(server)
        for user in users:
            user.close()
        server.close()
        server = start_server()
        assert_right(server)


def test_the_counts_survive_kill_9(start_process: StartProcess, connect: Connect, tmp_path: Path) -> None:
    """The bytes of an incomplete file, too, of which the store does not know yet."""
    config = tmp_path / "partyline.yaml"
    config.write_text("limits: {files_per_user: 300000}\n")
    process = start_process("--config", str(config))
    alice = connect(process.address, "alice")
    first = offer(alice, 200_000)
    put(alice, first, 0, 190_000, bytes(200_000))
    process.restart()
    alice = connect(process.address, "alice")
    second = offer(alice, 150_000)
    assert refused(alice, Put(file=second, offset=0, payload=b"x")) == "quota"
    alice.request(Cancel(file=first))
    fill(alice, second, bytes(150_000))


def no_room(*_: object) -> int:
    raise OSError(28, "No space left on device")


def assert_right(server: Server) -> None:
    """The counts are those that a server finds at its start."""
    files = server.chat.files
    assert files._quotas.totals() == Quotas(Limits(), files._usage()).totals()


# The end of incomplete files


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time, in milliseconds since 1970."""
    at = [1_790_000_000_000]
    for module in ("registry", "shared_file", "expiry"):
        monkeypatch.setattr(f"channels.files.{module}.now", lambda: at[0])
    return at


def pass_time(server: Server, clock: list[int], minutes: int) -> None:
    """Let time pass, and have the expiry look."""
    clock[0] += minutes * 60_000
    server.chat.files._sweep()


def test_an_offer_that_nobody_fills_ends(server: Server, connect: Connect, clock: list[int]) -> None:
    """After an hour without a byte, also if some had come before. Who waits for it is told."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    empty, begun, filled = offer(alice), offer(alice), offer(alice)
    fill(alice, filled)
    pass_time(server, clock, 59)
    put(alice, begun, 0, 1_000)
    bob.request(Have(file=empty, watch=True))
    pass_time(server, clock, 2)
    assert bob.expect(More).file == empty
    answer = bob.request(Have(file=empty))
    assert isinstance(answer, Error)
    assert (answer.code, answer.error) == ("gone", "x.bin is no longer offered.")
    assert {info.file for info in bob.request(Files()).files} == {begun, filled}
    pass_time(server, clock, 57)
    put(alice, begun, 1_000, 2_000)
    pass_time(server, clock, 59)
    assert bob.request(Have(file=begun)).have == [[0, 2_000]]
    pass_time(server, clock, 1)
    assert refused(bob, Have(file=begun)) == "gone"
    assert [info.file for info in bob.request(Files()).files] == [filled]
    assert server.chat.files._quotas.totals()[2]["alice"][1] == 0


def test_a_sender_that_listens_keeps_the_offer(server: Server, connect: Connect, clock: list[int]) -> None:
    """Its receiver may be away for days. When it no longer listens, the hour begins."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    file = offer(alice)
    alice.request(Listen(file=file, port=9, sha256="ab" * 32))
    for _ in range(5):
        pass_time(server, clock, 59)
    assert not isinstance(bob.request(Have(file=file)), Error)
    alice.request(Listen(file=file, port=0))
    pass_time(server, clock, 61)
    assert refused(bob, Have(file=file)) == "gone"


def test_bytes_never_keep_an_incomplete_file_longer_than_a_complete_one(
    start_server: StartServer, connect: Connect, clock: list[int]
) -> None:
    server = start_server(limits=Limits(offer_minutes=1_000, file_days=1))
    alice = connect(server.address, "alice")
    file = offer(alice)
    for at in range(2):
        pass_time(server, clock, 700)
        put(alice, file, at, at + 1)
    pass_time(server, clock, 60)
    assert refused(alice, Have(file=file)) == "gone"


def test_after_a_restart_the_time_begins_anew(start_server: StartServer, connect: Connect, clock: list[int]) -> None:
    """The hour of an unfilled offer begins anew at a restart: its sender could not fill it meanwhile."""
    server = start_server()
    alice = connect(server.address, "alice")
    file = offer(alice)
    alice.close()
    server.close()
    clock[0] += 90 * 60_000
    server = start_server()
    alice = connect(server.address, "alice")
    pass_time(server, clock, 59)
    assert not isinstance(alice.request(Have(file=file)), Error)
    pass_time(server, clock, 1)
    assert refused(alice, Have(file=file)) == "gone"


def test_the_store_forgets_files_that_are_long_gone(server: Server, connect: Connect, clock: list[int]) -> None:
    alice = connect(server.address, "alice")
    file = offer(alice)
    alice.request(Cancel(file=file))
    pass_time(server, clock, 6 * 1_440)
    assert refused(alice, Have(file=file)) == "gone"
    alice.close()
    eventually(lambda: not server.chat.files._open, lambda: "the file is open")
    pass_time(server, clock, 2 * 1_440)
    assert refused(connect(server.address, "bob"), Have(file=file)) == "no-such-file"
