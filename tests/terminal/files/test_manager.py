"""The transfer manager: how many transfers work at a time, and what it displays of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from server import Server
from terminal.files.slots import Slots
from tests.support.clients import Json
from tests.support.files import DATA, entry_file, fill, offer
from tests.support.fixtures import StartProcess
from tests.support.processes.clients import Client
from tests.support.processes.screens import Screen
from tests.support.waiting import DEADLINE
from wire.frames import Have, Ranges


class Holder:
    """A SlotHolder; `start` acquires a slot on a thread of its own."""

    def __init__(self, slots: Slots) -> None:
        self.stopped = False
        self.waits = threading.Event()
        self.results: list[bool] = []
        self._slots = slots
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self.results.append(self._slots.acquire(self, self.waits.set))

    def start(self) -> Holder:
        """Acquire a slot, or begin to wait for one."""
        self._thread.start()
        return self

    def end(self) -> list[bool]:
        """Wait for the result of `acquire`."""
        self._thread.join(DEADLINE)
        return self.results


def test_slots_are_limited_and_a_released_one_goes_to_another_holder() -> None:
    slots = Slots(1)
    first, second, third = (Holder(slots) for _ in range(3))
    assert first.start().end() == [True]
    with slots.released(first, lambda: None):
        assert second.start().end() == [True]
        slots.release(second)
    third.start()
    assert third.waits.wait(DEADLINE)
    assert third.results == []
    slots.release(first)
    assert third.end() == [True]
    stopped = Holder(slots).start()
    assert stopped.waits.wait(DEADLINE)
    stopped.stopped = True
    slots.wake()
    assert stopped.end() == [False]
    slots.release(third)
    assert Holder(slots).start().end() == [True]


def test_transfers_that_wait_for_a_person_do_not_hold_up_others(
    start_process: StartProcess, connect: Callable[..., Json], tmp_path: Path
) -> None:
    """Nine direct transfers wait for a user who is away."""
    process = start_process()
    bob = connect(process.address, "bob")
    lines = []
    for number in range(9):
        (tmp_path / f"{number}").write_bytes(b"x")
        lines.append(f"/send --direct @carol {tmp_path / str(number)}")
    alice = Client(process.address, "alice", *lines, f"/send bob {tmp_path / '0'}")
    try:
        state = bob.request(Have(file=entry_file(bob), watch=True))
        assert isinstance(state, Ranges), state
    finally:
        alice.kill()


def test_transfers_on_the_screen(
    server: Server, start_screen: Callable[..., Screen], connect: Callable[..., Json], tmp_path: Path
) -> None:
    """Notes instead of a progress bar, a receiver who is away, each file named once, no line after the end."""
    alice, folder = connect(server.address, "alice"), tmp_path / "in"
    file = offer(alice)
    fill(alice, file)
    folder.mkdir()
    (folder / f"x.bin.{file}.part").write_bytes(DATA[:3000])
    (tmp_path / "note").write_bytes(b"x" * 10)
    screen = start_screen(server.address, "--name", "bob", "--downloads", str(folder), "--largest", "1000000")
    screen.expect_last(">")
    screen.type(f"/get {file}", "Enter")
    screen.expect_last("Resume x.bin (0 %)? [Y/n]")
    screen.expect("get x.bin: waiting for your answer")
    screen.type("y", "Enter")
    screen.until(lambda lines: any("* Received x.bin (307 kB):" in line for line in lines))
    screen.type(f"/send @carol {tmp_path / 'note'}", "Enter")
    screen.until(lambda lines: any("* Sent note (10 bytes) to carol, who is away: " in line for line in lines))
    screen.type(f"/get {offer(alice, 2_000_000)}", "Enter")
    screen.expect("! x.bin has 2.0 MB; your limit is 1.0 MB (--largest).")
    screen.type(f"/send --direct @dave {tmp_path / 'note'}", "Enter")
    screen.expect("send note: waiting for dave to fetch it")
    lines = screen.until(lambda lines: any("bob -> dave: offers note" in line for line in lines))
    offered = next(line for line in lines if "bob -> dave: offers note" in line)
    screen.type(f"/cancel {offered.split('/get ')[1].split()[0]}", "Enter")
    lines = screen.expect("* note is no longer offered.")
    assert not [line for line in lines if "partial file is kept" in line]


def test_a_cancelled_download_keeps_its_partial_file_and_does_not_concern_the_server(
    server: Server, start_screen: Callable[..., Screen], connect: Callable[..., Json], tmp_path: Path
) -> None:
    alice = connect(server.address, "alice")
    screen = start_screen(server.address, "--name", "bob", "--downloads", str(tmp_path / "in"))
    screen.expect_last(">")
    file = offer(alice)
    screen.type(f"/get {file}", "Enter")
    screen.expect("get x.bin: 0 %, waiting for the sender")
    screen.type(f"/cancel {file}", "Enter")
    screen.expect("* Stopped x.bin. The partial file is kept; /get resumes it.")
    screen.type("/who", "Enter")
    lines = screen.until(lambda lines: any(line.startswith("* Online: ") for line in lines))
    assert not [line for line in lines if line.startswith("!")]
    assert (tmp_path / "in" / f"x.bin.{file}.part").exists()
