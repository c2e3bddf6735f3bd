"""The client over MQTT as programs use it: real processes, as a filter, against a real server."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server import Server
from tests.support.clients import Json, endpoint
from tests.support.processes import Process
from tests.support.processes.clients import Running, run, url
from tests.support.waiting import DEADLINE
from wire.frames import ChannelList, Channels, Delivered, History, Join, Members, Msg, Presence, Register, Say, Who
from wire.limits import Limits

CONNECT, OLD_REFUSAL = 0x10, b"\x20\x02\x00\x01"  # a CONNACK of 3.1.1: unacceptable protocol version


class Relay:
    """A port in front of a server, for one connection after the other; `change` sees the first bytes of each."""

    def __init__(self, address: str, change: Callable[[socket.socket], socket.socket | None]) -> None:
        self._behind = endpoint(address)
        self._change = change
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, name="relay")]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            front = self._change(connection)
            if front is None:
                connection.close()
                continue
            back = socket.create_connection(self._behind)
            for source, sink in ((front, back), (back, front)):
                self._threads.append(threading.Thread(target=self._pass_on, args=(source, sink), name="relay"))
                self._threads[-1].start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop accepting; each relayed connection ends with its two ends."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(DEADLINE)


@pytest.fixture
def relay() -> Iterator[Callable[..., Relay]]:
    """Put a relay in front of a server."""
    made: list[Relay] = []

    def make(address: str, change: Callable[[socket.socket], socket.socket | None]) -> Relay:
        made.append(Relay(address, change))
        return made[-1]

    yield make
    for each in made:
        each.close()


def only_311(connection: socket.socket) -> socket.socket | None:
    """Refuse MQTT 5 as a broker does that never heard of it."""
    first = connection.recv(64, socket.MSG_PEEK)
    assert first[0] == CONNECT
    if first[first.index(b"MQTT") + 4] == 4:
        return connection
    connection.sendall(OLD_REFUSAL)
    return None


@pytest.fixture(params=["MQTT 5", "MQTT 3.1.1"])
def address(request: pytest.FixtureRequest, server: Server, relay: Callable[..., Relay]) -> str:
    """A server that a client reaches by MQTT 5, or only by 3.1.1."""
    return server.address if request.param == "MQTT 5" else relay(server.address, only_311).address


# As a filter


def test_every_command_does_what_it_does_over_tcp(address: str) -> None:
    typed = (
        "/join lab\nhello\nlab: again\nalice: text\n/me waves\n/msg bob hi\n/who lab\n/who\n/channels\n/whois alice\n"
        '/history lab 1\n/topic lab Soldering\n/topic\n/topic lab -\n/help who\n/join ops\n/leave ops\n{"text": 1}\n'
    )
    done = run(url(address, "alice"), typed=typed)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        "[lab] alice: hello",
        "[lab] alice: again",
        "[lab] alice: alice: text",
        "[lab] * alice waves",
        '[lab] alice: {"text": 1}',
        "alice -> bob: hi",
        "* bob is away. The server keeps the message for them.",
        "* In lab: alice",
        "* Online: alice",
        "* lab has no topic.",
        "* You have left ops.",
        "/who [channel or *] [after] - list the members of a channel, or everyone who is online.",
    ):
        assert lines.count(line) == 1, line
    assert lines.count("* The topic of lab: Soldering") == 2
    said = [line for line in lines if line.startswith("[lab]")]
    texts = ["alice: hello", "alice: again", "alice: alice: text", "* alice waves", 'alice: {"text": 1}']
    assert said == [f"[lab] {text}" for text in texts]


def test_json_prints_the_same_frames_as_over_tcp(address: str) -> None:
    done = run(url(address), "--json", "--name", "alice", typed="/join Lab\nhello ü\n/who lab\n")
    frames = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"welcome", "joined", "stored", "members", "entry"} == {frame["op"] for frame in frames}
    (entry,) = [frame for frame in frames if frame["op"] == "entry"]
    assert (entry["text"], entry["number"], entry["channel"], entry["sender"]) == ("hello ü", 1, "Lab", "alice")
    assert {frame["op"]: frame["ref"] for frame in frames if frame.get("ref")}.keys() >= {"joined", "stored", "members"}


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("/whois nobody\n", "! No user called nobody"),
        ("/history nowhere\n", "! The channel nowhere does not exist"),
        ("/register x\n", "! A password has"),
    ],
)
def test_what_is_refused_is_said_on_stderr_and_by_the_exit_code(address: str, typed: str, reason: str) -> None:
    done = run(url(address, "alice"), typed=typed)
    assert done.returncode == 1
    assert done.stderr.startswith(reason)
    assert "!" not in done.stdout


def test_what_was_missed_comes_once_by_whichever_way_it_is_fetched(
    server: Server, address: str, connect: Callable[..., Json]
) -> None:
    assert run(url(address, "alice"), typed="/join lab\n").returncode == 0
    bob = connect(server.address, "bob")
    bob.request(Join("LAB"))
    bob.request(Say("one", "lab"))
    bob.request(Msg("alice", "psst"))
    assert [line.split(" ", 1)[1] for line in run(url(address, "alice")).stdout.splitlines()[2:]] in (
        ["[lab] bob: one", "bob -> alice: psst"],
        ["bob -> alice: psst", "[lab] bob: one"],
    )
    assert bob.expect(Delivered) == Delivered("alice", 1)
    bob.request(Say("two", "lab"))
    over_tcp = run(server.address, "--name", "alice").stdout
    assert ("bob: one" in over_tcp, "psst" in over_tcp, "bob: two" in over_tcp) == (False, False, True)
    bob.request(Say("three", "lab"))
    again = run(url(address, "Alice")).stdout
    assert again.endswith("[lab] bob: three\n")
    assert "two" not in again
    bob.request(Channels())
    assert len(bob.of(Delivered)) == 1


def test_a_name_takes_its_password(server: Server, tmp_path: Path) -> None:
    registered = run(url(server.address, "carol"), typed="/register open sesame\n")
    assert (registered.returncode, registered.stderr) == (0, "")
    (tmp_path / "password").write_text("open sesame\n")
    assert run(url(server.address, "carol"), "--password-file", str(tmp_path / "password")).returncode == 0
    assert run(f"mqtt://carol:open%20sesame@{server.address}").returncode == 0


def test_without_the_password_or_with_a_wrong_one_it_says_so(server: Server, address: str) -> None:
    with Json(server.address, "carol") as carol:
        carol.request(Register("open-sesame"))
    without, wrong = run(url(address, "carol")), run(f"mqtt://carol:wrong@{address}")
    assert (without.returncode, wrong.returncode) == (1, 1)
    assert "PARTYLINE_PASSWORD" in without.stderr
    assert "password is wrong" in wrong.stderr


def test_a_name_that_somebody_holds_is_refused_and_a_name_is_free_after_a_goodbye(
    server: Server, connect: Callable[..., Json]
) -> None:
    connect(server.address, "dora")
    taken = run(url(server.address, "dora"), typed="hello\n")
    assert taken.returncode == 1
    assert "dora is taken" in taken.stderr
    assert run(url(server.address), "--name", "erin").returncode == 0
    connect(server.address, "erin")
    assert run(url(server.address)).returncode == 2


def test_a_registered_user_is_there_by_mqtt_many_times_at_once(
    server: Server, connect: Callable[..., Json], running: Callable[..., Running]
) -> None:
    with Json(server.address, "carol") as carol:
        carol.request(Register("open-sesame"))
        carol.request(Join("lab"))
    ears = [running(f"mqtt://carol:open-sesame@{server.address}", "--listen") for _ in range(2)]
    for ear in ears:
        ear.expect("Welcome")
    bob = connect(server.address, "bob")
    bob.request(Join("lab"))
    bob.request(Say("both of you", "lab"))
    for ear in ears:
        ear.expect("[lab] bob: both of you")
    bob.request(Msg("carol", "and in private"))  # only now: there is no order between a channel and a private talk
    for ear in ears:
        ear.expect("bob -> carol: and in private")
        assert ear.end(signal.SIGTERM)[0] == 128 + signal.SIGTERM


def test_who_comes_and_goes_is_told_and_what_was_left_is_silent(
    server: Server, address: str, connect: Callable[..., Json], running: Callable[..., Running]
) -> None:
    bob = connect(server.address, "bob")
    bob.request(Join("lab"))
    bob.request(Join("ops"))
    alice = running(url(address, "alice"), "--listen")
    alice.say("/join lab", "/join ops", "/leave ops", "/who")
    alice.expect("* Online")
    assert bob.expect(Presence, lambda frame: frame.what == "online" or frame.channel == "ops")
    bob.request(Say("nobody hears this", "ops"))
    bob.request(Say("hello", "lab"))
    alice.expect("[lab] bob: hello")
    alice.say("/join ops")
    alice.expect("You are in ops")
    bob.request(Say("welcome back", "ops"))
    alice.expect("[ops] bob: welcome back")
    bob.close()
    alice.expect("* bob is away")
    with Json(server.address, "bob"):
        alice.expect("* bob is here")
    assert not any("nobody hears this" in line for line in alice.lines)


def test_a_server_may_have_another_root(start_server: Callable[..., Server]) -> None:
    server = start_server(root="site/chat")
    done = run(f"{url(server.address, 'alice')}/site/chat", typed="/join lab\nhello\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("[lab] alice: hello\n")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_tls_is_checked_against_the_authority(server: Server, relay: Callable[..., Relay], tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    options = ["-nodes", "-days", "2", "-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-keyout", str(key), "-out", str(certificate), *options]
    subprocess.run(made, check=True, capture_output=True, timeout=DEADLINE)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    def unwrap(connection: socket.socket) -> socket.socket | None:
        try:
            return context.wrap_socket(connection, server_side=True)
        except OSError:
            return None

    place = relay(server.address, unwrap).address
    done = run(f"mqtts://alice@{place}", "--ca", str(certificate), typed="/join lab\nhello\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("[lab] alice: hello\n")
    stranger = run(f"mqtts://alice@{place}", "--wait", "0.3")
    assert stranger.returncode == 2
    assert "is unknown here" in stranger.stderr


def test_what_is_no_broker_is_said(process: Process) -> None:
    process.kill()
    done = run(url(process.address, "alice"), "--wait", "0.3", typed="lab: one\n")
    assert done.returncode == 1
    assert done.stderr == (
        f"* Could not connect to mqtt://{process.address} (Connection refused). Retrying.\n"
        "client.py: Could not connect within 0.3 seconds. 1 message was not sent:\n  lab: one\n"
    )


# Through everything


def test_a_server_that_is_killed_keeps_every_post_once_and_the_listener_sees_each_once(
    process: Process, running: Callable[..., Running]
) -> None:
    listener = running(url(process.address, "ear"), "--listen")
    listener.say("/join lab")
    listener.expect("You are in lab")
    talker = running(url(process.address, "mouth"))
    talker.say("/join lab")
    texts = [f"message {number}" for number in range(500)]
    for part in (texts[:200], texts[200:]):
        talker.say(*part)
        listener.expect(f"[lab] mouth: {part[60]}\n")
        process.kill()
        talker.expect("Reconnecting", stderr=True)
        process.start()
        talker.expect("Reconnected to", stderr=True)
    code, _, errors = talker.end()
    assert (code, errors) == (0, "")
    with Json(process.address, "reader", limits=Limits(line=1 << 24)) as reader:
        entries = reader.request(History(channel="lab", after=0, limit=1000)).entries
    assert [entry.text for entry in entries] == texts
    assert [entry.number for entry in entries] == list(range(1, 501))
    listener.expect(f"mouth: {texts[-1]}\n")
    code, rest, _ = listener.end(signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    lines = [*listener.lines, *rest.splitlines()]
    assert [line.partition("mouth: ")[2].strip() for line in lines if "mouth: " in line] == texts


def test_nothing_is_left_on_the_server_after_a_goodbye(server: Server, tmp_path: Path) -> None:
    assert run(url(server.address, "alice"), typed="/join lab\nhello\n").returncode == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "partyline.db")) as database:
        assert database.execute("select count(*) from clients").fetchall() == [(0,)]
    with Json(server.address, "bob") as bob:
        members = bob.request(Who())
        channels = bob.request(Channels())
    assert isinstance(members, Members)
    assert isinstance(channels, ChannelList)
    assert [member.name for member in members.members] == ["bob"]
    assert [(info.name, info.tail) for info in channels.channels] == [("lab", 1)]
