"""The program: `python -m bench` starts each server in turn, runs the load and prints the table."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from bench.load.description import SHORTEST_TEXT
from bench.rows.files import FILE_ROWS
from bench.rows.mirror import MIRROR_ROWS
from bench.rows.mqtt import MQTT_ROWS
from bench.rows.postgres import POSTGRES_ROWS
from bench.rows.row import QUICK, Measured, Plan, Row
from bench.rows.socket import ROWS as SOCKET_ROWS
from bench.rows.tls import TLS_ROWS
from bench.socket.pool import RunFailed

from .markdown import markdown
from .meter import DISTURBED, wait_until_idle
from .peers import PEERS, Peer
from .table import PARTYLINE, Result, heading, lines, verdicts

ROWS = (*SOCKET_ROWS, *MQTT_ROWS, *MIRROR_ROWS, *FILE_ROWS, *TLS_ROWS, *POSTGRES_ROWS)
RUN_SECONDS = 180  # after which a run counts as failed


SIZES = {  # the fields of a plan that have an option, with its help
    "rounds": "rounds; the table shows their medians",
    "seconds": "seconds of load in each run",
    "size": "bytes of text in a message",
    "subscribers": "subscribers in rows a, a4k, a60k, c, d, m0, m2, n4, p0, p1, p3 and p4",
    "channels": "channels in row b",
    "rate": "messages a second in rows d, p2 and p4",
    "mqtt_rate": "messages a second in rows m3 and n2",
    "idle": "connections in rows e and t1",
    "mqtt_idle": "connections in row m4",
    "logins": "logins in rows f and m6, each time",
    "connected": "connections in rows f and m6 before the second time",
    "crowd": "connections in rows h and m7",
    "storm": "users who log in at once in row j",
    "returning": "clients in rows i and m8",
    "missed": "messages that each of these clients missed",
    "entries": "entries of the channel in row g",
    "backlog": "entries in row n3",
    "file_mib": "MiB of the file in rows f0, f1, f4, f5 and t0",
    "window": "undelivered messages in rows a, b, m0 to m2, n0 and n1 (default: set for each server)",
    "patience": "seconds to wait for an idle machine before a run, and to repeat a disturbed run",
}


def options() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure Partyline, NATS, ngircd and Mosquitto with one load generator in the same run. "
        "Partyline commits every message to SQLite before it delivers it; the others store nothing, "
        "except NATS in rows m1 to m3.",
        epilog="Rows: " + "; ".join(row.titled(Plan()) for row in ROWS) + ". "
        "In rows a to d every publisher is a member of its channel and receives its own messages, except with ngircd; "
        "over MQTT publishers do not subscribe. Every delivery counts. bench/README.md says what each row measures and "
        "whom it favours. 'Partyline is' is Partyline's number divided "
        "by the peer's. In rows n0 to n4, 'server' is the processor time of Partyline and the broker together.",
    )
    default = Plan()
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"rows to measure (default: all): {_names(ROWS)}")
    parser.add_argument("--peers", help="servers to measure, separated by commas (default: all that are installed)")
    parser.add_argument("--quick", action="store_true", help="small loads and one round, to check that the rows work")
    for name, meaning in SIZES.items():
        value = getattr(default, name)
        described = f"{meaning} (default {value:,})" if value is not None else meaning
        kind = float if isinstance(value, float) else int
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=described)
    parser.add_argument(
        "--generator", choices=("c", "python"), help="load generator (default: c if there is a C compiler)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers of every round to FILE")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="also write the medians to FILE, as the README's table"
    )
    return parser


def _names(rows: Sequence[Row]) -> str:
    return ", ".join(row.key for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return 1 if Partyline failed in a row, otherwise 0. Wrong options exit with 2."""
    parser = options()
    given = vars(parser.parse_args(arguments))
    rows = [row for row in ROWS if not given["rows"] or row.key in given["rows"]]
    if unknown := set(given["rows"]) - {row.key for row in ROWS}:
        parser.error(f"unknown row: {', '.join(sorted(unknown))}. The rows are {_names(ROWS)}.")
    peers = _chosen(parser, given["peers"])
    sizes = {key: value for key, value in given.items() if key in Plan.__dataclass_fields__ and value is not None}
    plan = replace(QUICK if given["quick"] else Plan(), **sizes)
    if plan.size < SHORTEST_TEXT:
        parser.error(f"--size: a message has at least {SHORTEST_TEXT} bytes")
    signal.signal(signal.SIGTERM, _stop)
    print(_conditions(peers, plan), heading(), sep="\n", flush=True)
    results = {}
    for row in rows:
        results[row.key] = measure(row, peers, plan)
        print("\n".join(lines(row, plan, results[row.key])), flush=True)
    met = {name: reached for row in rows for name, reached in verdicts(row, results[row.key]).items()}
    missed = [name for name, reached in met.items() if not reached]
    print(f"{len(met) - len(missed)} of {len(met)} targets met." + "".join(f"\n  missed: {name}" for name in missed))
    if given["json"]:
        given["json"].write_text(json.dumps(_record(results), indent=1))
    if given["markdown"]:
        given["markdown"].write_text(markdown(rows, plan, results) + "\n")
    return int(any(result[PARTYLINE].failure for result in results.values() if PARTYLINE in result))


def measure(row: Row, peers: Sequence[Peer], plan: Plan) -> dict[str, Result]:
    """Measure one row. The servers take turns in each round, so that a disturbance of the machine affects all."""
    results = {peer.name: Result([]) for peer in peers if row.fits(peer)}
    for _ in range(plan.rounds):
        for peer in peers:
            so_far = results.get(peer.name)
            if so_far is None or so_far.failure:
                continue
            try:
                results[peer.name] = replace(so_far, rounds=[*so_far.rounds, _undisturbed(row, peer, plan)])
            except (RunFailed, OSError, LookupError, ValueError) as error:
                notes = " ".join(getattr(error, "__notes__", []))
                results[peer.name] = replace(so_far, failure=f"{error} {notes}".strip())
    return results


def _undisturbed(row: Row, peer: Peer, plan: Plan) -> Measured:
    """Return an undisturbed run, or the least disturbed one within the plan's patience."""
    end = time.monotonic() + plan.patience
    least: Measured | None = None
    while True:
        wait_until_idle(end - time.monotonic())
        measured = _once(row, peer, plan)
        if not measured.usage or measured.usage.others < DISTURBED:
            return measured
        if least is None or not least.usage or measured.usage.others < least.usage.others:
            least = measured
        if time.monotonic() > end:
            return least


def _once(row: Row, peer: Peer, plan: Plan) -> Measured:
    """Return one run. Raises TimeoutError after RUN_SECONDS."""
    signal.signal(signal.SIGALRM, _time_out)
    signal.alarm(RUN_SECONDS)
    try:
        with tempfile.TemporaryDirectory(prefix="partyline-bench-") as folder:
            return row.run(peer, Path(folder), plan)
    finally:
        signal.alarm(0)


def _chosen(parser: argparse.ArgumentParser, names: str | None) -> list[Peer]:
    wanted = {name.strip().lower() for name in names.split(",")} if names else {peer.name.lower() for peer in PEERS}
    if unknown := wanted - {peer.name.lower() for peer in PEERS}:
        parser.error(
            f"unknown server: {', '.join(sorted(unknown))}. The servers are {', '.join(p.name for p in PEERS)}."
        )
    return [peer for peer in PEERS if peer.name.lower() in wanted and peer.find()]


def _conditions(peers: Sequence[Peer], plan: Plan) -> str:
    skipped = [peer.name for peer in PEERS if peer not in peers]
    return (
        f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; {plan.size}-byte messages; "
        f"{plan.rounds} rounds of {plan.seconds:g} s, median.\n"
        f"Load generator: {plan.load().title}.\n"
        "Partyline commits to SQLite before it delivers; the others store nothing, except NATS in rows m1 to m3."
        + (f"\nSkipped, not installed or not selected: {', '.join(skipped)}." if skipped else "")
        + "\n"
    )


def _record(results: dict[str, dict[str, Result]]) -> dict[str, object]:
    """Return the numbers by row and server: the values of each round in base units (1/s, s, bytes)."""
    return {
        row: {
            server: {"rounds": [measured.values for measured in result.rounds], "failure": result.failure}
            for server, result in servers.items()
        }
        for row, servers in results.items()
    }


def _time_out(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"the run took longer than {RUN_SECONDS} s")


def _stop(_signal: int, _frame: FrameType | None) -> None:
    sys.exit("stopped")  # unwinds the stack, which ends the servers


if __name__ == "__main__":
    sys.exit(main())
