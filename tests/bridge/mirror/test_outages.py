"""Outages of the broker: it stops, restarts, restarts empty, or refuses the connection; no entry is lost."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import bridge.mirror.connection
import bridge.mirror.mirror
from bridge.mirror import BrokerConfig, Mirror
from bridge.mirror.turn import MirrorTurn
from reporting import events
from server import Server
from tests.support.brokers import Mosquitto, StartBroker, free_port
from tests.support.brokers.scripted import ScriptedBroker
from tests.support.brokers.site import Site
from tests.support.clients import Json
from tests.support.fixtures import StartProcess, StartServer
from tests.support.mqtt import MqttLine, body
from tests.support.reported import Reported
from tests.support.waiting import DEADLINE, eventually
from wire.frames import Delivered, Join, Msg, Say, Status, Whois
from wire.mqtt import V5, Properties

Connect = Callable[..., Json]
Mqtt = Callable[..., MqttLine]
pytestmark = pytest.mark.usefixtures("quick")
MOSQUITTO = pytest.mark.parametrize("broker_kind", ["mosquitto"])
KEPT = Properties(session_expiry_interval=1_000)


@pytest.fixture
def lasting(
    broker_kind: str, start_broker: StartBroker, start_server: StartServer, mqtt: Mqtt, quick: None,
    fluent: None,
) -> Site:  # fmt: skip
    """A site whose broker persists its data, as far as it can."""
    broker = start_broker(broker_kind, *(Mosquitto.KEEPS if broker_kind == "mosquitto" else ()))
    made = Site(start_server(broker=BrokerConfig(url=broker.url)), broker, mqtt)
    made.up()
    return made


def listen(site: Site, name: str) -> MqttLine:
    """A client of the broker with a persistent session, which reads the lab and its own topics."""
    more = {"properties": KEPT} if site.broker.version == V5 else {}
    return site.line(name, "chat/channels/lab", "chat/presence/+", clean=False, **more)


def numbers(*heard: MqttLine) -> list[int]:
    """Return the numbers of the lab's entries, in the order of their first arrival."""
    return list(dict.fromkeys([body(each)["number"] for line in heard for each in line.messages("chat/channels/lab")]))


@pytest.mark.parametrize("how", ["stop", "kill", "empty"])
def test_an_outage_of_the_broker(lasting: Site, connect: Connect, how: str, reported: Reported) -> None:
    site = lasting
    alice = connect(site.server.address, "alice")
    alice.request(Join("lab"))
    oven = listen(site, "oven")
    oven.ask("register")
    for n in range(50):
        alice.request(Say(f"before {n}", "lab"))
    oven.hear("lab", "before 49")
    site.wait(lambda status: status.behind == 0)
    alice.request(Msg("oven", "before"))
    alice.expect(Delivered)
    site.broker.stop() if how == "stop" else site.broker.kill()
    site.down()
    for n in range(700):
        alice.send(Say(f"meanwhile {n}", "lab"))
    alice.request(Say("the last", "lab"))
    alice.request(Msg("oven", "meanwhile"))
    assert alice.request(Whois("oven")).online, "the server cannot know better"
    assert site.status.behind == 701
    if how == "empty":
        site.broker.empty()
    site.broker.start()
    again = listen(site, "oven")
    site.up()
    site.wait(lambda status: status.behind == 0)
    again.do("register")
    again.message("chat/to/oven/msg/alice", lambda packet: body(packet)["text"] == "meanwhile")
    alice.expect(Delivered, lambda frame: frame.number == 2)
    assert site.retained("chat/presence/alice")["online"]
    assert site.retained("chat/server") == "online"
    alice.request(Say("after", "lab"))
    again.hear("lab", "after")
    had = numbers(oven, again)
    if how == "stop" and site.broker.kind != "amqtt":
        assert had == list(range(1, 753))
    else:
        assert had == sorted(had), "in order; a client that was disconnected has missed some"
    version = "5" if site.broker.version == V5 else "3.1.1"
    assert {(event.broker, event.version) for event in reported.of(events.MirrorConnected)} == {
        (site.broker.address, version)
    }
    assert 1 <= len(reported.of(events.MirrorDisconnected)) <= 3


def test_the_version_that_a_broker_speaks_is_found(
    quick: None, broker_kind: str, start_broker: StartBroker, start_server: StartServer, mqtt: Mqtt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """nats-server refuses MQTT 5; amqtt says nothing at all."""
    monkeypatch.setattr(bridge.mirror.connection, "_PATIENCE", 1.0)
    broker = start_broker(broker_kind)
    site = Site(start_server(broker=BrokerConfig(url=broker.url)), broker, mqtt)
    assert site.up().version == ("5" if broker.version == V5 else "3.1.1")


@MOSQUITTO
def test_a_broker_that_refuses_the_mirror_for_a_while(
    lasting: Site, connect: Connect, tmp_path: Path, reported: Reported
) -> None:
    site = lasting
    alice = connect(site.server.address, "alice")
    alice.request(Join("lab"))
    (tmp_path / "passwords").write_text("")
    site.broker.restart("allow_anonymous false", *Mosquitto.KEEPS)
    why = "it requires a user name and a password, or does not allow this machine"
    sentence = f"{site.broker.address} refused the connection: {why}."
    assert site.down("refused the connection").error == sentence
    attempts = len(site.broker.said)
    eventually(lambda: len(site.broker.said) > attempts + 20, lambda: "it does not try again")
    for n in range(10):
        alice.request(Say(f"{n}", "lab"))
    assert [event.error for event in reported.of(events.MirrorDisconnected)].count(sentence) == 1
    site.broker.restart(*Mosquitto.KEEPS)
    site.up()
    site.wait(lambda status: status.behind == 0)


def test_pauses_grow_and_differ(monkeypatch: pytest.MonkeyPatch, start_server: StartServer) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(bridge.mirror.mirror, "_PAUSES", (1.0, 60.0))

    def wait(turn: MirrorTurn, number: int, seconds: float) -> None:
        pauses.append(seconds)
        turn.closing = len(pauses) >= 12

    monkeypatch.setattr(MirrorTurn, "pause", wait)
    start_server(broker=BrokerConfig(url=f"mqtt://127.0.0.1:{free_port()}"))
    eventually(lambda: len(pauses) >= 12, lambda: f"{pauses}")
    for at, pause in enumerate(pauses):
        most = min(2.0**at, 60.0)
        assert most / 2 <= pause <= most
    assert len(set(pauses)) == len(pauses)


def test_pauses_begin_anew_after_a_stable_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    mirror = cast("Any", object.__new__(Mirror))
    mirror._connect_and_serve = lambda turn: "it ended"
    mirror._status = SimpleNamespace(disconnected=lambda error, quiet: len(pauses) in (3, 4))
    mirror._turn = SimpleNamespace(
        closing=False, is_over=lambda turn: len(pauses) == 7, is_lost=lambda turn: False,
        pause=lambda turn, seconds: pauses.append(seconds),
    )  # fmt: skip
    monkeypatch.setattr(bridge.mirror.mirror, "_PAUSES", (1.0, 60.0))
    monkeypatch.setattr(bridge.mirror.mirror, "random", SimpleNamespace(uniform=lambda least, most: most))
    mirror._serve(1)
    assert pauses == [1, 2, 4, 1, 1, 2, 4]


# What the operator is told


def failing(start_server: StartServer, reported: Reported, **config: str) -> str:
    """Return why the mirror does not connect: /status says it, the log says it once, and the chat goes on."""
    server = start_server(broker=BrokerConfig(**config))  # type: ignore[arg-type]
    assert server.chat.mirror_status is not None
    status = server.chat.mirror_status
    eventually(lambda: "Not connected yet" not in status().error, lambda: "it was not tried")
    error = status().error
    with Json(server.address, "alice") as alice:
        alice.request(Join("lab"))
        alice.request(Say("the chat goes on", "lab"))
        assert alice.request(Status()).bridge.error == error
    assert [event.error for event in reported.of(events.MirrorDisconnected)].count(error) == 1
    assert "\n" not in error
    return error


def test_a_wrong_password(
    start_broker: StartBroker, start_server: StartServer, tmp_path: Path, reported: Reported
) -> None:
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto_passwd is not installed")
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "partyline", "the one"], check=True)
    broker = start_broker("mosquitto", f"password_file {passwords}")
    error = failing(start_server, reported, url=f"mqtt://partyline:another@{broker.address}")
    assert (
        error == f"{broker.address} refused the connection: wrong user name or password, or this user may not connect."
    )
    assert "another" not in reported.text, "a password is for nobody to read"


def test_a_closed_port(start_server: StartServer, reported: Reported) -> None:
    port = free_port()
    error = failing(start_server, reported, url=f"mqtt://127.0.0.1:{port}")
    assert error == f"Could not connect to 127.0.0.1:{port}: Connection refused."


def test_an_unknown_host(start_server: StartServer, reported: Reported) -> None:
    error = failing(start_server, reported, url="mqtt://no-such-host.invalid")
    assert error.startswith("Could not connect to no-such-host.invalid:1883: ")


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a key and a self-signed certificate for that name."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, made = folder / "key.pem", folder / "certificate.pem"
    options = ["-nodes", "-days", "2", "-subj", "/CN=here", "-addext", f"subjectAltName={name}"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-keyout", str(key), "-out", str(made), *options]
    subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)
    return key, made


def test_tls_with_the_right_name_a_wrong_name_and_an_unknown_authority(
    start_broker: StartBroker, start_server: StartServer, tmp_path: Path, reported: Reported, mqtt: Mqtt
) -> None:
    key, made = certificate(tmp_path, "IP:127.0.0.1")
    plain, port = free_port(), free_port()
    broker = start_broker(
        "mosquitto", f"listener {port} 127.0.0.1", f"certfile {made}", f"keyfile {key}",
        f"listener {plain} 127.0.0.1", port=plain,
    )  # fmt: skip
    server = start_server(broker=BrokerConfig(url=f"mqtts://127.0.0.1:{port}", ca=str(made)))
    site = Site(server, broker, mqtt)
    site.up()
    oven = site.line("oven", "chat/channels/lab")
    with Json(server.address, "alice") as alice:
        alice.request(Join("lab"))
        alice.send(*[Say("x" * 1_000 + f" {n}", "lab") for n in range(2_000)])
        alice.request(Say("done", "lab"))
    oven.hear("lab", "done")
    assert len(oven.messages("chat/channels/lab")) == 2_001
    site.wait(lambda status: status.behind == 0)
    for n in range(300):
        oven.do("say/lab", "y" * 1_000 + f" {n}", 0)
    oven.ask("status")
    other = str(tmp_path / "other")
    for host, ca, part in (("localhost", str(made), "ostname mismatch"), ("127.0.0.1", None, "self")):
        config = BrokerConfig(url=f"mqtts://{host}:{port}", ca=ca)
        there = start_server(broker=config, root="other", data=f"{other}{host}")
        each = Site(there, broker, mqtt)
        error = each.down("The TLS handshake").error
        assert error.startswith(f"The TLS handshake with {host}:{port} failed: its certificate is not valid (")
        assert part in error
    both = start_server(broker=BrokerConfig(url=f"mqtts://127.0.0.1:{plain}", ca=str(made)), root="x", data=f"{other}x")
    assert Site(both, broker, mqtt).down("The TLS handshake")


def test_a_user_who_may_not_publish(
    start_broker: StartBroker, start_server: StartServer, tmp_path: Path, mqtt: Mqtt, connect: Connect,
    reported: Reported,
) -> None:  # fmt: skip
    rights = ("chat/from/#", "chat/to/#", "chat/server", "chat/presence/+", "read chat/#")
    (tmp_path / "acl").write_text("".join([f"topic {each}\n" for each in rights]))
    broker = start_broker("mosquitto", f"acl_file {tmp_path / 'acl'}")
    site = Site(start_server(broker=BrokerConfig(url=broker.url)), broker, mqtt)
    site.up()
    alice = connect(site.server.address, "alice")
    alice.request(Join("lab"))
    for n in range(5):
        alice.request(Say(f"{n}", "lab"))
    sentence = f"{broker.address} rejects some of our messages: our user may not connect, or may not use these"
    site.wait(lambda status: status.error.startswith(sentence))  # mosquitto 2.0.11 then ends the connection, too
    alice.request(Say("the chat goes on", "lab"))
    attempts = len(broker.said)
    eventually(lambda: len(broker.said) > attempts + 20, lambda: f"it does not try again: {broker.said[attempts:]}")
    assert reported.text.count("rejects some") == 2, "the complaint, and that the connection ended because of it"


def test_a_user_who_may_not_subscribe(
    start_broker: StartBroker, start_server: StartServer, reported: Reported, mqtt: Mqtt
) -> None:
    user = 'users: [{user: "partyline", password: "right", permissions: {subscribe: {deny: ["chat.from.>"]}}}]'
    broker = start_broker("nats", f"authorization {{ {user} }}")
    server = start_server(broker=BrokerConfig(url=f"mqtt://partyline:right@{broker.address}"))
    error = Site(server, broker, mqtt).down("not allow us").error
    assert error.startswith(f"{broker.address}: it does not allow us to subscribe to chat/from/#")


# The end of the server


def test_the_server_stops_at_once_during_an_outage(start_process: StartProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        process = start_process("--broker", f"mqtt://127.0.0.1:{port}")
        connection, _ = silent.accept()
        assert process.stop() == 0
        connection.close()
    process.start()
    eventually(lambda: "Could not connect" in process.log, lambda: process.log)
    assert process.stop() == 0
    assert "Traceback" not in process.log


def test_the_mirror_disconnects_when_the_server_stops(server: Server, start_process: StartProcess) -> None:
    broker = ScriptedBroker()
    process = start_process("--broker", broker.url)
    visit = broker.visit()
    visit.open()
    assert process.stop() == 0
    visit.until_closed()
    assert visit.messages("chat/server")[-1].payload == b"offline"
    broker.close()
