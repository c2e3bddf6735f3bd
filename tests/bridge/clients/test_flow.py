"""Flow control: Receive Maximum, clients that do not read or do not acknowledge, floods of requests and connections."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from bridge.clients.delivery import WINDOW
from bridge.clients.session import MqttSession
from server import Server
from store import open_store
from tests.support.clients import Json, endpoint
from tests.support.fixtures import StartProcess
from tests.support.mqtt import MqttLine, body
from tests.support.processes import Process, descriptors, memory, peak_memory, returns_to, threads
from tests.support.waiting import DEADLINE, eventually
from wire.frames import Join, Msg, Ping, Say
from wire.mqtt import (
    V5,
    V311,
    ConnAck,
    Connect,
    Packet,
    PingReq,
    Properties,
    Publish,
    Reason,
    Subscribe,
    Subscription,
    encode,
)

Mqtt = Callable[..., MqttLine]
Connecting = Callable[..., Json]

_MIB = 1 << 20


# Receive Maximum


@pytest.mark.parametrize("maximum", [1, 2, 7])
def test_receive_maximum(server: Server, mqtt: Mqtt, connect: Connecting, maximum: int) -> None:
    """The client never has more packets in flight, with any subscriptions, and gets all entries in the end."""
    alice = mqtt(server.address, "alice", properties=Properties(receive_maximum=maximum), acknowledge=False)
    alice.subscribe("chat/channels/#", "chat/to/alice/#")
    bob = connect(server.address, "bob")
    for channel in ("lab", "hall"):
        bob.request(Join(channel))
        bob.send(*[Say(f"{n}", channel) for n in range(20)])
    for n in range(20):
        bob.send(Msg("alice", f"{n}"))
    bob.request(Ping())
    waiting: list[int] = []
    acknowledged = 0
    while acknowledged < (60 if maximum == 1 else 100):
        alice.ping()
        if not waiting:
            waiting.append(alice.message("", lambda packet: packet.qos == 1).packet_id)
        waiting += [each.packet_id for each in alice.inbox if isinstance(each, Publish) and each.qos == 1]
        alice.inbox = []
        assert len(waiting) <= maximum
        taken = random.randint(1, len(waiting))
        alice.ack(*waiting[:taken])
        acknowledged += taken
        del waiting[:taken]
    alice.ping()
    assert alice.texts("lab") == alice.texts("hall") == [f"{n}" for n in range(20)]
    assert [body(packet)["text"] for packet in alice.messages("chat/to/alice/msg/bob")] == [f"{n}" for n in range(20)]
    for channel in ("lab", "hall"):
        texts = [packet.payload for packet in alice.messages(f"chat/channels/{channel}/text")]
        assert texts == [b"bob: %d" % n for n in range(20)]


def test_each_acknowledgement_sends_the_next_packet(server: Server, mqtt: Mqtt) -> None:
    """Also if many entries wait and others post meanwhile, with a Receive Maximum of 1."""
    alice = mqtt(server.address, "alice", properties=Properties(receive_maximum=1))
    alice.subscribe("chat/channels/lab")
    bob = mqtt(server.address, "bob")
    packets = [Publish("chat/from/bob/say/lab", b"%d" % n) for n in range(1_000)]
    bob.send(*packets)
    alice.hear("lab", "999")
    assert alice.texts("lab") == [f"{n}" for n in range(1_000)]


# Clients that do not read or do not acknowledge


def _say(line: MqttLine, count: int, start: int = 0) -> None:
    """Post numbers, and wait until the last one is stored."""
    for at in range(start, start + count, 1_000):
        data = [Publish("chat/from/sender/say/lab", b"%090d" % n) for n in range(at, min(at + 1_000, start + count))]
        line.send(*data[:-1])
        line.publish("chat/from/sender/say/lab", data[-1].payload)


def _numbers(line: MqttLine, upto: int) -> list[int]:
    """Return the numbers that were posted, in the order in which their text form came."""
    found: list[int] = []
    while not found or found[-1] < upto:
        line.inbox.clear()
        line.received.clear()
        line.read()
        found += [int(item.payload[8:]) for item in line.received if isinstance(item, Publish)]
    line.inbox.clear()
    return found


@pytest.mark.parametrize("qos", [0, 1])
def test_a_client_that_never_reads(process: Process, mqtt: Mqtt, qos: int) -> None:
    """The server waits for no slow reader, keeps little for it, and sends it everything in order when it reads."""
    count = 20_000
    sender, other = mqtt(process.address, "sender"), mqtt(process.address, "other")
    stuck = mqtt(process.address, "stuck", version=V311, room=4_096)
    for line in (other, stuck):
        line.subscribe("chat/channels/lab/text", qos=qos)
    _say(sender, 1_000)
    assert _numbers(other, 999) == list(range(1_000))
    before = memory(process.pid)
    _say(sender, count, 1_000)
    assert _numbers(other, count + 999) == list(range(1_000, count + 1_000))
    grown = memory(process.pid) - before
    print(f"the server grew by {grown / _MIB:.1f} MiB, of which the entries in memory are {count * 600 / _MIB:.1f}")
    assert grown < 40 * _MIB
    assert _numbers(stuck, count + 999) == list(range(count + 1_000))
    assert "Traceback" not in process.log


def test_a_client_that_never_acknowledges(process: Process, mqtt: Mqtt) -> None:
    """It gets as many packets as may be in flight and no others; the other clients get all."""
    count = WINDOW + 4_000
    sender, other = mqtt(process.address, "sender"), mqtt(process.address, "other")
    lazy = mqtt(process.address, "lazy", version=V311, acknowledge=False)
    for line in (other, lazy):
        line.subscribe("chat/channels/lab/text")
    _say(sender, count)
    got = _numbers(lazy, WINDOW - 257)
    assert _numbers(other, count - 1) == list(range(count))
    lazy.ping()
    got += [int(item.payload[8:]) for item in lazy.inbox if isinstance(item, Publish)]
    assert got == list(range(len(got)))
    assert len(got) <= WINDOW
    fresh = mqtt(process.address, "fresh")
    fresh.subscribe("chat/channels/lab/text")
    _say(sender, 10, count)
    assert _numbers(fresh, count + 9) == list(range(count, count + 10))
    assert "Traceback" not in process.log


_FILL = 1_000


def _publish(n: int) -> Packet:
    return Publish("chat/from/greedy/say/lab", b"x", 1, packet_id=n % 65_535 + 1)


def _refused(n: int) -> Packet:
    return Publish("chat/from/greedy/dance", b"x", 1, packet_id=n % 65_535 + 1)


def _history(n: int) -> Packet:
    return Publish("chat/from/greedy/history/lab", b"", 0)


def _subscribe(n: int) -> Packet:
    return Subscribe(n % 65_535 + 1, (Subscription("chat/presence/+"),))


def _ping(n: int) -> Packet:
    return PingReq()


@pytest.mark.parametrize(
    ("make", "count"),
    [(_publish, 200_000), (_refused, 60_000), (_history, 20_000), (_subscribe, 30_000), (_ping, 1_000_000)],
    ids=["acknowledgements", "refusals", "history", "retained", "pings"],
)
def test_a_client_that_asks_and_never_reads_costs_little_memory(
    start_process: StartProcess, tmp_path: Path, mqtt: Mqtt, make: Callable[[int], Packet], count: int
) -> None:
    config = tmp_path / "partyline.yaml"
    config.write_text("limits: {cache: 1000000}\n")
    process = start_process("--config", str(config))
    sender = mqtt(process.address, "sender")
    _say(sender, _FILL)
    greedy = mqtt(process.address, "greedy", room=4_096)
    greedy.subscribe("chat/to/greedy/#")
    before = memory(process.pid)
    greedy.socket.settimeout(0.5)  # then the server takes no more
    try:
        for at in range(0, count, 1_000):
            greedy.socket.sendall(b"".join([encode(make(n), V5) for n in range(at, at + 1_000)]))
    except TimeoutError:
        pass
    sender.do("say/lab", "the others are served")
    grown = peak_memory(process.pid) - before
    print(f"the server grew by {grown / _MIB:.1f} MiB")
    assert grown < 48 * _MIB
    greedy.reset()
    assert "Traceback" not in process.log


@pytest.mark.parametrize("what", ["retained", "welcome"])
def test_a_client_must_read_the_answers_to_one_piece_of_bytes(server: Server, mqtt: Mqtt, what: str) -> None:
    """A few bytes may ask for megabytes: the server answers each SUBSCRIBE with all retained messages."""
    greedy = mqtt(server.address, "greedy", room=4_096)
    for n in range(50):
        greedy.do(f"join/channel-{n}")
    greedy.subscribe("chat/to/greedy/register")
    session = server._mqtt.registry.find("greedy/greedy-line")
    assert isinstance(session, MqttSession)
    if what == "retained":
        for n in range(20):
            mqtt(server.address, f"user{n}")
        greedy.send(*[Subscribe(n, (Subscription("#"),)) for n in range(1, 5_000)])
    else:
        register = Publish("chat/from/greedy/register", properties=Properties(topic_alias=1))
        greedy.send(register, *[msgspec.structs.replace(register, topic="")] * 3_000)
    reader = session._reader
    eventually(lambda: reader._room is not None, lambda: "the server does not wait for the client")
    assert reader._waiting < 2 * server.chat.limits.backlog
    greedy.reset()
    eventually(lambda: server._mqtt.registry.find("greedy/greedy-line") is None, lambda: "it is still there")


# Floods of connections


def _counts(process: Process, mqtt: Mqtt) -> tuple[int, int]:
    """Return the numbers of threads and descriptors, after a first client has had the server open all it needs."""
    with MqttLine(process.address, "warm") as line:
        line.subscribe("#")
        line.do("say/lab", "x")
        line.disconnect()
    with Json(process.address, "settled") as line_of_json:
        line_of_json.request(Ping())
    eventually(lambda: _connections(process) == 0, lambda: "connections are left")
    return threads(process.pid), descriptors(process.pid)


def _connections(process: Process) -> int:
    port = f":{endpoint(process.address)[1]:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] in ("01", "04", "08") for row in rows)


def test_three_thousand_connections_leave_nothing(process: Process, mqtt: Mqtt) -> None:
    """They end before, within and after CONNECT, with a reset or without, with a kept session or without."""
    before = _counts(process, mqtt)
    size = memory(process.pid)
    last: list[socket.socket] = []
    for n in range(3_000):
        line = socket.create_connection(endpoint(process.address), DEADLINE)
        keep = Properties(session_expiry_interval=n % 2)
        hello = encode(Connect(version=V5, client_id=f"c{n % 7}", username=f"user{n % 50}", properties=keep), V5)
        line.sendall((b"\x10", hello[:9], hello, hello + encode(Subscribe(1, (Subscription("#", 1),)), V5))[n % 4])
        if n % 3:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        last.append(line)
        if len(last) > 20:
            last.pop(0).close()
    for line in last:
        line.close()
    mqtt(process.address, "honest").do("say/lab", "still here")
    eventually(lambda: _connections(process) <= 1, lambda: "connections are left")
    returns_to(process.pid, (before[0] + 1, before[1] + 1))
    assert memory(process.pid) < size + 24 * _MIB
    assert "Traceback" not in process.log, process.log


def test_three_thousand_wrong_passwords_leave_nothing(start_process: StartProcess, tmp_path: Path, mqtt: Mqtt) -> None:
    """The hash in the store is a cheap one, as a real one takes 40 ms by design."""
    folder = tmp_path / "data"
    store = open_store(folder)
    store.open_account("alice")
    cheap = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    store.set_password("alice", cheap.hash("secret-word"))
    store.close()
    process = start_process(folder=folder)
    mqtt(process.address, "alice", password=b"secret-word").close()  # the workers start with the first password
    before = _counts(process, mqtt)
    size = memory(process.pid)
    batch = 30
    for at in range(0, 3_000, batch):
        version = (V311, V5)[at // batch % 2]
        lines = [
            MqttLine(process.address, connect=False, version=version) for _ in range(batch)
        ]  # 100 at once, and then the next 100
        hello = Connect(version=version, client_id="c", username="alice", password=b"guess")
        for line in lines:
            line.send(hello)
        for line in lines:
            assert line.expect(ConnAck).reason == Reason.BAD_USER_NAME_OR_PASSWORD
            assert line.until_closed() == []
            line.close()
    returns_to(process.pid, before)
    assert memory(process.pid) < size + 24 * _MIB
    mqtt(process.address, "alice", password=b"secret-word").do("say/lab", "it is me")
    assert "Traceback" not in process.log, process.log


def test_few_passwords_are_verified_at_once(process: Process, mqtt: Mqtt) -> None:
    """Each verification takes 19 MiB for a moment."""
    mqtt(process.address, "alice").do("register", '{"password": "secret-word"}')
    lines = [mqtt(process.address, connect=False) for _ in range(12)]
    for line in lines:
        line.send(Connect(version=V5, client_id="c", username="alice", password=b"guess"))
    for line in lines:
        assert line.expect(ConnAck).reason == Reason.BAD_USER_NAME_OR_PASSWORD
    assert peak_memory(process.pid) < 400 * _MIB


def test_a_million_acknowledgements_of_no_packet(server: Server, mqtt: Mqtt) -> None:
    """They leave nothing in memory and do not acknowledge what is sent meanwhile."""
    alice = mqtt(server.address, "alice", version=V5, acknowledge=False)
    alice.subscribe("chat/channels/lab")
    bob = mqtt(server.address, "bob")
    bob.do("say/lab", "unacknowledged")
    alice.hear("lab", "unacknowledged")
    mine = alice.messages("chat/channels/lab")[0].packet_id
    noise = b"".join([b"\x40\x02" + id.to_bytes(2, "big") for id in range(1, 60_000) if id != mine])
    for _ in range(10):
        alice.send_bytes(noise)
    alice.ping()
    for n in range(3):
        bob.do("say/lab", f"{n}")
    alice.hear("lab", "2")
    alice.ack(mine)
    alice.ping()
