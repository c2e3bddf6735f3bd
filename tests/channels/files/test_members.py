"""Only members of a channel can fetch its files, and only as long as they are members."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from server import Server
from tests.support.clients import Json
from tests.support.files import DATA, fill, offer, put, refused
from tests.support.waiting import eventually
from wire.frames import Attach, Bye, Get, Have, Join, Leave, Offer, Sum, Taken

Connect = Callable[..., Json]


def test_a_user_who_leaves_a_channel_cannot_fetch_its_files(server: Server, connect: Connect) -> None:
    """On none of the user's connections, though they have the file open. Other members go on. Private logs stay."""
    alice, bob, carol = (connect(server.address, name) for name in ("alice", "bob", "carol"))
    for client in (alice, bob, carol):
        client.request(Join("lab"))
    line = connect(server.address)
    line.request(Attach(name="bob", token=bob.welcome.token))
    file, straight = offer(alice, user="", channel="lab"), offer(alice)
    put(alice, file, 0, 1000)
    fill(alice, straight)
    get = Get(file=file, offset=0, length=9)
    for client in (line, bob, carol):
        assert client.request(get).payload == DATA[:9]
    assert line.request(Get(file=straight, offset=0, length=9)).payload == DATA[:9]
    bob.request(Leave("lab"))
    for client in (line, bob):
        for request in (get, Have(file=file, watch=True), Sum(file=file, offset=0, length=9), Taken(file=file)):
            assert refused(client, request) == "no-such-file"
    assert refused(line, Offer(name="a", size=1, channel="lab")) == "not-a-member"
    assert line.request(Get(file=straight, offset=0, length=9)).payload == DATA[:9]
    assert carol.request(get).payload == DATA[:9]
    alice.request(Leave("lab"))
    put(alice, file, 1000, 2000)  # it is her own
    bob.request(Join("lab"))
    assert line.request(get).payload == DATA[:9]


def test_a_user_who_leaves_a_channel_holds_no_file_of_it_open(server: Server, connect: Connect) -> None:
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    for client in (alice, bob):
        client.request(Join("lab"))
    before = _open_files()
    file = offer(alice, user="", channel="lab")
    fill(alice, file)
    alice.close()
    eventually(lambda: not server.chat.files._open, lambda: "the file is open for alice")
    assert _open_files() == before
    get = Get(file=file, offset=0, length=9)
    assert bob.request(get).payload == DATA[:9]
    assert _open_files() == before + 1
    bob.request(Leave("lab"))
    assert refused(bob, get) == "no-such-file"
    assert _open_files() == before


def _open_files() -> int:
    """Return how many files of users this process, with its server, has open."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            count += "/files/" in str(descriptor.readlink())
        except FileNotFoundError:  # that of the listing
            continue
    return count


def test_an_attached_connection_has_no_older_memberships(server: Server, connect: Connect) -> None:
    """The user has logged in again and left a channel: the attached connection cannot offer files there."""
    alice = connect(server.address, "alice")
    alice.request(Join("lab"))
    line = connect(server.address)
    line.request(Attach(name="alice", token=alice.welcome.token))
    alice.send(Bye())
    alice.until_closed()
    again = connect(server.address, "alice")
    again.request(Leave("lab"))
    assert refused(line, Offer(name="a", size=1, channel="lab")) == "not-a-member"
