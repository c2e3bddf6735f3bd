"""Files over the JSON dialect: offers, uploads in any order, fetching while they are uploaded, and every refusal."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from channels.requests import transfers
from server import Server
from tests.support.clients import Json, Text
from tests.support.files import DATA, SHA, fetch, fill, kept, offer, put, refused
from tests.support.fixtures import StartServer
from wire.frames import (
    Attach,
    Attached,
    Bye,
    Cancel,
    Entry,
    Error,
    Fetched,
    FileList,
    FilePart,
    Files,
    Finish,
    Finished,
    Get,
    Have,
    Join,
    More,
    Offer,
    Ok,
    Put,
    Say,
    Sum,
    SumIs,
    Taken,
)
from wire.jsonlines import JsonLines
from wire.limits import Limits

Connect = Callable[..., Json]


def test_a_file_to_a_user(server: Server, connect: Connect) -> None:
    """From the offer to the receipt. The entry points at the file, and the list names the users who have fetched it."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    file = offer(alice)
    entry = bob.expect(Entry)
    assert (entry.file, entry.to, entry.id) == (file, "bob", None)
    assert entry.text == f"offers x.bin (307 kB): /get {file} in client.py"
    fill(alice, file)
    assert fetch(bob, file) == DATA
    assert isinstance(bob.request(Taken(file=file)), Ok)
    assert alice.expect(Fetched) == Fetched(file, "x.bin", "bob")
    assert isinstance(bob.request(Taken(file=file)), Ok)  # once more is no news
    (mine,), (theirs,) = alice.request(Files()).files, bob.request(Files()).files
    assert (mine.user, mine.fetched, mine.done, mine.have) == ("bob", ["bob"], True, len(DATA))
    assert (theirs.user, theirs.fetched, theirs.sender) == ("alice", [], "alice")
    assert not alice.of(Fetched)[1:]


def test_chunks_in_any_order_and_twice(server: Server, connect: Connect) -> None:
    """Bytes that the server has are not written over, `have` lists their ranges, and an early finish is refused."""
    alice = connect(server.address, "alice")
    file = offer(alice)
    chance = random.Random(5)
    cuts = sorted({0, len(DATA), *(chance.randrange(len(DATA)) for _ in range(40))})
    spans = list(itertools.pairwise(cuts))
    chance.shuffle(spans)
    for at, (first, end) in enumerate(spans):
        assert (refused(alice, Finish(file=file, sha256=SHA))) == "incomplete"
        put(alice, file, first, end)
        put(alice, file, *spans[chance.randrange(at + 1)])
        put(alice, file, first, end, bytes(len(DATA)))  # a repeat of another content changes nothing
    assert alice.request(Have(file=file)).have == [[0, len(DATA)]]
    assert isinstance(alice.request(Finish(file=file, sha256=SHA.upper())), Finished)
    assert isinstance(alice.request(Finish(file=file, sha256=SHA)), Finished)
    put(alice, file, 0, 10)  # a repeat after the end, too
    assert refused(alice, Finish(file=file, sha256="0" * 64)) == "checksum-mismatch"
    assert fetch(alice, file) == DATA


def test_overlapping_chunks_that_differ_never_pass(server: Server, connect: Connect) -> None:
    """The checksum covers the bytes on the disk, not those that came."""
    alice = connect(server.address, "alice")
    file = offer(alice)
    put(alice, file, 100, 200, bytes(len(DATA)))
    put(alice, file, 0, len(DATA))
    assert refused(alice, Finish(file=file, sha256=SHA)) == "checksum-mismatch"


def test_a_wrong_checksum_keeps_the_part_and_can_be_mended(server: Server, connect: Connect) -> None:
    """`sum` shows which range differs. Bytes are written over only after the mismatch."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    file = offer(alice)
    wrong = bytearray(DATA)
    wrong[150_000] ^= 1
    put(alice, file, 0, len(DATA), bytes(wrong))
    assert refused(alice, Finish(file=file, sha256=SHA)) == "checksum-mismatch"
    assert refused(alice, Put(file=file, offset=0, payload=b"abc", sha256=SHA)) == "checksum-mismatch"
    assert alice.request(Have(file=file)).have == [[0, len(DATA)]]
    assert not bob.request(Have(file=file)).done
    differing = []
    for first in range(0, len(DATA), 100_000):
        length = min(100_000, len(DATA) - first)
        answer = bob.request(Sum(file=file, offset=first, length=length))
        assert isinstance(answer, SumIs)
        if answer.sha256 != hashlib.sha256(DATA[first : first + length]).hexdigest():
            differing.append(first)
    assert differing == [100_000]
    put(alice, file, 100_000, 200_000)
    assert isinstance(alice.request(Finish(file=file, sha256=SHA)), Finished)
    assert fetch(bob, file) == DATA


def test_a_checksum_covers_no_more_than_its_limit(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "_SUM", 1_000)
    alice = connect(server.address, "alice")
    file = offer(alice)
    put(alice, file, 0, len(DATA))
    answer = alice.request(Sum(file=file, offset=7, length=1_000))
    assert isinstance(answer, SumIs)
    assert answer.sha256 == hashlib.sha256(DATA[7:1_007]).hexdigest()
    assert refused(alice, Sum(file=file, offset=7, length=1_001)) == "bad-range"


def test_a_fetch_follows_the_upload(server: Server, connect: Connect) -> None:
    """A receiver that is ahead of the upload is told when the server has more, and at the end that the file is done."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    file = offer(alice)
    assert bob.request(Get(file=file, offset=0, length=9)).payload == b""
    put(alice, file, 0, 100)
    assert bob.expect(More).file == file
    assert bob.request(Get(file=file, offset=0, length=200)).payload == DATA[:100]
    assert bob.request(Get(file=file, offset=100, length=200)).payload == b""
    put(alice, file, 200, len(DATA))
    bob.expect(More)
    assert bob.request(Get(file=file, offset=100, length=200)).payload == b""
    put(alice, file, 100, 200)
    bob.expect(More)
    assert not bob.request(Have(file=file, watch=True)).done
    fill(alice, file)
    bob.expect(More)
    assert fetch(bob, file) == DATA


def test_an_attached_connection_is_for_files_only(server: Server, connect: Connect) -> None:
    """It needs the token of a connected user, and does not hold up the user's posts on the other connection."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    file = offer(alice)
    line = connect(server.address)
    assert refused(line, Put(file=file, offset=0, payload=b"x")) == "hello-first"
    assert refused(line, Attach(name="alice", token=bob.welcome.token)) == "not-allowed"
    assert refused(line, Attach(name="nobody", token="")) == "not-allowed"
    assert isinstance(line.request(Attach(name="alice", token=alice.welcome.token)), Attached)
    assert refused(line, Attach(name="alice", token=alice.welcome.token)) == "not-allowed"
    assert refused(line, Say("hello")) == "not-allowed"
    fill(line, file)
    other = connect(server.address)
    other.request(Attach(name="bob", token=bob.welcome.token))
    assert fetch(other, file) == DATA
    other.request(Taken(file=file))
    assert alice.expect(Fetched).user == "bob"
    other.send(Bye())
    assert not [frame for frame in line.received + other.until_closed() if isinstance(frame, Entry)]


def test_no_other_user_learns_that_a_file_exists(server: Server, connect: Connect) -> None:
    """Every request of theirs is answered as for an unknown id. Members of a channel may fetch its files."""
    alice, bob, carol = (connect(server.address, name) for name in ("alice", "bob", "carol"))
    file = offer(alice, id="mine")
    fill(alice, file)
    for id in (file, "zzzzzzzz", "mine", "../x"):
        requests = (
            Get(file=id, offset=0, length=1), Have(file=id), Put(file=id, offset=0, payload=b"x"), Taken(file=id),
            Finish(file=id, sha256=SHA), Sum(file=id, offset=0, length=1), Cancel(file=id),
        )  # fmt: skip
        assert {refused(carol, request) for request in requests} == {"no-such-file"}
    assert carol.request(Files()).files == []
    assert refused(bob, Put(file=file, offset=0, payload=b"x")) == "not-allowed"
    assert refused(bob, Cancel(file=file)) == "not-allowed"
    assert alice.request(Have(file="mine")).done  # by one's own id
    alice.request(Join("lab"))
    shared = offer(alice, user="", channel="lab")
    fill(alice, shared)
    assert refused(carol, Have(file=shared)) == "no-such-file"
    carol.request(Join("lab"))
    assert fetch(carol, shared) == DATA
    assert refused(alice, Offer(name="a", size=1, channel="den")) == "no-such-channel"
    assert refused(carol, Offer(name="a", size=1, channel="lab", user="bob")) == "bad-frame"


def test_the_same_offer_twice_is_one(server: Server, connect: Connect) -> None:
    """It has one entry, and the answer lists the ranges. Another file with that id is a conflict."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    file = offer(alice, id="a-1")
    put(alice, file, 0, 100)
    again = alice.request(Offer(name="x.bin", size=len(DATA), user="bob", id="a-1"))
    assert (again.file, again.number, again.have) == (file, 1, [[0, 100]])
    assert refused(alice, Offer(name="y.bin", size=len(DATA), user="bob", id="a-1")) == "file-conflict"
    assert offer(bob, user="alice", id="a-1") != file
    assert [entry.number for entry in bob.of(Entry)] == [1, 2]


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\x", "a\0b", "x" * 300, ".", "", "a/b"])
def test_bad_names_are_refused(server: Server, connect: Connect, name: str) -> None:
    """Each gets one error, and nothing is stored."""
    alice = connect(server.address, "alice")
    assert refused(alice, Offer(name=name, size=1, user="bob")) == "bad-file-name"
    part = FilePart(f"x/{name}/../y", 1)
    assert refused(alice, Offer(name="x", size=1, user="bob", parts=[part])) == "bad-file-name"
    assert alice.request(Files()).files == []


def test_bad_ranges_are_refused(server: Server, connect: Connect) -> None:
    """Ranges past the end, and a wrong size, are refused. Negative and huge numbers are not frames."""
    alice = connect(server.address, "alice")
    file = offer(alice, size=100)
    for request in (
        Put(file=file, offset=90, payload=b"x" * 11), Put(file=file, offset=2**53 - 1, payload=b"x"),
        Get(file=file, offset=0, length=101), Get(file=file, offset=2**53 - 1, length=1),
        Sum(file=file, offset=0, length=101), Sum(file=file, offset=0, length=1),
    ):  # fmt: skip
        assert refused(alice, request) == "bad-range"
    for fields in (
        '"op":"get","file":"f","offset":-1,"length":1', '"op":"get","file":"f","offset":0,"length":0',
        '"op":"offer","name":"x","size":-1,"user":"bob"', '"op":"put","file":"f","offset":1e30',
    ):  # fmt: skip
        alice.send_bytes(f'{{{fields},"ref":"x"}}\n'.encode())
        assert alice.expect(Error, lambda error: error.ref == "x").code == "bad-frame"
    assert alice.request(Have(file=file)).have == []


def test_a_file_may_be_too_large(start_server: StartServer, connect: Connect) -> None:
    server = start_server(limits=Limits(file_size=1000))
    alice = connect(server.address, "alice")
    assert refused(alice, Offer(name="x", size=1001, user="bob")) == "too-large"
    offer(alice, size=1000)


def test_the_list_of_files_comes_in_pages(start_server: StartServer, connect: Connect) -> None:
    """It was one answer with all files, and with everyone who has fetched them."""
    server = start_server(limits=Limits(page=4, page_bytes=1_000))
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    offered = [offer(alice, 10, name=f"{'x' * 150}{number}", id=str(number)) for number in range(9)]
    listed: list[str] = []
    after: str | None = ""
    while after is not None:
        page = bob.request(Files(after=after, limit=100))
        assert 1 <= len(page.files) <= 4
        assert len(JsonLines.encode(page)) < 1_100
        listed += [info.file for info in page.files]
        after = page.more
    assert sorted(listed) == sorted(offered)  # offers of one millisecond come in any order
    assert [info.file for info in bob.request(Files(limit=2)).files] == listed[:2]


def test_a_file_that_is_taken_back_is_gone(server: Server, connect: Connect, tmp_path: Path) -> None:
    """Also for a receiver that is fetching it. Another file with the same content stays."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    one, other = offer(alice), offer(alice)
    fill(alice, one)
    fill(alice, other)
    assert len(kept(tmp_path / "data")) == 1  # the same content is kept once
    assert bob.request(Get(file=one, offset=0, length=9)).payload == DATA[:9]
    assert alice.request(Cancel(file=one)).name == "x.bin"
    assert refused(bob, Get(file=one, offset=0, length=9)) == "gone"
    assert refused(alice, Cancel(file=one)) == "gone"
    assert fetch(bob, other) == DATA
    alice.request(Cancel(file=other))
    assert kept(tmp_path / "data") == []
    third = offer(alice)
    put(alice, third, 0, 100)
    bob.request(Get(file=third, offset=100, length=1))
    alice.request(Cancel(file=third))
    bob.expect(More)
    assert refused(bob, Get(file=third, offset=0, length=9)) == "gone"
    assert kept(tmp_path / "data") == []
    assert bob.request(Files()) == FileList(ref=bob.request(Files()).ref - 1, files=[])


def test_an_empty_file_and_a_folder(server: Server, connect: Connect) -> None:
    """A file may have no bytes. A folder is the bytes of its files in order."""
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    file = offer(alice, size=0, name="empty")
    fill(alice, file, b"")
    assert fetch(bob, file) == b""
    parts = [FilePart("a.txt", 3), FilePart("sub/b.txt", 4)]
    assert refused(alice, Offer(name="dir", size=8, user="bob", parts=parts)) == "bad-frame"
    file = offer(alice, size=7, name="dir", parts=parts)
    fill(alice, file, b"abcdefg")
    assert bob.request(Have(file=file)).parts == parts
    assert bob.expect(Entry, lambda entry: entry.file == file).text.startswith("offers dir/ (2 files, 7 bytes): ")


def test_a_text_client_sees_offers_as_lines(server: Server, connect: Connect, dial: Callable[..., Text]) -> None:
    """They say how to fetch the file. Commands that need client.py are refused."""
    alice, bob = connect(server.address, "alice"), dial(server.address, "bob")
    file = offer(alice)
    bob.expect(f"alice -> bob: offers x.bin (307 kB): /get {file} in client.py")
    bob.send("/files")
    assert "0 % uploaded" in bob.expect(file)
    bob.expect("* /get <id> in client.py fetches a file")
    bob.send(f"/get {file}", "/send alice x", f"/cancel {file}", "/get ../x")
    bob.expect("! Only client.py fetches files")
    bob.expect("! Only client.py sends files")
    bob.expect("! Only alice can take x.bin back.")
    bob.expect("! ../x is not the id of a file")


def test_a_wrong_checksum_costs_one_reading(server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `finish` of 60 bytes read and hashed the whole file, each time anew."""
    read = 0
    pread = os.pread

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        nonlocal read
        data = pread(descriptor, length, offset)
        read += len(data)
        return data

    alice = connect(server.address, "alice")
    file = offer(alice)
    put(alice, file, 100_000, len(DATA))  # not in order, so nothing is hashed as it comes
    put(alice, file, 0, 100_000)
    monkeypatch.setattr("channels.files.digest.os.pread", counted)
    for _ in range(10):
        assert refused(alice, Finish(file=file, sha256="00" * 32)) == "checksum-mismatch"
    assert read <= len(DATA)
    answer = alice.request(Finish(file=file, sha256=SHA))
    assert isinstance(answer, Finished), "what does not match may be the checksum"


def test_after_many_wrong_checksums_an_upload_begins_anew(server: Server, connect: Connect) -> None:
    alice = connect(server.address, "alice")
    file = offer(alice)
    put(alice, file, 0, len(DATA))
    for _ in range(20):
        assert refused(alice, Finish(file=file, sha256="00" * 32)) == "checksum-mismatch"
        put(alice, file, 0, 10)
    answer = alice.request(Finish(file=file, sha256=SHA))
    assert isinstance(answer, Error)
    assert answer.error == "The SHA-256 of x.bin did not match 20 times. /cancel it and send it again."
