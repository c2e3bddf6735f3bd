"""The order in which a link tries the servers of one chat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terminal.links.endpoint import Rounds, attempt_seconds

LASTED = st.none() | st.floats(0.0, 20.0)  # seconds of each connection; None: an attempt that failed


def tried(rounds: Rounds, outcomes: list[float | None]) -> list[str]:
    """Return what the link does, given how each attempt ends: the server, and `|` for a pause."""
    done = []
    for lasted in outcomes:
        done.append("abcdefgh"[rounds.at])
        done += ["|"] if rounds.ended(lasted) else []
    return done


def test_the_first_servers_are_tried_in_order_with_a_pause_after_each_round() -> None:
    assert "".join(tried(Rounds(3), [None] * 7)) == "abc|abc|a"


def test_the_next_server_is_tried_at_once_after_a_loss() -> None:
    """The lost connection counts as the attempt with its server."""
    assert "".join(tried(Rounds(3), [None, 60.0, None, None, None])) == "abca|b"
    assert "".join(tried(Rounds(2), [60.0, 60.0, 60.0, None, None])) == "abab|a"


def test_servers_that_let_in_and_close_at_once_do_not_make_the_client_spin() -> None:
    assert "".join(tried(Rounds(2), [0.1] * 5)) == "ab|ab|a"


def test_a_single_server_is_tried_again_after_a_pause() -> None:
    assert "".join(tried(Rounds(1), [None, 60.0, 0.1])) == "a|a|a|"


@given(st.integers(1, 8), st.lists(LASTED, max_size=60))
def test_every_server_is_tried_in_turn_and_no_server_twice_without_a_pause_or_a_steady_connection(
    servers: int, outcomes: list[float | None]
) -> None:
    rounds = Rounds(servers)
    since: list[int] = []  # servers that were tried since the last pause or steady connection
    for number, lasted in enumerate(outcomes):
        assert rounds.at == number % servers
        since.append(rounds.at)
        assert len(set(since)) == len(since)
        steady = lasted is not None and lasted >= 5.0
        if steady:
            since = [rounds.at]
        if rounds.ended(lasted):
            assert len(since) == servers
            since = []


@pytest.mark.parametrize(("servers", "seconds"), [(1, 10.0), (2, 5.0), (4, 2.5), (16, 2.0)])
def test_one_silent_server_leaves_time_for_the_others(servers: int, seconds: float) -> None:
    assert attempt_seconds(servers) == seconds
