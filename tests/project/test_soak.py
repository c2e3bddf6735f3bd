"""The soak, short: each kind of stranger comes under some names, and what is left of them would be noticed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.campaign.soak import MEMORY, State, differences, run
from tests.campaign.strangers import NAMES

BEFORE = State(10, 30, 100 << 20, {"accounts": 5, "runs": 7, "ids": 0}, 20)


def test_a_short_soak(tmp_path: Path) -> None:
    assert run(tmp_path, seconds=1, seed=1, names=NAMES[:2]) == []


@pytest.mark.parametrize(
    ("after", "part"),
    [
        (replace(BEFORE, threads=11), "threads"),
        (replace(BEFORE, descriptors=31), "descriptors"),
        (replace(BEFORE, memory=BEFORE.memory + MEMORY + 1), "memory"),
        (replace(BEFORE, rows={**BEFORE.rows, "accounts": 6}), "rows of accounts"),
        (replace(BEFORE, rows={**BEFORE.rows, "runs": 9}, entries=21), "rows of runs"),
    ],
)
def test_what_is_left_is_named(after: State, part: str) -> None:
    (found,) = differences(BEFORE, after)
    assert part in found


def test_what_was_said_and_what_has_gone_is_no_difference() -> None:
    after = replace(BEFORE, memory=1, rows={"accounts": 4, "runs": 9, "ids": 2}, entries=40)
    assert differences(BEFORE, after) == []
