"""The state of the mirror in the log: one line for each change, not for each attempt."""

from __future__ import annotations

import pytest

import bridge.mirror.status
from bridge.mirror.status import MirrorStatus
from reporting import events
from tests.support.reported import Reported
from wire.mqtt import V5

UP = events.MirrorConnected("there", "5", 0)


class Clock:
    """A clock that stands still unless a test moves it."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the status uses."""
    made = Clock()
    monkeypatch.setattr(bridge.mirror.status, "time", made)
    return made


@pytest.fixture
def state(clock: Clock) -> MirrorStatus:
    """The status of a mirror that has not connected yet."""
    return MirrorStatus("there")


def _gone(error: str) -> events.MirrorDisconnected:
    return events.MirrorDisconnected("there", error)


def test_failed_attempts_are_one_line_for_each_reason(state: MirrorStatus, reported: Reported) -> None:
    for reason in ("nobody listens", "it refused", "nobody listens", "it refused"):
        for _ in range(3):
            assert not state.disconnected(reason, quiet=False)
    assert reported.take() == [_gone("nobody listens"), _gone("it refused")]


def test_a_long_attempt_is_not_a_stable_connection(state: MirrorStatus, clock: Clock, reported: Reported) -> None:
    for _ in range(3):
        clock.at += 11
        assert not state.disconnected("no answer", quiet=False)
    assert reported.take() == [_gone("no answer")]


def test_a_stable_connection_resets_the_log(state: MirrorStatus, clock: Clock, reported: Reported) -> None:
    for _ in range(2):
        state.session_lost()
        state.connected(V5, 0)
        state.complain("keeps nothing")
        state.complain("keeps nothing")
        clock.at += 11
        assert state.disconnected(state.explain_close(), quiet=False)
        refused = events.MirrorRefused("there", "there keeps nothing.")
        gone = _gone("there closed the connection.")  # the complaint did not end it
        assert reported.take() == [events.MirrorSessionLost("there"), UP, refused, gone]


def test_the_last_line_of_the_log_is_true(state: MirrorStatus, reported: Reported) -> None:
    """The log repeats that the mirror is not connected, as it has said meanwhile that it is."""
    assert not state.disconnected("nobody listens", quiet=False)
    state.connected(V5, 2)
    assert not state.disconnected("nobody listens", quiet=False)
    gone = _gone("nobody listens")
    assert reported.take() == [gone, events.MirrorConnected("there", "5", 2), gone]


def test_connections_that_end_at_once_are_logged_once(state: MirrorStatus, reported: Reported) -> None:
    for _ in range(5):
        state.connected(V5, 0)
        state.complain("does not take it")
        assert not state.disconnected(state.explain_close(), quiet=False)
    assert reported.take() == [
        UP,
        events.MirrorRefused("there", "there does not take it."),
        _gone("there does not take it."),
    ]
    state.connected(V5, 1)
    state.log_connected(1)
    state.log_connected(1)
    assert reported.take() == [events.MirrorConnected("there", "5", 1)]
    assert state.report(0).connected
    assert not state.report(0).error


def test_a_second_close_without_a_reason_leads_to_a_guess(state: MirrorStatus, reported: Reported) -> None:
    for _ in range(4):
        state.connected(V5, 0)
        state.disconnected(state.explain_close(), quiet=False)
    _, first, again = reported.take()
    assert first == _gone("there closed the connection.")
    assert isinstance(again, events.MirrorDisconnected)
    assert "closed the connection again. Another Partyline server may use the same root there" in again.error


def test_a_complaint_does_not_outlive_its_connection(state: MirrorStatus) -> None:
    state.connected(V5, 0)
    state.complain("does not take it")
    state.disconnected(state.explain_close(), quiet=False)
    assert "does not take it" not in state.explain_close()


def test_the_end_of_the_server_is_not_logged(state: MirrorStatus, reported: Reported) -> None:
    state.connected(V5, 0)
    reported.take()
    state.disconnected("The server is shutting down.", quiet=True)
    assert not reported.take()
