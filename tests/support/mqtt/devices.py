"""MQTT clients that others have made, behind one face: mosquitto_pub and mosquitto_sub, paho, and MQTT.js from npm."""

from __future__ import annotations

import fcntl
import json
import os
import queue
import shutil
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

from tests.support.clients import endpoint
from tests.support.waiting import DEADLINE
from wire.mqtt import V5, V311

MQTT_JS = "5.16.0"
Message = tuple[str, str]  # topic and payload


class Device(ABC):
    """A client with a session that is kept, under one client id. `filters` are subscribed to with QoS 1."""

    kind: ClassVar[str]

    def __init__(self, address: str, name: str, version: int, password: str | None, filters: tuple[str, ...]) -> None:
        """Connect and subscribe; returns when that is granted."""
        self.host, self.port = endpoint(address)
        self.name = name
        self.version = version
        self.password = password
        self.filters = filters
        self.heard: list[Message] = []
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Connect and subscribe."""

    @abstractmethod
    def publish(self, topic: str, payload: str, qos: int = 1) -> None:
        """Publish; returns when it is acknowledged."""

    @abstractmethod
    def close(self) -> None:
        """Say goodbye; the session is kept."""

    def expect(self, topic: str, fits: Callable[[str], bool] = lambda _: True) -> str:
        """The payload of the first message on that topic that fits, of those that came or as it comes."""
        looked = 0
        while True:
            for at in range(looked, len(self.heard)):
                if self.heard[at][0] == topic and fits(self.heard[at][1]):
                    return self.heard.pop(at)[1]
            looked = len(self.heard)
            self._await(None, topic)

    def _await(self, wanted: str | None, what: str = "") -> dict[str, Any]:
        """Take in events up to one of that name, or just the next; messages go to `heard`."""
        while True:
            try:
                event = self._events.get(timeout=DEADLINE)
            except queue.Empty:
                raise AssertionError(f"{self.kind}: no {wanted or what}; unread: {self.heard}") from None
            if event["event"] == "message":
                self.heard.append((event["topic"], event["payload"]))
            assert event["event"] != "error", event
            if wanted in (None, event["event"]):
                return event


class Mosquitto(Device):
    """mosquitto_sub listens, and a mosquitto_pub for each message. Two clients of one name: so it has a password."""

    kind = "mosquitto"

    def _command(self, program: str, client_id: str) -> list[str]:
        where = [program, "-h", self.host, "-p", str(self.port), "-V", "5" if self.version == V5 else "311"]
        who = ["-i", client_id, "-u", self.name, *(["-P", self.password] if self.password else [])]
        return [*where, *who]

    def _open(self) -> None:
        command = self._command("mosquitto_sub", f"{self.name}-sub")
        keep = ["-c", *(["-x", "1000"] if self.version == V5 else [])]
        topics = [part for each in (*self.filters, "chat/server") for part in ("-t", each)]
        self._process = subprocess.Popen(
            [*command, *keep, "-q", "1", "-F", "%t %p", *topics], stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._read, name=f"mosquitto-{self.name}").start()
        self.expect("chat/server")  # it is retained, so now the subscriptions are there

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            topic, _, payload = line.rstrip("\n").partition(" ")
            self._events.put({"event": "message", "topic": topic, "payload": payload})

    def publish(self, topic: str, payload: str, qos: int = 1) -> None:
        command = self._command("mosquitto_pub", f"{self.name}-pub")
        subprocess.run(
            [*command, "-q", str(qos), "-t", topic, "-m", payload], check=True, timeout=DEADLINE, capture_output=True
        )

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE)


class Paho(Device):
    """paho-mqtt with its own thread."""

    kind = "paho"

    def _open(self) -> None:
        protocol = MQTTProtocolVersion.MQTTv5 if self.version == V5 else MQTTProtocolVersion.MQTTv311
        clean = None if self.version == V5 else False
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, f"{self.name}-paho", clean, protocol=protocol, reconnect_on_failure=False
        )
        self._client.username_pw_set(self.name, self.password)
        for name in ("connect", "subscribe", "publish", "disconnect"):
            setattr(self._client, f"on_{name}", self._callback(name))
        self._client.on_message = lambda _client, _data, message: self._events.put(
            {"event": "message", "topic": message.topic, "payload": message.payload.decode()}
        )
        more: dict[str, Any] = {}
        if self.version == V5:
            keep = PahoProperties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            keep.SessionExpiryInterval = 1_000
            more = {"clean_start": False, "properties": keep}
        self._client.connect(self.host, self.port, **more)
        self._client.loop_start()
        connected = self._await("connect")
        assert not connected["arguments"][1].is_failure, connected
        self._client.subscribe([(each, 1) for each in self.filters])
        self._await("subscribe")

    def _callback(self, name: str) -> Any:
        def call(_client: Any, _data: Any, *arguments: Any) -> None:
            self._events.put({"event": name, "arguments": arguments})

        return call

    def publish(self, topic: str, payload: str, qos: int = 1) -> None:
        self._client.publish(topic, payload, qos)
        self._await("publish")

    def close(self) -> None:
        self._client.disconnect()
        self._await("disconnect")
        self._client.loop_stop()


_SCRIPT = """
const mqtt = require("mqtt");
const options = JSON.parse(process.argv[2]);
const tell = (event, more) => console.log(JSON.stringify({event, ...more}));
const client = mqtt.connect(options);
client.on("connect", (packet) => tell("connect", {present: packet.sessionPresent}));
client.on("message", (topic, payload) => tell("message", {topic, payload: payload.toString()}));
client.on("error", (error) => tell("error", {message: error.message}));
require("readline").createInterface({input: process.stdin}).on("line", (line) => {
  const [what, ...rest] = JSON.parse(line);
  if (what === "subscribe") client.subscribe(rest[0], {qos: 1}, (error, granted) => tell("subscribe", {granted}));
  if (what === "publish") client.publish(rest[0], rest[1], {qos: rest[2]}, (error) => tell("publish", {error}));
  if (what === "end") client.end(false, {}, () => { tell("end"); process.exit(0); });
});
"""


def install_mqtt_js() -> Path:
    """Return the folder in which node finds MQTT.js; npm installs it once for each user. Skip the test without it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("MQTT.js needs node and npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "partyline-tests" / f"mqtt-js-{MQTT_JS}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        pytest.skip(f"MQTT.js needs a folder: {error}")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other workers wait for the one that installs
        _install(folder)
    return folder


def _install(folder: Path) -> None:
    """Install MQTT.js there, unless it is there already."""
    problem = "" if (folder / "ready").exists() else _npm(folder)
    if problem:
        pytest.skip(problem)
    (folder / "device.js").write_text(_SCRIPT)


@cache
def _npm(folder: Path) -> str:
    """Return why npm cannot install it, or an empty string; asked once in a run."""
    options = ["--no-audit", "--no-fund", "--fetch-retries", "0", "--prefix", str(folder)]
    command = ["npm", "install", *options, f"mqtt@{MQTT_JS}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    except subprocess.TimeoutExpired:
        return "npm does not reach its registry"
    if done.returncode:
        return f"npm cannot install MQTT.js: {done.stderr.strip().splitlines()[:1]}"
    (folder / "ready").touch()
    return ""


class MqttJs(Device):
    """MQTT.js in node, told by lines what to do."""

    kind = "mqtt.js"

    def _open(self) -> None:
        folder = install_mqtt_js()
        options = {
            "host": self.host, "port": self.port, "protocolVersion": 5 if self.version == V5 else 4, "clean": False,
            "clientId": f"{self.name}-js", "username": self.name, "password": self.password, "reconnectPeriod": 0,
            **({"properties": {"sessionExpiryInterval": 1_000}} if self.version == V5 else {}),
        }  # fmt: skip
        self._process = subprocess.Popen(
            ["node", str(folder / "device.js"), json.dumps(options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        threading.Thread(target=self._read, name=f"mqtt.js-{self.name}").start()
        self._await("connect")
        self._tell("subscribe", list(self.filters))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._events.put(json.loads(line))

    def _tell(self, what: str, *rest: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, *rest]) + "\n")
        self._await(what)

    def publish(self, topic: str, payload: str, qos: int = 1) -> None:
        self._tell("publish", topic, payload, qos)

    def close(self) -> None:
        if self._process.poll() is None:
            self._tell("end")
        self._process.wait(DEADLINE)


DEVICES: dict[str, type[Device]] = {kind.kind: kind for kind in (Mosquitto, Paho, MqttJs)}
VERSIONS = {"3.1.1": V311, "5": V5}
