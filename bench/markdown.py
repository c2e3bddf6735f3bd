"""The results as the README's Markdown table: one line for each metric, one column for each server.

Rounding never favours Partyline, neither in its own numbers nor in the ratios.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from .rows.row import Metric, Plan, Row
from .table import PARTYLINE, Result

_DIGITS = 3  # significant digits of a number
_RATIO_DIGITS = 2  # significant digits of a ratio


def markdown(rows: Sequence[Row], plan: Plan, results: Mapping[str, Mapping[str, Result]]) -> str:
    """Return the table of these rows; `results` maps a row's key and a server's name to a result."""
    peers = list(dict.fromkeys(name for row in rows for name in results[row.key] if name != PARTYLINE))
    header = ("row", "measured", PARTYLINE, *peers)
    lines = [header, ("---",) * len(header)]
    for row in rows:
        lines += _lines(row, plan, results[row.key], peers)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _lines(row: Row, plan: Plan, results: Mapping[str, Result], peers: Sequence[str]) -> Iterator[tuple[str, ...]]:
    ours = results.get(PARTYLINE)
    if ours is None or ours.failure:
        return
    for number, metric in enumerate(row.metrics):
        title = row.titled(plan) if number == 0 else ""
        own = ours.median(number)
        cells = [_compared(own, results[peer], number, metric) if peer in results else "" for peer in peers]
        yield title, metric.name, _amount(own, metric, up=not metric.more_is_better), *cells


def _compared(own: float, peer: Result, number: int, metric: Metric) -> str:
    if peer.failure:
        return "failed"
    theirs = peer.median(number)
    ratio = _rounded(own / theirs, _RATIO_DIGITS, up=not metric.more_is_better) if theirs else "-"
    return f"{_amount(theirs, metric, up=metric.more_is_better)} ({ratio} x)"


def _amount(value: float, metric: Metric, *, up: bool) -> str:
    """Return a number with its unit, rounded up if `up`, otherwise down."""
    return f"{_rounded(value / metric.per_unit, _DIGITS, up=up)} {metric.unit}"


def _rounded(value: float, digits: int, *, up: bool) -> str:
    """Return the value with so many significant digits, rounded up or down and never to the nearest."""
    if not value:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    scaled = round(value * 10.0**places, 6)  # removes the errors of binary fractions
    whole = math.ceil(scaled) if up else math.floor(scaled)
    return f"{whole / 10.0**places:,.{max(0, places)}f}"
