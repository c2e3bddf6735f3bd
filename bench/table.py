"""The results as a table on the screen: a line for each server in each row, and warnings below it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.rows.row import BEST, SELF, Measured, Metric, Plan, Row

from .meter import DISTURBED, Usage

PARTYLINE = "Partyline"
SATURATED = 0.9  # of a core: from here on the load generator may be the bottleneck

HEADER = ("server", "measured", "median", "spread", "Partyline is", "target", "generator", "server")
WIDTHS = (10, 26, 14, 18, 13, 18, 10, 7)


@dataclass(frozen=True)
class Result:
    """The rounds of one server in one row, or the reason of its failure."""

    rounds: Sequence[Measured]
    failure: str = ""

    def values(self, metric: int) -> list[float]:
        return [measured.values[metric] for measured in self.rounds]

    def median(self, metric: int) -> float:
        return statistics.median(self.values(metric))

    def usage(self) -> Usage | None:
        """Return the median of each share, or None if no round has a usage."""
        usages = [measured.usage for measured in self.rounds if measured.usage]
        if not usages:
            return None
        return Usage(*(statistics.median(getattr(usage, share) for usage in usages) for share in Usage.__annotations__))


def heading() -> str:
    """Return the header of the table."""
    return _line(HEADER) + "\n" + "-" * (sum(WIDTHS) + 2 * len(WIDTHS))


def lines(row: Row, plan: Plan, results: Mapping[str, Result]) -> Iterator[str]:
    """Yield the lines of one row."""
    yield row.titled(plan)
    if not results:
        yield "  Not measured: a server that it needs is not installed or not selected."
    for server, result in results.items():
        if result.failure:
            yield _line((server, f"failed: {result.failure}"))
            continue
        for number, metric in enumerate(row.metrics):
            usage = result.usage() if number == 0 else None
            yield _line((
                server if number == 0 else "",
                metric.name,
                _amount(result.median(number), metric),
                f"{_plain(min(result.values(number)), metric)} to {_plain(max(result.values(number)), metric)}",
                _compared(server, number, results),
                _target(server, number, metric, results),
                f"{usage.generator:.0%}" if usage else "",
                f"{usage.server:.0%}" if usage else "",
            ))  # fmt: skip
    for server, result in results.items():
        yield from _warnings(server, result)
    yield ""


def verdicts(row: Row, results: Mapping[str, Result]) -> dict[str, bool]:
    """Return each target of the row that has a number to compare with: True if it is met."""
    found = {}
    for number, metric in enumerate(row.metrics):
        for against in metric.targets:
            met = _met(against, number, metric, results)
            if met is not None:
                found[f"{row.key}: {metric.name}, {against}"] = met
    return found


def _line(cells: Sequence[str]) -> str:
    return "  " + "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=False)).rstrip()


def _plain(value: float, metric: Metric) -> str:
    value /= metric.per_unit
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _amount(value: float, metric: Metric) -> str:
    return f"{_plain(value, metric)} {metric.unit}"


def _usable(results: Mapping[str, Result]) -> dict[str, Result]:
    return {server: result for server, result in results.items() if result.rounds and not result.failure}


def _compared(server: str, number: int, results: Mapping[str, Result]) -> str:
    us = _usable(results).get(PARTYLINE)
    if server == PARTYLINE or us is None:
        return ""
    return f"{us.median(number) / results[server].median(number):.2f} x"


def _met(against: str, number: int, metric: Metric, results: Mapping[str, Result]) -> bool | None:
    """Return True if a target is met, or None without a number to compare with."""
    usable = _usable(results)
    us = usable.pop(PARTYLINE, None)
    bound = metric.targets.get(against)
    if us is None or bound is None:
        return None
    ours = us.median(number)
    if against == SELF:
        reached = ours / metric.per_unit
    elif against == BEST and usable:
        theirs = [result.median(number) for result in usable.values()]
        reached = ours / (max(theirs) if metric.more_is_better else min(theirs))
    elif against in usable:
        reached = ours / usable[against].median(number)
    else:
        return None
    return reached >= bound if metric.more_is_better else reached <= bound


def _target(server: str, number: int, metric: Metric, results: Mapping[str, Result]) -> str:
    """Return the targets of one line, each with `met` or `MISSED`."""
    texts = []
    for against, bound in metric.targets.items():
        if server == (PARTYLINE if against in (SELF, BEST) else against):
            sign = "≥" if metric.more_is_better else "≤"
            unit = {SELF: f" {metric.unit}", BEST: " x best"}.get(against, " x")
            met = _met(against, number, metric, results)
            texts.append(f"{sign} {bound:g}{unit}" + {True: " met", False: " MISSED", None: ""}[met])
    return ", ".join(texts)


def _warnings(server: str, result: Result) -> Iterator[str]:
    usage = result.usage()
    if usage and usage.generator > SATURATED:
        yield f"  ! {server}: the load generator used {usage.generator:.0%} of a core and may be the bottleneck."
    if usage and usage.others > DISTURBED:
        yield f"  ! {server}: other processes used {usage.others:.0%} of a core; do not trust the numbers."
