"""Tests of the benchmark: its arithmetic, its tables, and small rows against Partyline."""

from __future__ import annotations

import json
import re
import socket
from itertools import accumulate
from pathlib import Path

import pytest

from bench.__main__ import ROWS as ALL_ROWS
from bench.__main__ import main
from bench.load import find_compiler
from bench.markdown import markdown
from bench.mirror.pool import SiteBroker
from bench.mqtt.pool import Acknowledger, PartylineBroker
from bench.postgres import programs
from bench.rows.mirror import MIRROR_ROWS
from bench.rows.mqtt import MQTT_ROWS
from bench.rows.row import SELF, Measured, Metric, Plan, Row
from bench.rows.socket import ROWS
from bench.rows.tls import TLS_ROWS
from bench.socket.dialects import ID_PLACE, SizeModel
from bench.socket.pool import Feed, RunFailed
from bench.table import PARTYLINE, Result, lines, verdicts
from tests.support.long_runs import times
from tests.support.repository import ROOT


@pytest.mark.parametrize("sample", [1, 4, 9, 12, 101])
def test_size_model_converts_bytes_of_numbered_deliveries(sample: int) -> None:
    sizes = [150 + len(str(number)) for number in range(1, 1_200)]
    size_model = SizeModel(sum(sizes[:sample]), sample, numbered=True)
    for count, total in enumerate(accumulate(sizes[sample:]), 1):
        assert size_model.total(count) == total
        assert size_model.count(total) == count
        assert size_model.count(total - 1) == count - 1


def test_size_model_refuses_a_sample_of_unequal_deliveries() -> None:
    with pytest.raises(ValueError, match="3 deliveries"):
        SizeModel(301, 3, numbered=False)


def test_feed_continues_after_a_partial_send() -> None:
    feed = Feed(b"abcdefg\n", publisher=0)
    sent = b""
    while len(sent) < 200_000:
        sent += bytes(feed.take(len(sent), 200_000 - len(sent))[:4_321])
    assert sent == b"abcdefg\n" * 25_000


def test_feed_never_repeats_an_id() -> None:
    feeds = [Feed(f"<{ID_PLACE}>".encode(), publisher) for publisher in range(2)]
    ids: set[bytes] = set()
    for feed in feeds:
        sent = b""
        while len(sent) < 140_000:
            sent += feed.take(len(sent), 140_000 - len(sent))
        ids.update(sent.split(b"<"))
    assert len(ids) == 2 * 10_000 + 1


def test_table_compares_with_peers_and_targets() -> None:
    rates = Metric("rate", "1/s", targets={"NATS": 2.0, SELF: 100.0})
    row = Row("x", "some work", (rates,), lambda *_: Measured(()))
    results = {
        PARTYLINE: Result([Measured((90.0,)), Measured((300.0,)), Measured((110.0,))]),
        "NATS": Result([Measured((50.0,))]),
        "ngircd": Result([], failure="it did not start"),
    }
    text = "\n".join(lines(row, Plan(), results))
    assert "2.20 x" in text
    assert "failed: it did not start" in text
    assert verdicts(row, results) == {"x: rate, NATS": True, "x: rate, itself": True}


def test_the_markdown_table_never_rounds_in_partylines_favour() -> None:
    """Round a rate and its ratio down, a time and its ratio up; omit a row without Partyline."""
    metrics = (Metric("rate", "k/s", 1e3), Metric("time", "ms", 1e-3, more_is_better=False))
    row = Row("x", "work on {subscribers} receivers", metrics, lambda *_: Measured(()))
    results = {
        PARTYLINE: Result([Measured((1_999_999.0, 0.001_231))]),
        "NATS": Result([Measured((1_000_000.0, 0.001))]),
    }
    broken = Row("y", "nothing", metrics, lambda *_: Measured(()))
    lines = markdown([row, broken], Plan(), {"x": results, "y": {PARTYLINE: Result([], failure="it did not start")}})
    assert lines.splitlines() == [
        "| row | measured | Partyline | NATS |",
        "| --- | --- | --- | --- |",
        "| (x) work on 100 receivers | rate | 1,990 k/s | 1,000 k/s (1.9 x) |",
        "|  | time | 1.24 ms | 1.00 ms (1.3 x) |",
    ]


SIZES = {
    "subscribers": 3, "channels": 3, "seconds": 0.1, "idle": 20, "mqtt-idle": 20, "logins": 8, "connected": 12,
    "crowd": 20, "storm": 5, "returning": 8, "file-mib": 2,
}  # fmt: skip
# Each is another row with other sizes, over MQTT, or in TLS.
_ALIKE = {"a+id", "a4k", "a60k", "b", "e", "i", "m2", "m6", "m7", "t1"}


def usual(rows: list[str], but: set[str]) -> list[str]:
    """Return the rows without those that other rows resemble, or all rows in a campaign."""
    return rows if times("CAMPAIGN_ROWS", 0) else [row for row in rows if row not in but]


SMALL = ("--peers", "Partyline", "--quick", *(f"--{name}={value}" for name, value in SIZES.items()))


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler is installed")
@pytest.mark.parametrize("row", usual([row.key for row in (*ROWS, *MQTT_ROWS, *TLS_ROWS)], but=_ALIKE))
def test_every_row_runs_against_partyline(row: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "record.json"
    assert main([row, *SMALL, "--json", str(record)]) == 0, capsys.readouterr().out
    (measured,) = json.loads(record.read_text())[row][PARTYLINE]["rounds"]
    assert all(value > 0 for value in measured) or row in {"e", "m4", "t1"}  # memory may shrink with so few connections


@pytest.mark.skipif(find_compiler() is None or programs() is None, reason="needs a C compiler and PostgreSQL")
@pytest.mark.parametrize("row", usual(["p2", "p3", "p4"], but={"p4"}))
def test_rows_of_two_servers_run(row: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "record.json"
    assert main([row, *SMALL, "--json", str(record)]) == 0, capsys.readouterr().out
    (measured,) = json.loads(record.read_text())[row][PARTYLINE]["rounds"]
    assert len(measured) >= 3
    assert all(value >= 0 for value in measured)


@pytest.mark.parametrize("row", ["b", "c", "m3"])
def test_rows_run_with_the_generator_in_python(row: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "record.json"
    assert main([row, *SMALL, "--generator", "python", "--json", str(record)]) == 0, capsys.readouterr().out
    assert "Load generator: Python" in capsys.readouterr().out
    (measured,) = json.loads(record.read_text())[row][PARTYLINE]["rounds"]
    assert all(value > 0 for value in measured)


def test_the_guide_describes_every_row() -> None:
    guide = (ROOT / "bench" / "README.md").read_text()
    described = set(re.findall(r"^\| (\S+) \|", guide, re.MULTILINE)) - {"row", "---"}
    assert described == {row.key for row in ALL_ROWS}


@pytest.mark.parametrize("cut", [1, 7, 100, 1_000, 100_000])
def test_acknowledger_finds_the_identifiers_of_deliveries_that_get_longer(cut: int) -> None:
    publish = PartylineBroker().publish
    deliveries = [publish("chat/room", b'{"number":%d}' % number, number * 7) for number in range(4, 1_200)]
    data, had = b"".join(deliveries), b""
    server, client = socket.socketpair()
    with server, client:
        subscriber = Acknowledger(client, 2 + 2 + len("chat/room"), len(deliveries[0]), 4)
        for at in range(0, len(data), cut):
            server.sendall(data[at : at + cut])
            assert subscriber.receive(bytearray(100_000)) == len(data[at : at + cut])
            had += server.recv(100_000) if subscriber.acknowledged * 4 > len(had) else b""
    assert had == b"".join([b"\x40\x02" + (number * 7).to_bytes(2, "big") for number in range(4, 1_200)])


def test_acknowledger_refuses_a_duplicate() -> None:
    server, client = socket.socketpair()
    with server, client:
        delivery = PartylineBroker().publish("chat/room", b"hello", 1)
        subscriber = Acknowledger(client, 13, len(delivery), None)
        server.sendall(delivery + b"\x3a" + delivery[1:])
        with pytest.raises(RunFailed, match="duplicate"):
            subscriber.receive(bytearray(100))


@pytest.mark.skipif(not SiteBroker().find(), reason="mosquitto is not installed")
@pytest.mark.parametrize("row", usual([row.key for row in MIRROR_ROWS], but={"n0", "n4"}))
def test_mirror_rows_run_with_mosquitto(row: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "record.json"
    small = ["--quick", "--subscribers", "3", "--seconds", "0.2", "--json", str(record)]
    assert main([row, *small]) == 0, capsys.readouterr().out
    (measured,) = json.loads(record.read_text())[row]["Partyline"]["rounds"]
    assert len(measured) > 1
    assert measured[0] > 0 or row == "n2"  # the mirror may add no latency, by chance


def test_file_rows_run_against_partyline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["f0", "f1", "f4", "f5"]
    record = tmp_path / "record.json"
    small = ["--peers", "Partyline", "--quick", "--file-mib", "3", "--json", str(record)]
    assert main([*rows, *small]) == 0, capsys.readouterr().out
    found = json.loads(record.read_text())
    assert all(value > 0 for row in rows for measured in found[row]["Partyline"]["rounds"] for value in measured)
