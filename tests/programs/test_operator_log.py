"""The operator's log of a running server: a line for each event, with the address, and neither secrets nor messages."""

from __future__ import annotations

import re
import resource
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.clients import Json, Text, endpoint
from tests.support.fixtures import StartProcess
from tests.support.mqtt import MqttLine
from tests.support.processes import JSON_LOG, LogLines, Process
from wire import VERSION
from wire.frames import Attach, Error, Hello, Join, Msg, Ping, Register, Say, Stored
from wire.mqtt import V5, V311, Connect, Disconnect, PubAck, Publish, Reason, Will

HERE = {"address": "127.0.0.1"}
PASSWORD = "open sesame, please"
Mqtt = Callable[..., MqttLine]
# A line of text: what begins with a time, and the lines of a traceback. Nothing else may be in the log.
LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d (INFO|WARNING|ERROR) [a-z-]+: [^=\"]*\.( [a-z_]+=\S[ -~]*)?"
)


@pytest.fixture
def start(start_process: StartProcess, tmp_path: Path) -> Callable[..., tuple[Process, LogLines]]:
    """Start a server with these limits, and a log in JSON."""

    def make(*options: str, **limits: int) -> tuple[Process, LogLines]:
        config = tmp_path / "limits.yaml"
        config.write_text(yaml.safe_dump({"limits": limits}))
        process = start_process(*JSON_LOG, "--config", str(config), *options)
        return process, LogLines(process)

    return make


Start = Callable[..., tuple[Process, LogLines]]


def test_start_and_stop(start: Start) -> None:
    process, log = start()
    line = log.wait("start", listening=process.address, version=VERSION, level="info")
    assert line["data"] == str(process.folder)
    assert process.stop() == 0
    assert [each["sentence"] for each in log.all("stop")] == ["The server has stopped."]


def test_a_login_and_its_way(start: Start, mqtt: Mqtt) -> None:
    process, log = start()
    with Text(process.address, "ann"), Json(process.address, "ben") as ben:
        ben.request(Register(PASSWORD))
        mqtt(process.address, "carol", version=V311, client_id="one")
        mqtt(process.address, None, version=V5, client_id="oven 1")
        guest = {**HERE, "tls": False, "registered": False}
        log.wait("login", user="ann", protocol="text", **guest)
        log.wait("login", user="ben", protocol="json", **guest)
        log.wait("registered", user="ben", protocol="json", **HERE)
        log.wait("login", user="carol", protocol="mqtt-3.1.1", client="one", **guest)
        assert log.wait("login", protocol="mqtt-5", client="oven 1", **guest)["user"].startswith("guest-")
    log.wait("logout", user="ann", protocol="text", **HERE)
    log.wait("logout", user="ben", protocol="json", **HERE)
    with Json(process.address, "ben", password=PASSWORD):
        log.wait("login", user="ben", registered=True)
    assert len(log.all("login")) == 5


def test_a_wrong_password_on_every_door(start: Start, mqtt: Mqtt) -> None:
    process, log = start()
    with Json(process.address, "ann") as ann:
        ann.request(Register(PASSWORD))
    with Text(process.address) as person, Json(process.address) as program:
        person.send("ann", "a guess of text")
        person.expect("password is wrong")
        assert program.request(Hello(name="Ann", password="a guess of JSON")).code == "wrong-password"
        for version in (V311, V5):
            mqtt(process.address, "ann", version=version, password=b"a guess of MQTT", refused=True)
        for protocol in ("text", "json", "mqtt-3.1.1", "mqtt-5"):
            line = log.wait("wrong-password", user="ann", protocol=protocol, **HERE)
            assert line["level"] == "warning"
    assert len(log.all("wrong-password")) == 4
    assert "guess" not in process.log


def test_too_many_wrong_passwords_end_the_connection(start: Start) -> None:
    process, log = start(password_tries=1)
    with Json(process.address, "ann") as ann:
        ann.request(Register(PASSWORD))
    with Text(process.address) as person:
        person.send("ann", "a guess")
        person.until_closed()
    log.wait("cut-off", user="ann", protocol="text", reason="wrong-password", **HERE)


def test_a_refused_connection(start: Start) -> None:
    process, log = start(connections=2, connections_per_address=1)
    with Text(process.address, "ann"):
        with Text(process.address) as second:
            assert "Too many connections" in second.until_closed()
        log.wait("refused-connection", reason="address-full", level="warning", **HERE)
        with socket.socket() as other, socket.socket() as third:
            for line, source in ((other, "127.0.0.2"), (third, "127.0.0.3")):
                line.bind((source, 0))
                line.connect(endpoint(process.address))
            log.wait("refused-connection", reason="server-full", address="127.0.0.3")


def test_a_refused_login(start: Start, mqtt: Mqtt) -> None:
    process, log = start()
    with Json(process.address, "ann"), Json(process.address) as second:
        assert second.request(Hello(name="ann")).code == "name-taken"
        mqtt(process.address, "ann", refused=True)
        mqtt(process.address, "a/b", refused=True)
        log.wait("refused-login", user="ann", protocol="json", reason="name-taken", **HERE)
        log.wait("refused-login", user="ann", protocol="mqtt-5", reason="name-taken", **HERE)
        log.wait("refused-login", user="a/b", protocol="mqtt-5", reason="bad-name", **HERE)
    assert process.stop() == 0
    assert not log.all("cut-off"), "one line for each"


def test_a_request_that_is_not_allowed_is_reported_once(start: Start, mqtt: Mqtt) -> None:
    process, log = start()
    oven = mqtt(process.address, "oven")
    for n in range(5):
        oven.send(Publish("chat/from/ann/say/lab", b"as somebody else", 1, packet_id=n + 1))
        assert oven.expect(PubAck).reason == Reason.NOT_AUTHORIZED
    log.wait("refused-request", user="oven", protocol="mqtt-5", request="publish", level="warning", **HERE)
    assert oven.subscribe("chat/to/ann/#", "chat/to/ben/#") == (Reason.NOT_AUTHORIZED, Reason.NOT_AUTHORIZED)
    log.wait("refused-request", user="oven", request="subscribe", detail="chat/to/ann/#", **HERE)
    with Json(process.address, "ann"), Json(process.address) as other:
        assert other.request(Attach(name="ann", token="a guessed token")).code == "not-allowed"
        log.wait("refused-request", protocol="json", request="attach", **HERE)
    assert process.stop() == 0
    assert len(log.all("refused-request")) == 3
    assert "guessed" not in process.log


def test_a_refused_will(start: Start, mqtt: Mqtt) -> None:
    process, log = start()
    mqtt(process.address, "oven", will=Will("chat/from/ann/say/lab", b"as somebody else"), refused=True)
    assert log.wait("refused-will", user="oven", protocol="mqtt-5", level="warning", **HERE)["detail"]
    assert process.stop() == 0
    assert not log.all("cut-off")
    assert not log.all("refused-login")


def test_a_peer_that_is_cut_off_and_why(start: Start, mqtt: Mqtt) -> None:
    process, log = start(login_seconds=1, payload=2_000)
    with Text(process.address) as silent:
        silent.until_closed()
        log.wait("cut-off", protocol="text", reason="too-slow", level="warning", **HERE)
    oven = mqtt(process.address, "oven", keep_alive=1)
    log.wait("cut-off", user="oven", protocol="mqtt-5", reason="too-slow", **HERE)
    oven.close()
    lamp = mqtt(process.address, "lamp")
    lamp.send_bytes(b"\xf0\x00" * 3)
    log.wait("cut-off", user="lamp", reason="malformed", **HERE)
    fan = mqtt(process.address, "fan")
    fan.send(Publish("chat/from/fan/say/lab", b"x" * 3_000))
    log.wait("cut-off", user="fan", reason="too-long", **HERE)
    early = mqtt(process.address, connect=False)
    early.send_bytes(b"\x10\xff\xff\xff\xff\x7f")
    log.wait("cut-off", protocol="unknown", reason="malformed", **HERE)


def test_a_peer_of_another_protocol(start: Start) -> None:
    process, log = start()
    with socket.create_connection(endpoint(process.address)) as line:
        line.sendall(b"POST /chat HTTP/1.1\r\nHost: here\r\n\r\nann\nhello\n")
        log.wait("wrong-protocol", saw="HTTP", level="warning", **HERE)


def test_a_take_over(start: Start, mqtt: Mqtt) -> None:
    process, log = start()
    first = mqtt(process.address, "oven", client_id="one")
    mqtt(process.address, "oven", client_id="one")
    log.wait("taken-over", user="oven", old_address="127.0.0.1", **HERE)
    first.until_closed()
    with Json(process.address, "ann") as ann, Json(process.address, "ann", token=ann.welcome.token):
        ann.until_closed()
        log.wait("taken-over", user="ann", old_address="127.0.0.1", **HERE)
    assert process.stop() == 0
    assert len(log.all("taken-over")) == 2


def test_a_limit_is_reported_once_for_a_connection(start: Start, mqtt: Mqtt) -> None:
    process, log = start(channels=1, filters=1, posts_per_second=1, posts_burst=1, line=500)
    with Json(process.address, "ann") as ann:
        ann.request(Join("lab"))
        for n in range(3):
            assert ann.request(Join(f"lab{n}")).code == "too-many-channels"
        ann.send_bytes((b"x" * 1_000 + b"\n") * 3)
        for _ in range(3):
            assert ann.expect(Error).code == "too-long"
        for n in range(3):
            assert isinstance(ann.request(Say(f"{n}", "lab")), Stored)
        mine = {"user": "ann", "protocol": "json", "level": "warning", **HERE}
        for limit in ("too-many-channels", "too-long", "posts_per_second"):
            log.wait("limit-reached", limit=limit, **mine)
    oven = mqtt(process.address, "oven")
    assert oven.subscribe("a") == (1,)
    for topic_filter in ("b", "c"):
        assert oven.subscribe(topic_filter) == (Reason.QUOTA_EXCEEDED,)
    log.wait("limit-reached", user="oven", limit="quota", detail="b", **HERE)
    assert process.stop() == 0
    assert len(log.all("limit-reached")) == 4


def test_a_message_has_no_line(start: Start, mqtt: Mqtt) -> None:
    process, _ = start(posts_per_second=0)
    with Json(process.address, "ann") as ann, Text(process.address, "ben") as ben:
        oven = mqtt(process.address, "oven")
        oven.subscribe("chat/channels/#")
        ann.request(Join("lab"))
        ben.send("/join lab")
        for n in range(50):
            ann.request(Say(f"{n}", "lab"))
            ann.request(Msg("ben", f"{n}"))
            ben.send(f"a line {n}", f"/msg ann {n}")
            oven.do("say/lab", f"{n}")
            oven.ping()
        ann.request(Ping())
        oven.send(Disconnect())
    assert process.stop() == 0
    assert len(process.log.splitlines()) == 2 + 3 + 3  # start and stop, logins and logouts


def test_wills_that_come_too_often(start: Start, mqtt: Mqtt) -> None:
    """Their lines count for the address, like all that a peer can cause."""
    process, log = start(wills_per_minute=1, log_lines=5)
    for _ in range(10):
        mqtt(process.address, "oven", client_id="1", will=Will("chat/from/oven/say/lab", b"lost")).close()
    mqtt(process.address, "oven", client_id="1").disconnect()  # it was let in after the last will
    log.wait("will-failed", user="oven", level="warning", **HERE)
    assert process.stop() == 0
    assert len(log.all("will-failed", **HERE)) == 5
    assert [line["count"] for line in log.all("repeated", of="will-failed", **HERE)] == [4]


def test_a_flood_does_not_fill_the_disk(start: Start) -> None:
    process, log = start(connections_per_address=1, log_lines=5)
    with Text(process.address, "ann"):
        for _ in range(200):
            with Text(process.address) as other:
                other.until_closed()
        assert process.stop() == 0
    assert len(log.all("refused-connection")) == 5
    assert [line["count"] for line in log.all("repeated", of="refused-connection", address="127.0.0.1")] == [195]


def test_the_store_fails_and_works_again(start: Start) -> None:
    process, log = start()
    with Json(process.address, "ann") as ann:
        ann.request(Join("lab"))
        for _ in range(20):  # the database has more bytes than the log then, which has room within the same limit
            ann.request(Say("x" * 16_000, "lab"))
        before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (200_000, before[1]))
        for n in range(5):
            assert ann.request(Say(f"{n}", "lab")).code == "not-stored"
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)
        assert isinstance(ann.request(Say("again", "lab")), Stored)
        error = log.wait("store-failing", level="error")["error"]
        assert str(process.folder) in error
        log.wait("store-recovered", refused=5, error=error)
    assert len(log.all("store-failing")) == 1


def test_the_folder_is_removed(start: Start) -> None:
    process, log = start()
    with Json(process.address, "ann") as ann:
        ann.request(Join("lab"))
        shutil.rmtree(process.folder)
        assert ann.request(Say("lost?", "lab")).code == "not-stored"
        log.wait("store-failing")


def test_secrets_are_not_in_the_log(start: Start, mqtt: Mqtt) -> None:
    """Not with the lowest level either, nor from the broker's address and from tracebacks of library code."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"mqtt://partyline:brokerpass@127.0.0.1:{closed.getsockname()[1]}"
        process, log = start("--log-level", "debug", "--broker", url)
        log.wait("mirror-disconnected", broker=f"127.0.0.1:{closed.getsockname()[1]}")
    with Json(process.address, "ann") as ann:
        token = ann.welcome.token
        ann.request(Register(PASSWORD))
        mqtt(process.address, "ann", password=PASSWORD.encode())
        mqtt(process.address, "ann", password=b"mistyped sesame", refused=True)
        with Text(process.address) as person:
            person.send("ann", "mistyped sesame", PASSWORD, "/register another sesame")
            person.expect("Welcome")
        oven = mqtt(process.address, "oven")
        oven.do("register", "fourth sesame")
        ann.request(Msg("oven", "a message of sesame"))
    assert process.stop() == 0
    assert not re.search(f"sesame|brokerpass|{re.escape(token)}", process.log), process.log


HOSTILE = (
    "x\n2026-12-01T00:00:00.000+00:00 WARNING wrong-password: A password was wrong. address=10.9.9.9 user=root",
    'x" address=10.9.9.9 user="y', "x\x1b[2Jx", "x\u202ex", "x\u2028x\x85x", "x\x7fx", "x" * 5_000,
)  # fmt: skip


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_peer_can_forge_a_line(start_process: StartProcess, mqtt: Mqtt, form: str) -> None:
    """By names, client ids, passwords, topics, channels and lines, in every dialect; each line stays short, too."""
    process = start_process("--log-format", form)
    for bad in HOSTILE:
        with Json(process.address) as program:
            for _ in range(3):
                program.send(Hello(name=bad, password=bad))
            program.until_closed()
        with Text(process.address) as person:
            person.send(bad, bad, bad)
            person.socket.shutdown(socket.SHUT_WR)
            person.until_closed()
        for_mqtt = re.sub("[\x00-\x1f\x7f-\x9f]", "?", bad)  # MQTT permits no control characters
        for name, client in ((bad, "one"), (None, bad[:200]), (for_mqtt, "two"), (None, for_mqtt[:200])):
            line = mqtt(process.address, connect=False)
            line.send(Connect(version=V5, client_id=client, username=name), Disconnect())
            line.until_closed()
        oven = mqtt(process.address, "oven", client_id="three")
        oven.send(Publish(f"chat/from/ann/say/{for_mqtt}", b"x", 1, packet_id=1))
        oven.close()
    assert process.stop() == 0
    lines = process.log.split("\n")[:-1]
    assert len(lines) > 20
    for each in lines:
        assert re.fullmatch("[ -~]{1,1500}", each), each
        assert form == "json" or LINE.fullmatch(each), each
