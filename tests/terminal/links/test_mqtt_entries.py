"""The entries that come over MQTT: each once, in order, and acknowledged when a person has seen it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from terminal.links.mqtt.entries import OrderedLogs
from tests.support.terminal import ME, entry
from wire.frames import Entry, Gap, LogState, Page, Seen


@given(st.data())
def test_whatever_the_broker_loses_repeats_or_mixes_up_goes_on_once_and_in_order(data: st.DataObject) -> None:
    """Some entries come by subscription, in any order and more than once; history, page by page, has the rest."""
    tail, start = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 5))
    tail = max(tail, start)
    came = data.draw(st.lists(st.sampled_from(range(1, tail + 1)), max_size=40)) if tail else []
    logs = OrderedLogs(ME)
    logs.begin([LogState(tail=tail, seen=start, channel="lab")], {})
    logs.want("lab")
    shown: list[Entry] = []
    for packet_id, number in enumerate(came, 1):
        logs.arrived(packet_id)
        shown += logs.handle(entry(number), packet_id)
    while wanted := logs.histories():
        (pending,) = wanted
        after = pending.after or 0
        limit = data.draw(st.integers(1, 7))
        page = [entry(number) for number in range(after + 1, min(after + limit, tail) + 1)]
        shown += logs.page(pending, Page(entries=page, tail=tail, channel="lab"))
    assert [each.number for each in shown] == list(range(start + 1, tail + 1))
    logs.see(Seen(number=tail, channel="lab"))
    assert logs.acknowledgements() == list(range(1, len(came) + 1))


def test_what_nobody_has_any_more_does_not_hold_up_the_rest() -> None:
    logs = OrderedLogs(ME)
    logs.begin([LogState(tail=9, seen=3, channel="lab")], {"lab": 5})
    assert logs.handle(entry(8), 0) == []
    (pending,) = logs.histories()
    assert logs.page(pending, None) == [entry(8)]
    assert logs.histories() == []


def test_too_much_that_was_missed_is_left_out_unless_since_is_known() -> None:
    states = [LogState(tail=2_000, seen=3, channel="lab"), LogState(tail=2_000, seen=3, user="bob")]
    logs = OrderedLogs(ME)
    assert logs.begin(states, {"@bob": 10}) == [Gap(first=4, last=1_500, channel="lab")]
    logs.want("lab")
    logs.want("@bob")
    assert [pending.after for pending in logs.histories()] == [1_500, 10]


def test_what_was_not_seen_is_not_acknowledged_and_acknowledgements_keep_the_order_of_arrival() -> None:
    logs = OrderedLogs(ME)
    logs.begin([LogState(tail=0, seen=0, channel=channel) for channel in ("lab", "ops")], {})
    for packet_id, each in enumerate([entry(1), entry(1, channel="ops"), entry(2), entry(1, channel="left")], 1):
        logs.arrived(packet_id)
        logs.handle(each, packet_id)
    assert logs.acknowledgements() == []
    logs.see(Seen(number=2, channel="ops"))
    assert logs.acknowledgements() == []
    logs.see(Seen(number=1, channel="lab"))
    assert logs.acknowledgements() == [1, 2]
    logs.see(Seen(number=2, channel="lab"))
    assert logs.acknowledgements() == [3, 4]
