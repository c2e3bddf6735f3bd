"""The state of the mirror in the log: one line for each change, not for each attempt."""

from __future__ import annotations

import pytest

import bridge.mirror.status
from bridge.mirror.status import MirrorStatus
from wire.mqtt import V5

UP = "mirror connected to there over MQTT 5"


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
def state(clock: Clock, caplog: pytest.LogCaptureFixture) -> MirrorStatus:
    """The status of a mirror that has not connected yet."""
    caplog.set_level("INFO", "partyline.mirror")
    return MirrorStatus("there")


def log(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines logged since the last call."""
    said = [record.message for record in caplog.records]
    caplog.clear()
    return said


def test_failed_attempts_are_one_line_for_each_reason(state: MirrorStatus, caplog: pytest.LogCaptureFixture) -> None:
    for reason in ("nobody listens", "it refused", "nobody listens", "it refused"):
        for _ in range(3):
            assert not state.disconnected(reason, quiet=False)
    assert log(caplog) == ["mirror not connected: nobody listens", "mirror not connected: it refused"]


def test_a_long_attempt_is_not_a_stable_connection(
    state: MirrorStatus, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        clock.at += 11
        assert not state.disconnected("no answer", quiet=False)
    assert log(caplog) == ["mirror not connected: no answer"]


def test_a_stable_connection_resets_the_log(
    state: MirrorStatus, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        state.session_lost()
        state.connected(V5, 0)
        state.complain("keeps nothing")
        state.complain("keeps nothing")
        clock.at += 11
        assert state.disconnected(state.explain_close(), quiet=False)
        lines = ["there did not keep our session: messages published there while we were disconnected are lost", UP]
        gone = "mirror not connected: there closed the connection."  # the complaint did not end it
        assert log(caplog) == [*lines, "there keeps nothing.", gone]


def test_the_last_line_of_the_log_is_true(state: MirrorStatus, caplog: pytest.LogCaptureFixture) -> None:
    """The log repeats that the mirror is not connected, as it has said meanwhile that it is."""
    assert not state.disconnected("nobody listens", quiet=False)
    state.connected(V5, 2)
    assert not state.disconnected("nobody listens", quiet=False)
    gone = "mirror not connected: nobody listens"
    assert log(caplog) == [gone, f"{UP}; 2 entries to publish", gone]


def test_connections_that_end_at_once_are_logged_once(state: MirrorStatus, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        state.connected(V5, 0)
        state.complain("does not take it")
        assert not state.disconnected(state.explain_close(), quiet=False)
    assert log(caplog) == [UP, "there does not take it.", "mirror not connected: there does not take it."]
    state.connected(V5, 1)
    state.log_connected(1)
    state.log_connected(1)
    assert log(caplog) == [f"{UP}; 1 entry to publish"]
    assert state.report(0).connected
    assert not state.report(0).error


def test_a_second_close_without_a_reason_leads_to_a_guess(
    state: MirrorStatus, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(4):
        state.connected(V5, 0)
        state.disconnected(state.explain_close(), quiet=False)
    _, first, again = log(caplog)
    assert first == "mirror not connected: there closed the connection."
    assert "closed the connection again. Another Partyline server may use the same root there" in again


def test_a_complaint_does_not_outlive_its_connection(state: MirrorStatus) -> None:
    state.connected(V5, 0)
    state.complain("does not take it")
    state.disconnected(state.explain_close(), quiet=False)
    assert "does not take it" not in state.explain_close()


def test_the_end_of_the_server_is_not_logged(state: MirrorStatus, caplog: pytest.LogCaptureFixture) -> None:
    state.connected(V5, 0)
    log(caplog)
    state.disconnected("The server is shutting down.", quiet=True)
    assert not log(caplog)
