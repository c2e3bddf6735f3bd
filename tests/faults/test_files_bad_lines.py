"""Files on lines that break, and that lose, double, swap and damage chunks: right, or a named error; never wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from server import Server
from terminal.files.connection import ConnectionLostError
from terminal.files.download import Download
from terminal.files.json_connection import JsonFileConnection
from terminal.files.transfer import Transfer
from terminal.files.upload import Upload
from tests.support.clients import Json, endpoint
from tests.support.files.proxy import Cut, FileProxy, Passing
from wire.errors import Refused
from wire.frames import Cancel, Fetched, GetFile, Have, SendFile

Connect = Callable[..., Json]
SIZE = 5_000_000
_LINES = 60  # that a transfer may need


class Mischief:
    """A Meddle that does so many bad things to chunks, of these kinds."""

    def __init__(self, kinds: Sequence[str], count: int, chance: random.Random) -> None:
        self.done: list[str] = []
        self._kinds = kinds
        self._left = count
        self._chance = chance

    def __call__(self, frames: list[Passing]) -> list[Passing]:
        """What goes on."""
        passed: list[Passing] = []
        for frame in frames:
            if frame.is_chunk and self._left and self._chance.random() < 0.2:
                self._left -= 1
                self._harm(frame, passed)
            else:
                passed.append(frame)
        return passed

    def _harm(self, frame: Passing, passed: list[Passing]) -> None:
        kind = self._chance.choice(self._kinds)
        self.done.append(kind)
        if kind == "cut":
            raise Cut
        if kind == "double":
            passed += [frame, frame]
        elif kind == "damage":
            passed.append(frame.damaged(self._chance.randrange(len(frame.payload))))
        elif kind == "swap":
            passed.insert(len(passed) - bool(passed and passed[-1].is_chunk), frame)
        elif frame.up:  # lost: of those to the server only the last one is missed at once, so the line goes with it
            raise Cut


def carried(transfer: Transfer, proxy: FileProxy, client: Json) -> str:
    """Do it, over as many lines as it takes: the code of the error in the end, if there is one.

    A chunk that is lost with none after it is missed by the silence that follows; too soon is no harm.
    """
    try:
        for _ in range(_LINES):
            try:
                where = endpoint(proxy.address)
                connection = JsonFileConnection(*where, client.welcome.name, client.welcome.token, silence=1.0)
                connection.chunk = 1 << 16
                try:
                    transfer.run(connection)
                    return ""
                finally:
                    connection.close()
            except ConnectionLostError:
                continue
        raise AssertionError("it does not come to its end")
    except Refused as refused:
        return refused.code
    finally:
        transfer.close()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kinds", [("cut", "double", "swap", "lose"), ("damage",), ("cut", "double", "swap", "damage")])
def test_bad_lines(server: Server, connect: Connect, tmp_path: Path, seed: int, kinds: Sequence[str]) -> None:
    """Both ways; what was damaged again and again is a named error, and the next attempt mends it."""
    chance = random.Random(f"{seed} {kinds}")
    data = chance.randbytes(SIZE)
    (tmp_path / "x").write_bytes(data)
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    good = "damage" not in kinds
    with FileProxy(server.address, Mischief(kinds, chance.randrange(1, 30), chance)) as proxy:
        for _ in range(9):
            sending = Upload(SendFile(to="bob", path=str(tmp_path / "x")), lambda: None)
            code = carried(sending, proxy, alice)
            assert code in ("" if good else ("", "checksum-mismatch"))
            assert alice.request(Have(file=sending.file)).done == (not code)
            if not code:
                break
        assert not code
        proxy.meddle = Mischief(kinds, chance.randrange(1, 20), chance)
        for _ in range(9):
            fetching = Download(GetFile(file=sending.file), tmp_path / "in", 0, lambda _: True, lambda: None)
            code = carried(fetching, proxy, bob)
            (path,) = (tmp_path / "in").iterdir()
            if not code:
                break
            assert (code, path.suffix, good) == ("checksum-mismatch", ".part", False)
        assert (path.name, path.read_bytes() == data) == ("x", True)


def test_a_line_lost_after_the_file_has_its_name(
    server: Server, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next line brings the receipt, and nothing else; an offer that was taken back meanwhile is no error."""
    (tmp_path / "x").write_bytes(bytes(1000))
    alice, bob = connect(server.address, "alice"), connect(server.address, "bob")
    sending = Upload(SendFile(to="bob", path=str(tmp_path / "x")), lambda: None)
    host, port = endpoint(server.address)

    def lose(_: str) -> None:
        raise ConnectionLostError

    for taken_back in (False, True):
        sending.run(JsonFileConnection(host, port, "alice", alice.welcome.token))
        folder = tmp_path / str(taken_back)
        fetching = Download(GetFile(file=sending.file), folder, 0, lambda _: True, lambda: None)
        connection = JsonFileConnection(host, port, "bob", bob.welcome.token)
        monkeypatch.setattr(connection, "taken", lose)
        with pytest.raises(ConnectionLostError):
            fetching.run(connection)
        if taken_back:
            alice.request(Cancel(file=sending.file))
        said = fetching.run(JsonFileConnection(host, port, "bob", bob.welcome.token))
        assert (said, [path.name for path in folder.iterdir()]) == (
            f"Received x (1.0 kB): {folder / 'x'} (through the server)",
            ["x"],
        )
        if not taken_back:
            assert alice.expect(Fetched).user == "bob"
