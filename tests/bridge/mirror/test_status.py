"""What the log says of the mirror and its broker: a line for each state, not for each attempt."""

from __future__ import annotations

import pytest

import bridge.mirror.status
from bridge.mirror.status import MirrorStatus
from wire.mqtt import V5

UP = "mirror connected to there over MQTT 5"


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the state."""
    made = Clock()
    monkeypatch.setattr(bridge.mirror.status, "time", made)
    return made


@pytest.fixture
def state(clock: Clock, caplog: pytest.LogCaptureFixture) -> MirrorStatus:
    """That of a mirror that has not tried yet."""
    caplog.set_level("INFO", "partyline.bridge")
    return MirrorStatus("there")


def log(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said since this was asked last."""
    said = [record.message for record in caplog.records]
    caplog.clear()
    return said


def test_attempts_that_fail_are_one_line_for_each_reason(state: MirrorStatus, caplog: pytest.LogCaptureFixture) -> None:
    for reason in ("nobody listens", "it refused", "nobody listens", "it refused"):
        for _ in range(3):
            assert not state.disconnected(reason, quiet=False)
    assert log(caplog) == ["mirror not connected: nobody listens", "mirror not connected: it refused"]


def test_an_attempt_that_takes_long_is_no_connection_that_lasts(
    state: MirrorStatus, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        clock.at += 11
        assert not state.disconnected("no answer", quiet=False)
    assert log(caplog) == ["mirror not connected: no answer"]


def test_what_lasts_is_told_again(state: MirrorStatus, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        state.session_lost()
        state.connected(V5, 0)
        state.complain("keeps nothing")
        state.complain("keeps nothing")
        clock.at += 11
        assert state.disconnected(state.explain_close(), quiet=False)
        lines = ["there did not keep our session: messages published there while we were disconnected are lost", UP]
        gone = "mirror not connected: there closed the connection."  # not because of what it has borne for so long
        assert log(caplog) == [*lines, "there keeps nothing.", gone]


def test_the_log_does_not_end_with_a_connection_that_is_gone(
    state: MirrorStatus, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said again that there is none, as the log has said that there is one."""
    assert not state.disconnected("nobody listens", quiet=False)
    state.connected(V5, 2)
    assert not state.disconnected("nobody listens", quiet=False)
    gone = "mirror not connected: nobody listens"
    assert log(caplog) == [gone, f"{UP}; 2 entries to publish", gone]


def test_connections_that_end_at_once_are_told_once_and_the_one_that_lasts_when_it_does(
    state: MirrorStatus, caplog: pytest.LogCaptureFixture
) -> None:
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


def test_a_broker_that_closes_without_a_word_again_is_guessed_about(
    state: MirrorStatus, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(4):
        state.connected(V5, 0)
        state.disconnected(state.explain_close(), quiet=False)
    _, first, again = log(caplog)
    assert first == "mirror not connected: there closed the connection."
    assert "closed the connection again. Another Partyline server may use the same root there" in again


def test_a_connection_that_ends_before_it_is_one_does_not_end_for_the_last_one_s_reason(state: MirrorStatus) -> None:
    state.connected(V5, 0)
    state.complain("does not take it")
    state.disconnected(state.explain_close(), quiet=False)
    assert "does not take it" not in state.explain_close()


def test_the_end_of_the_server_is_no_news(state: MirrorStatus, caplog: pytest.LogCaptureFixture) -> None:
    state.connected(V5, 0)
    log(caplog)
    state.disconnected("the server goes down", quiet=True)
    assert not log(caplog)
