"""The clients of mosquitto, paho and MQTT.js, in both versions, in one room with a person at nc."""

from __future__ import annotations

import json
import queue
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server import Server
from tests.support.clients import Json, Text, endpoint
from tests.support.mqtt.devices import DEVICES, Device
from tests.support.processes import Process
from tests.support.repository import ROOT
from tests.support.waiting import DEADLINE
from wire.frames import Entry, Join

Open = Callable[..., Device]


@pytest.fixture(params=DEVICES)
def kind(request: pytest.FixtureRequest) -> str:
    """Each client in turn."""
    if request.param == "mosquitto" and shutil.which("mosquitto_sub") is None:
        pytest.skip("mosquitto_pub and mosquitto_sub are not installed")
    return str(request.param)


@pytest.fixture
def device(process: Process, kind: str, version: int) -> Iterator[Open]:
    """Return a function that opens a device called `dev`, after the test closes it."""
    made: list[Device] = []
    password = "secret-word" if kind == "mosquitto" else None

    def make() -> Device:
        filters = ("chat/to/dev/#", "chat/channels/#", "chat/direct/dev/+")
        made.append(DEVICES[kind](process.address, "dev", version, password, filters))
        return made[-1]

    yield make
    if made:
        made[-1].close()


def said(text: str) -> Callable[[str], bool]:
    """Return a predicate for messages: an entry with this text."""
    return lambda payload: bool(json.loads(payload).get("text") == text)


def ask(dev: Device, what: str, payload: str = "") -> Any:
    """Publish a request and return its answer."""
    dev.publish(f"chat/from/dev/{what}", payload)
    return json.loads(dev.expect(f"chat/to/dev/{what}"))


def registered(process: Process, kind: str) -> None:
    """Register `dev`: the two clients of mosquitto share the name, which needs a password."""
    if kind == "mosquitto":
        with Text(process.address, "dev") as person:
            person.send("/register secret-word")
            person.expect("The name dev is now registered")


def test_a_device_through_all_commands(process: Process, device: Open, kind: str, dial: Callable[..., Text]) -> None:
    """From the first post to a killed server; messages to the device wait while it is away."""
    nick = dial(process.address, "nick")
    nick.send("/join lab")
    nick.expect("You are in lab")
    registered(process, kind)
    dev = device()

    exchange_messages(dev, nick)
    ask_everything(dev, nick)

    dev.close()
    nick.expect("dev is away")
    nick.send("/msg dev for later", "nobody hears this")
    nick.expect("[lab] nick: nobody hears this")
    dev = device()
    dev.expect("chat/to/dev/msg/nick", said("for later"))
    dev.expect("chat/channels/lab", said("nobody hears this"))

    dev.close()
    nick.expect("dev is away")
    process.restart()
    nick = dial(process.address, "nick")
    nick.send("lab: before you were back", "/msg dev and this")
    nick.expect("[lab] nick: before you were back")
    dev = device()
    dev.expect("chat/channels/lab", said("before you were back"))
    dev.expect("chat/to/dev/msg/nick", said("and this"))
    assert "Traceback" not in process.log, process.log


def exchange_messages(dev: Device, nick: Text) -> None:
    """In a channel and directly, at every QoS."""
    assert ask(dev, "join/lab")["channel"] == "lab"
    nick.expect("dev has joined lab")
    dev.publish("chat/from/dev/say/lab", "21.5 °C in the lab", 1)
    nick.expect("[lab] dev: 21.5 °C in the lab")
    dev.expect("chat/channels/lab", said("21.5 °C in the lab"))
    assert dev.expect("chat/channels/lab/text") == "dev: 21.5 °C in the lab"
    for qos in (0, 2):
        dev.publish("chat/from/dev/say/lab", f"at QoS {qos}", qos)
        nick.expect(f"[lab] dev: at QoS {qos}")
    dev.publish("chat/from/dev/say/lab", json.dumps({"text": "with an id", "id": "7"}))
    dev.expect("chat/to/dev/stored", lambda payload: json.loads(payload).get("id") == "7")

    nick.send("too warm: open the window")
    dev.expect("chat/channels/lab", said("too warm: open the window"))
    nick.send("/msg dev are you sure?")
    dev.expect("chat/to/dev/msg/nick", said("are you sure?"))
    dev.publish("chat/from/dev/msg/nick", "quite")
    nick.expect("dev -> nick: quite")


def ask_everything(dev: Device, nick: Text) -> None:
    """Requests about history and about each other."""
    assert [entry["text"] for entry in ask(dev, "history/lab", '{"limit": 2}')["entries"]] == [
        "with an id", "too warm: open the window",
    ]  # fmt: skip
    known = ask(dev, "lookup/nick")
    assert (known["online"], known["doors"]) == (True, ["socket"])
    nick.send("/whois dev")
    nick.expect("dev is online")


def test_a_refusal_is_told(device: Open, kind: str, process: Process) -> None:
    registered(process, kind)
    dev = device()
    dev.publish("chat/from/dev/say/a b", "x", 0)
    assert json.loads(dev.expect("chat/to/dev/error"))["code"] == "bad-name"
    if kind == "paho":  # the other clients end with an error on MQTT 5
        dev.publish("chat/from/bob/say/lab", "I am bob")
        error = json.loads(dev.expect("chat/to/dev/error"))
        assert (error["code"], error["topic"]) == ("not-allowed", "chat/from/bob/say/lab")


# The examples of the documents


def examples(file: str, start: str) -> list[str]:
    """Return the lines of code blocks that begin with `start`, without those about another machine."""
    lines = Path(ROOT, file).read_text().splitlines()
    return [line for line in lines if line.startswith(start) and " -h " not in line]


@pytest.mark.skipif(shutil.which("mosquitto_sub") is None, reason="mosquitto_pub and mosquitto_sub are not installed")
def test_the_examples_with_mosquitto(server: Server) -> None:
    """One after the other, as a person types them; the commands that listen keep running."""
    port = ["-h", "127.0.0.1", "-p", str(endpoint(server.address)[1])]
    listening: list[Listener] = []
    try:
        for line in examples("README.md", "mosquitto_") + examples("docs/mqtt.md", "mosquitto_"):
            program, *arguments = shlex.split(line, comments=True)
            if program == "mosquitto_sub":
                listening.append(Listener([program, *port, *arguments]))
            else:
                subprocess.run([program, *port, *arguments], check=True, timeout=DEADLINE, capture_output=True)
        as_text, for_bob, for_oven = listening
        assert as_text.hear() == "oven: bread is done"
        assert json.loads(for_bob.hear())["text"] == "come!"
        assert '"online":true' in for_oven.hear("chat/to/oven/lookup/bob ")
        assert '"text":"bread is done"' in for_oven.hear("chat/to/oven/history/kitchen ")
    finally:
        for one in listening:
            one.close()


class Listener:
    """A mosquitto_sub that has subscribed; the state of the server, which it also asks for, shows that."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen([*command, "-t", "chat/server"], stdout=subprocess.PIPE, text=True)
        self._lines: queue.Queue[str] = queue.Queue()
        self._heard: list[str] = []
        self._reader = threading.Thread(target=self._read, name="mosquitto-listener")
        self._reader.start()
        self._take(lambda line: line.endswith("online"))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    def _take(self, fits: Callable[[str], bool]) -> str:
        """Return the first message that fits. The others stay: the answers of two connections may swap places."""
        while True:
            for line in self._heard:
                if fits(line):
                    self._heard.remove(line)
                    return line
            try:
                self._heard.append(self._lines.get(timeout=DEADLINE))
            except queue.Empty:
                raise AssertionError(f"it did not come; heard: {self._heard}") from None

    def hear(self, start: str = "") -> str:
        """Return the first message that begins with `start`."""
        return self._take(lambda line: line.startswith(start))

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        assert self._process.stdout is not None
        self._process.stdout.close()


def test_the_example_with_paho(process: Process, connect: Callable[..., Json]) -> None:
    text = Path(ROOT, "docs/mqtt.md").read_text()
    code = text[text.index("client = mqtt.Client(") :].partition("```")[0]
    code = code.replace("7000", str(endpoint(process.address)[1])).replace("localhost", "127.0.0.1")
    listener = connect(process.address, "listener")
    listener.request(Join("kitchen"))
    with subprocess.Popen([sys.executable, "-c", f"import paho.mqtt.client as mqtt\n{code}"]) as program:
        entry = listener.expect(Entry)
        program.terminate()
    assert (entry.sender, entry.text, entry.id) == ("oven", "220 degrees", "reading-17")
