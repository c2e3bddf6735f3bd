"""Files hold across servers: offered at one, uploaded at another, fetched at a third, with and without a shared folder.

A test runs with one data folder for all servers, and with one for each.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from doors import TlsConfig
from server import Server
from store import FileRow
from tests.servers.alike import Connect, joined, wait_until_alike
from tests.servers.conftest import StartServers
from tests.support.certificates import make_certificate
from tests.support.clients import Json
from tests.support.files.exchange import DATA, FINE, INIT, SHA, fetch, fill, listening, offer, put, reason, refused
from tests.support.files.exchange import file as device_file
from tests.support.mqtt import MqttLine, body
from tests.support.servers import LocalSite
from tests.support.waiting import eventually
from wire.errors import LocalError
from wire.frames import (
    Attach,
    Attached,
    Cancel,
    Cancelled,
    Chunk,
    Entry,
    Error,
    Fetched,
    Files,
    Finish,
    Finished,
    Get,
    Have,
    Kept,
    Listen,
    More,
    Offer,
    Offered,
    Ok,
    Ping,
    Pong,
    Put,
    Ranges,
    Reach,
    Relay,
    Sum,
    SumIs,
    Taken,
    Visitor,
    Wanted,
    Way,
)
from wire.limits import Limits

Mqtt = Callable[..., MqttLine]
StartFolders = Callable[..., list[Server]]


@pytest.fixture(params=["shared", "separate"])
def start(request: pytest.FixtureRequest, start_servers: StartServers, tmp_path: Path) -> StartFolders:
    """Start so many servers, with one data folder or with one each."""

    def make(count: int, limits: Limits = Limits()) -> list[Server]:  # noqa: B008 - it is frozen
        if request.param == "shared":
            return start_servers(count, limits)
        return [start_servers(1, limits, data=str(tmp_path / f"data{n}"))[0] for n in range(count)]

    return make


def attached(connect: Connect, server: Server, client: Json) -> Json:
    """Return a further connection, at any server, of a client that has logged in."""
    further = connect(server.address)
    assert isinstance(further.request(Attach(name=client.welcome.name, token=client.welcome.token)), Attached)
    return further


def test_a_file_is_offered_uploaded_and_fetched_at_three_servers(start: StartFolders, connect: Connect) -> None:
    one, other, third = start(3)
    alice, bob = joined(connect, one, "alice"), joined(connect, third, "bob")
    file = offer(alice)
    assert bob.expect(Entry, lambda entry: entry.file == file)
    uploading = attached(connect, other, alice)
    fill(uploading, file)
    assert fetch(bob, file) == DATA
    answer = bob.request(Sum(file=file, offset=10, length=100))
    assert isinstance(answer, SumIs)
    assert answer.sha256 == hashlib.sha256(DATA[10:110]).hexdigest()
    assert isinstance(bob.request(Taken(file=file)), Ok)
    assert alice.expect(Fetched) == Fetched(file, "x.bin", "bob")
    assert fetch(attached(connect, other, bob), file) == DATA
    for client in (alice, bob):
        [info] = client.request(Files()).files
        assert (info.done, info.have, info.fetched) == (True, len(DATA), ["bob"] if client is alice else [])


def test_a_file_is_fetched_while_it_is_filled_at_another_server(start: StartFolders, connect: Connect) -> None:
    one, other, third = start(3)
    alice, bob = joined(connect, one, "alice"), joined(connect, third, "bob")
    file = offer(alice)
    uploading = attached(connect, other, alice)
    state = bob.request(Have(file=file, watch=True))
    assert (state.have, state.done) == ([], False)
    put(uploading, file, 0, 100_000)
    assert bob.expect(More).file == file
    assert bob.request(Get(file=file, offset=0, length=len(DATA))).payload == DATA[:100_000]
    nothing = bob.request(Get(file=file, offset=100_000, length=1))
    assert isinstance(nothing, Chunk)
    assert nothing.bytes == 0
    put(uploading, file, 100_000, len(DATA))
    assert bob.expect(More).file == file
    assert isinstance(uploading.request(Finish(file=file, sha256=SHA)), Finished)
    assert fetch(bob, file) == DATA


def test_the_peers_own_refs_and_ids_are_kept(start: StartFolders, connect: Connect) -> None:
    one, other = start(2)
    alice = joined(connect, one, "alice")
    file = offer(alice, id="mine")
    uploading = attached(connect, other, alice)
    for n in range(20):
        uploading.send(Put(file="mine", offset=n, payload=DATA[n : n + 1], ref=f"r{n}"))
    for n in range(20):
        assert uploading.expect(Kept) == Kept(ref=f"r{n}", file="mine", offset=n, length=1)
    refusal = uploading.request(Finish(file=file, sha256=SHA))
    assert isinstance(refusal, Error)
    assert refusal.code == "incomplete"
    assert isinstance(uploading.request(Ping()), Pong)


def test_the_rights_are_those_of_the_user(start: StartFolders, connect: Connect) -> None:
    one, other = start(2)
    alice, bob, eve = joined(connect, one, "alice"), joined(connect, other, "bob"), joined(connect, other, "eve")
    file = offer(alice)
    put(alice, file, 0, 10)
    assert refused(eve, Get(file=file, offset=0, length=1)) == "no-such-file"
    assert refused(eve, Have(file="unknown1")) == "no-such-file"
    assert refused(bob, Put(file=file, offset=0, payload=b"x")) == "not-allowed"
    assert refused(bob, Cancel(file=file)) == "not-allowed"
    assert bob.request(Get(file=file, offset=0, length=10)).payload == DATA[:10]


def test_nobody_but_a_server_relays(start: StartFolders, connect: Connect) -> None:
    one, other = start(2)
    alice = joined(connect, one, "alice")
    file = offer(alice)
    wrong = connect(one.address).request(Attach(name="alice", token="wrong"))
    for secret in ("", "wrong", other.chat.servers.secret):
        stranger = connect(one.address)
        answer = stranger.request(Relay(name="alice", secret=secret))
        assert (answer.code, answer.error) == (wrong.code, wrong.error)
        assert refused(stranger, Have(file=file)) == "hello-first"
    really = connect(one.address)
    assert isinstance(really.request(Relay(name="alice", secret=one.chat.servers.secret)), Ok)
    assert isinstance(really.request(Have(file=file)), Ranges)
    for request in (Offer(name="x", size=1, user="bob"), Files(), Relay(name="bob", secret=one.chat.servers.secret)):
        assert refused(really, request) == "not-allowed"


def test_a_file_that_was_cancelled_at_another_server_is_gone_everywhere(
    start: StartFolders, connect: Connect, tmp_path: Path
) -> None:
    one, other, third = start(3)
    alice, bob = joined(connect, one, "alice"), joined(connect, third, "bob")
    file = offer(alice)
    fill(alice, file)
    assert fetch(bob, file) == DATA
    assert isinstance(attached(connect, other, alice).request(Cancel(file=file)), Cancelled)
    eventually(lambda: isinstance(bob.request(Get(file=file, offset=0, length=1)), Error), lambda: "it is there")
    assert refused(bob, Get(file=file, offset=0, length=1)) == "gone"
    assert refused(alice, Have(file=file)) == "gone"
    assert alice.request(Files()).files == bob.request(Files()).files == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and {"parts", "blobs"} & {*path.parts}]
    for server in (one, other, third):
        assert server.chat.files._quotas.totals() == (0, 0, {})


def test_the_same_own_id_at_two_servers_is_one_file(start: StartFolders, connect: Connect) -> None:
    one, other = start(2)
    alice = joined(connect, one, "alice")
    connections = [alice, attached(connect, other, alice)]
    for client in connections:
        client.send(Offer(name="x.bin", size=len(DATA), user="bob", id="mine"))
    first, second = [client.expect(Offered) for client in connections]
    assert (first.file, first.number) == (second.file, second.number)
    # Both put it at the same moment, and one server writes it.
    for at in range(0, len(DATA), 10_000):
        for client in connections:
            client.send(Put(file="mine", offset=at, payload=DATA[at : at + 10_000]))
    for _ in range(0, len(DATA), 10_000):
        for client in connections:
            client.expect(Kept)
    assert isinstance(connections[1].request(Finish(file="mine", sha256=SHA)), Finished)
    assert isinstance(connections[0].request(Finish(file="mine", sha256=SHA)), Finished)
    bob = joined(connect, other, "bob")
    assert fetch(bob, first.file) == DATA
    again = connections[1].request(Offer(name="x.bin", size=len(DATA), user="bob", id="mine"))
    assert again.have == [[0, len(DATA)]]


def test_progress_is_the_same_at_each_server(start: StartFolders, connect: Connect) -> None:
    one, other = start(2)
    alice, bob = joined(connect, one, "alice"), joined(connect, other, "bob")
    uploading = attached(connect, one, alice)
    file = offer(uploading)
    put(uploading, file, 0, 100_000)
    assert [info.have for info in alice.request(Files()).files] == [100_000]
    assert [info.have for info in bob.request(Files()).files] == [100_000]
    again = attached(connect, other, alice).request(Offer(name="x.bin", size=len(DATA), user="bob", id="another"))
    assert again.have == []


def test_a_quota_counts_what_is_at_other_servers(start: StartFolders, connect: Connect) -> None:
    one, other = start(2, Limits(files_per_user=450_000, offers_per_user=3))
    alice = joined(connect, one, "alice")
    fill(alice, offer(alice))
    further = attached(connect, other, alice)
    second = offer(further, size=200_000)
    assert refused(further, Put(file=second, offset=0, payload=b"x")) == "quota"
    small = offer(further, size=10)
    put(further, small, 0, 10)
    offer(alice, size=10)
    for client in (alice, further):
        assert refused(client, Offer(name="x.bin", size=1, user="bob")) == "quota"


def test_a_line_ends_with_its_connection(start: StartFolders, connect: Connect) -> None:
    one, other = start(2)
    alice, bob = joined(connect, one, "alice"), joined(connect, other, "bob")
    file = offer(alice)
    further = attached(connect, other, bob)
    further.request(Have(file=file))
    assert len(other.chat.files.lines) == 1
    further.close()
    eventually(lambda: len(other.chat.files.lines) == 0, lambda: str(len(other.chat.files.lines)))
    eventually(lambda: not one.chat.files._open, lambda: repr(one.chat.files._open))


def test_the_limits_of_an_address_do_not_count_other_servers(start: StartFolders, connect: Connect) -> None:
    one, other = start(2, Limits(connections_per_address=12, connections_burst=400, requests_per_second=100_000))
    alice, bob = joined(connect, one, "alice"), joined(connect, other, "bob")
    file = offer(alice)
    further = [attached(connect, other, bob) for _ in range(8)]
    for client in further:
        assert isinstance(client.request(Have(file=file)), Ranges)
    assert len(other.chat.files.lines) == 8
    assert [attached(connect, one, alice) for _ in range(8)]


def test_many_chunks_for_a_slow_receiver_wait_where_they_are(start: StartFolders, connect: Connect) -> None:
    one, other = start(2)
    alice, bob = joined(connect, one, "alice"), joined(connect, other, "bob")
    data = os.urandom(8 << 20)
    file = offer(alice, size=len(data))
    fill(alice, file, data)
    slow = attached(connect, other, bob)
    for at in range(0, len(data), 1 << 18):
        slow.send(Get(file=file, offset=at, length=1 << 18))
    chunks = [slow.expect(Chunk) for _ in range(len(data) >> 18)]
    assert b"".join(chunk.payload for chunk in chunks) == data
    wait_until_alike(one, other)


def test_a_device_sends_and_fetches_a_file_at_other_servers(start: StartFolders, connect: Connect, mqtt: Mqtt) -> None:
    one, other, third = start(3)
    bob = joined(connect, third, "bob")
    oven = listening(mqtt(one.address, "oven"))
    first = device_file(oven, "log-1", "init", INIT)
    assert bob.expect(Entry).file == first["file"]
    oven.close()
    again = listening(mqtt(other.address, "oven"))
    for at in range(0, len(DATA), 100_000):
        assert reason(device_file(again, "log-1", str(at), DATA[at : at + 100_000])) == FINE
    assert device_file(again, "log-1", "have")["have"] == [[0, len(DATA)]]
    assert reason(device_file(again, "log-1", f"fin/{len(DATA)}/{SHA}")) == FINE
    assert fetch(bob, first["file"]) == DATA
    assert isinstance(bob.request(Taken(file=first["file"])), Ok)
    assert body(again.message("chat/to/oven/fetched")) == {"file": first["file"], "name": "x.bin", "user": "bob"}
    lamp = listening(mqtt(other.address, "lamp"))
    sent = offer(bob, user="lamp")
    assert body(lamp.message("chat/to/lamp/msg/bob"))["file"] == sent
    lamp.do(f"file/{sent}/get", '{"offset":0,"length":9}')
    assert lamp.message(f"chat/to/lamp/file/{sent}/0").payload == b""
    fill(bob, sent)
    assert body(lamp.message(f"chat/to/lamp/file/{sent}")) == {"more": True}
    lamp.do(f"file/{sent}/get", '{"offset":0,"length":9}')
    assert lamp.message(f"chat/to/lamp/file/{sent}/0").payload == DATA[:9]


def test_a_direct_transfer_between_two_servers(start: StartFolders, connect: Connect) -> None:
    """The sender may listen at a server that is not the home of the file."""
    one, other, third = start(3)
    alice, bob = joined(connect, one, "alice"), joined(connect, third, "bob")
    file = offer(alice)
    listening_there = attached(connect, other, alice)
    assert refused(bob, Reach(file=file)) == "not-direct"
    assert isinstance(listening_there.request(Listen(file=file, port=4_000, sha256=SHA)), Ok)
    way = bob.request(Reach(file=file))
    assert isinstance(way, Way)
    assert (way.host, way.port, way.sha256) == ("127.0.0.1", 4_000, SHA)
    assert listening_there.expect(Visitor) == Visitor(file, "bob", way.token)
    assert isinstance(bob.request(Taken(file=file, sha256=SHA)), Ok)
    assert listening_there.expect(Fetched) == alice.expect(Fetched) == Fetched(file, "x.bin", "bob")
    assert refused(bob, Have(file=file)) == "gone"


def test_who_waits_for_bytes_is_told_when_the_server_stops(start: StartFolders, connect: Connect) -> None:
    """A receiver asks again, and a sender that listens has to upload."""
    one, other = start(2)
    alice, bob = joined(connect, one, "alice"), joined(connect, other, "bob")
    for_bob, own = offer(alice), offer(alice, id="own")
    at_other = attached(connect, other, alice)
    assert isinstance(at_other.request(Listen(file="own", port=4_000, sha256=SHA)), Ok)
    put(alice, for_bob, 0, 10)
    assert bob.request(Get(file=for_bob, offset=10, length=10)).bytes == 0
    one.close()
    assert bob.expect(More).file == for_bob
    assert at_other.expect(Wanted).file == own
    eventually(lambda: isinstance(at_other.request(Have(file=own)), Ranges), lambda: repr(at_other.received))
    put(at_other, own, 0, 10)


def test_a_server_that_was_taken_for_dead_leaves_its_files(
    start_servers: StartServers, connect: Connect, site: LocalSite
) -> None:
    """In a shared folder: two servers take themselves for the home, and one of them writes."""
    one, other = start_servers(2)
    alice = joined(connect, one, "alice")
    file = offer(alice)
    put(alice, file, 0, 10)
    again = attached(connect, other, alice)
    assert again.request(Have(file=file)).have == [[0, 10]]
    further = attached(connect, other, alice)
    site.cut_off(1)
    eventually(lambda: store_row(other, file).home == other.chat.servers.here, lambda: repr(store_row(other, file)))
    assert refused(further, Put(file=file, offset=10, payload=b"x")) == "file-away"
    put(alice, file, 10, 20)
    site.back(1)
    eventually(lambda: one.chat.files._quotas.totals()[0] == 0, lambda: repr(one.chat.files._quotas.totals()))
    eventually(
        lambda: isinstance(again.request(Put(file=file, offset=20, payload=DATA[20:])), Kept), lambda: repr(again.inbox)
    )
    assert alice.request(Have(file=file)).have == [[0, len(DATA)]]
    assert isinstance(alice.request(Finish(file=file, sha256=SHA)), Finished)
    assert fetch(alice, file) == fetch(again, file) == DATA
    assert one.chat.files._quotas.totals()[0] == 0
    assert other.chat.files._quotas.totals()[0] == len(DATA)


def test_a_server_that_starts_in_the_folder_of_another_removes_nothing(
    start_servers: StartServers, connect: Connect, tmp_path: Path
) -> None:
    [one] = start_servers(1)
    alice, bob = joined(connect, one, "alice"), joined(connect, one, "bob")
    begun, done = offer(alice), offer(alice)
    put(alice, begun, 0, 10)
    fill(alice, done)
    [other] = start_servers(1)
    assert alice.request(Get(file=begun, offset=0, length=10)).payload == DATA[:10]
    assert fetch(bob, done) == DATA
    assert other.chat.files._quotas.totals() == (0, 0, {})
    for id in ("stray", "stray.ranges"):
        (tmp_path / "data" / "files" / "parts" / id).write_bytes(b"x")
    start_servers(1)
    assert sorted(path.name for path in (tmp_path / "data" / "files" / "parts").iterdir()) == [begun, f"{begun}.ranges"]


def test_one_blob_of_two_files_stays_until_both_have_ended(
    start_servers: StartServers, connect: Connect, tmp_path: Path
) -> None:
    """Their homes are two servers in one folder."""
    one, other = start_servers(2)
    alice, bob = joined(connect, one, "alice"), joined(connect, other, "bob")
    first, second = offer(alice), offer(bob, user="alice")
    fill(alice, first)
    fill(bob, second)
    blobs = tmp_path / "data" / "files" / "blobs"
    assert len(list(blobs.glob("*/*"))) == 1
    assert isinstance(alice.request(Cancel(file=first)), Cancelled)
    assert fetch(alice, second) == DATA
    assert isinstance(bob.request(Cancel(file=second)), Cancelled)
    assert not list(blobs.glob("*/*"))


def test_a_copy_of_a_folder_is_refused(start_servers: StartServers, tmp_path: Path) -> None:
    """Also one that was made while the other server was running, which has the mark of that server."""
    [one] = start_servers(1, address="lab-a")
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    assert list((tmp_path / "copy" / "files" / "servers").iterdir())
    with pytest.raises(LocalError, match="is a copy of that of another server on this database, lab-a"):
        start_servers(1, data=str(tmp_path / "copy"))
    assert one.chat.servers.others() == []


def test_files_of_an_earlier_version_are_those_of_the_server_that_has_them(
    start_servers: StartServers, connect: Connect, site: LocalSite, tmp_path: Path
) -> None:
    [one] = start_servers(1, data=str(tmp_path / "one"))
    alice = joined(connect, one, "alice")
    begun, done = offer(alice), offer(alice)
    put(alice, begun, 0, 10)
    fill(alice, done)
    alice.close()
    eventually(lambda: not one.chat.files._open, lambda: repr(one.chat.files._open))
    one.close()
    with site.store._database.transaction() as db:  # type: ignore[attr-defined]
        db.exec_driver_sql("UPDATE files SET home = 0, folder = ''")
    other = start_servers(1, data=str(tmp_path / "other"))[0]
    bob = joined(connect, other, "bob")
    assert refused(bob, Have(file=done)) == "file-away"
    start_servers(1, data=str(tmp_path / "one"))
    assert fetch(bob, done) == DATA
    assert attached(connect, other, bob).request(Have(file=begun)).have == [], "another server has taken it over"


def test_the_line_between_servers_is_in_tls_if_the_other_one_has_a_certificate(
    start_servers: StartServers, connect: Connect, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path, "DNS:lab-a")
    tls = TlsConfig(str(certificate.file), str(certificate.key))
    [one] = start_servers(1, data=str(tmp_path / "one"), tls=tls)
    [other] = start_servers(1, data=str(tmp_path / "other"))
    alice, bob = joined(connect, one, "alice"), joined(connect, other, "bob")
    file = offer(alice)
    fill(alice, file)
    assert fetch(bob, file) == DATA
    [line] = other.chat.files.lines._open
    assert line._stream.encrypted  # type: ignore[attr-defined]
    # Another certificate than the one in the store is not that server.
    one.chat.servers.introduce("lab-a", one.address, "AB:CD")
    answer = attached(connect, other, bob).request(Have(file=file))
    assert answer.code == "file-away"
    assert "its certificate is not the one that is trusted" in answer.error


def store_row(server: Server, file: str) -> FileRow:
    """Return a file as the store has it."""
    row = server.chat.store.file(file)
    assert row is not None
    return row
