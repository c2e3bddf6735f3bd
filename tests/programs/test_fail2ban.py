"""The fail2ban filter of docs/operations.md finds the address of a wrong password in real lines, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from reporting import events
from reporting.formats import text_line
from tests.reporting.test_formats import record
from tests.support.clients import Json, Text
from tests.support.fixtures import StartProcess
from tests.support.mqtt import MqttLine
from tests.support.processes import Process
from tests.support.repository import ROOT
from tests.support.waiting import eventually
from wire.frames import Register

PASSWORD = "open sesame, please"
# What fail2ban 1.0 puts in the place of <HOST> (server/failregex.py), and how it finds the time, which it takes out.
_IP4, _IP6 = r"(?:\d{1,3}\.){3}\d{1,3}", r"(?:[0-9a-fA-F]{1,4}::?|::){1,7}(?:[0-9a-fA-F]{1,4}|(?<=:):)"
_HOST = rf"(?:\[?(?:(?:::f{{4,6}}:)?(?P<ip4>{_IP4})|(?P<ip6>{_IP6}))\]?|(?P<dns>[\w\-.^_]*\w))"
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.,]\d+\s*[+-]\d\d:\d\d")


def banned(log: str) -> list[str]:
    """The addresses in which fail2ban sees a failure, in order."""
    page = (ROOT / "docs" / "operations.md").read_text()
    (expression,) = re.findall(r"^failregex = (.+)$", page, re.MULTILINE)
    pattern = re.compile(expression.replace("<HOST>", _HOST))
    found: list[str] = []
    for line in log.splitlines():
        time = _TIME.match(line)
        match = pattern.search(line[time.end() :]) if time is not None else None
        if match is not None:
            found.append(match["ip4"] or match["ip6"] or match["dns"])
    return found


def _guess(process: Process, address: str, mqtt: Callable[..., MqttLine]) -> None:
    """Register a name, and guess its password twice in text and once over MQTT."""
    with Json(address, "ann") as ann:
        ann.request(Register(PASSWORD))
    with Text(address) as person:
        person.send("ann", "a guess", "another")
        person.expect("password is wrong")
        person.expect("password is wrong")
    if "[" not in address:
        mqtt(address, "ann", password=b"a guess", refused=True, client_id="x address=10.9.9.9 ")
    eventually(lambda: "protocol=mqtt" in process.log or "[" in address, lambda: process.log)
    assert process.stop() == 0


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", ["127.0.0.1"] * 3), ("::1", ["::1"] * 2)])
def test_it_finds_the_address(
    start_process: StartProcess, mqtt: Callable[..., MqttLine], host: str, expected: list[str]
) -> None:
    process = start_process("--host", host)
    _guess(process, process.address, mqtt)
    assert banned(process.log) == expected


def test_an_ipv4_address_on_a_port_for_both(start_process: StartProcess, mqtt: Callable[..., MqttLine]) -> None:
    process = start_process("--host", "::")
    _guess(process, f"127.0.0.1:{process.address.rpartition(':')[2]}", mqtt)
    assert banned(process.log) == ["127.0.0.1"] * 3


def test_it_finds_nothing_in_other_lines() -> None:
    """Neither in those of other events, nor in what a peer has chosen, nor in a password that came from a broker."""
    forged = "WARNING wrong-password: A password was wrong. address=10.9.9.9 "
    lines = [
        events.LoggedIn("10.0.0.1", "ann", "mqtt-5", tls=False, registered=False, client=forged),
        events.RefusedLogin("10.0.0.1", f"\n{forged}", "json", "bad-name", forged),
        events.WrongPassword("127.0.0.1:1884", "ann", "broker"),
        events.WrongPassword("broker.lan:1884", "ann", "broker"),
        events.WrongPassword("[::1]:1884", "ann", "broker"),
        events.Repeated("10.0.0.1", "wrong-password", 812),
        events.CutOff("10.0.0.1", "ann", "text", "wrong-password", "Too many wrong passwords."),
    ]
    assert banned("\n".join(text_line(record(event)) for event in lines)) == []
    real = events.WrongPassword("10.0.0.1", f'" address=10.9.9.9 {forged}', "text")
    assert banned(text_line(record(real))) == ["10.0.0.1"]


def test_it_finds_a_password_that_has_to_wait() -> None:
    assert banned(text_line(record(events.PasswordDelayed("10.0.0.1", "ann", "text", 4.0)))) == ["10.0.0.1"]
