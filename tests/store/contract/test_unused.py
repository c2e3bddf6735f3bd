"""The contract of what nobody uses: what leaves the store, and everything that keeps it there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from store import Client, FileRow, LogRow, Store
from tests.support.stores import NOW, Place, posting, texts
from wire.clock import now

LATER = now() + 10**9  # after everything that the tests do
EARLIER = 10**12  # before it


def newest(store: Store) -> LogRow:
    """Create one more channel, so that the others are not the newest log."""
    return store.open_channel("newest")


def empty(store: Store, before: int = LATER) -> list[str]:
    """Return the keys of the empty logs."""
    return [row.key for row in store.empty_logs(before)]


def test_an_empty_channel_leaves(store: Store) -> None:
    """After its time, but not the newest log: its id would be given again."""
    lab, den = store.open_channel("Lab"), newest(store)
    assert empty(store, EARLIER) == []
    assert not store.remove_empty_log(lab, EARLIER)
    assert empty(store) == ["lab"]
    assert store.remove_empty_log(lab, LATER)
    assert not store.remove_empty_log(lab, LATER)
    assert (store.log(lab.id), [row.id for row in store.channels()]) == (None, [den.id])
    again = store.open_channel("LAB")
    assert (again.name, again.id > den.id) == ("LAB", True)


@pytest.mark.parametrize(
    "use",
    [
        lambda store, log: store.join(log, "ann"),
        lambda store, log: store.append([posting(log, "ann", "x")], NOW),
        lambda store, log: store.add_file(FileRow("f", log.id, "ann", "ann", "/f", "x", 1, NOW, NOW)),
    ],
)
def test_a_channel_that_is_used_stays(store: Store, use: Callable[[Store, LogRow], object]) -> None:
    """With a member, with an entry, with an offer."""
    store.open_account("ann")
    lab = store.open_channel("lab")
    newest(store)
    use(store, lab)
    assert empty(store) == []
    assert not store.remove_empty_log(lab, LATER)
    assert store.log(lab.id) is not None


def test_a_channel_with_entries_stays_without_members(store: Store, place: Place) -> None:
    """So its numbers never start again, also after a restart of the server."""
    lab = store.open_channel("lab")
    newest(store)
    store.join(lab, "ann")
    store.append([posting(lab, "ann", "x")], NOW)
    assert store.leave(lab, "ann")
    assert empty(store) == []
    again = place.open()
    assert list(again.append([posting(lab, "ann", "y")], NOW).numbers[0]) == [2]


def test_a_channel_is_empty_from_the_last_leave_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or from the last change of its topic."""
    lab, den = store.open_channel("lab"), store.open_channel("den")
    newest(store)
    monkeypatch.setattr("store.sql.members.now", lambda: LATER)
    store.join(lab, "ann")
    store.leave(lab, "ann")
    store.set_topic(den, "soon")
    assert empty(store) == []
    assert empty(store, LATER + 1) == ["lab", "den"]


def test_a_removed_channel_takes_its_cursors_with_it(store: Store) -> None:
    lab, den = store.open_channel("lab"), newest(store)
    store.save_client(Client("ann/dev", None, None, ""))
    store.move({(lab.id, "ann/dev"): 1, (den.id, "ann/dev"): 2}, {})
    assert store.remove_empty_log(lab, LATER)
    assert store.client_cursors("ann/dev") == {den.id: 2}


def test_a_private_log_without_entries_leaves(store: Store) -> None:
    """With both memberships; one with an entry stays."""
    talk, other = store.open_private_log("ann", "bob"), store.open_private_log("ann", "cy")
    newest(store)
    store.append([posting(other, "ann", "x")], NOW)
    assert empty(store) == ["ann:bob"]
    assert not store.remove_empty_log(other, LATER)
    assert store.remove_empty_log(talk, LATER)
    assert store.find_private_log("ann", "bob") is None
    assert store.cursor(talk, "ann") is None
    assert texts(store, other) == ["x"]


def test_a_guest_of_whom_nothing_is_kept_leaves(store: Store) -> None:
    """With memberships in channels and ids of posts, from which the channels count as left."""
    lab = store.open_channel("lab")
    newest(store)
    for name in ("Ann", "bob"):
        store.open_account(name)
        store.join(lab, name)
    store.append([posting(lab, "ann", ("a", "1")), posting(lab, "bob", ("b", "1"))], NOW)
    assert store.idle_guests(EARLIER, 9) == []
    assert store.forget_guest("ann", EARLIER) is None
    assert sorted(store.idle_guests(LATER, 9)) == ["ann", "bob"]
    assert len(store.idle_guests(LATER, 1)) == 1
    assert list(store.forget_guest("ann", LATER) or ()) == [lab.id]
    assert store.forget_guest("ann", LATER) is None
    assert store.account("ann") is None
    assert [account.key for account in store.members(lab)] == ["bob"]
    numbers = store.append([posting(lab, "ann", ("again", "1")), posting(lab, "bob", ("b", "1"))], NOW).numbers
    assert [list(each) for each in numbers] == [[3], [2]], "the ids of others stay"
    assert store.open_account("ANN").name == "ANN"


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.set_password("ann", "hash"),
        lambda store: store.move({}, {"ann": LATER + 1}),
        lambda store: store.open_private_log("bob", "ann"),
        lambda store: store.save_client(Client("ann/dev", None, None, "")),
        lambda store: store.add_file(FileRow("f", 1, "ann", "ann", "/f", "x", 1, NOW, NOW)),
    ],
)
def test_a_guest_of_whom_something_is_kept_stays(store: Store, use: Callable[[Store], object]) -> None:
    """A password, a recent connection, a conversation, a session, an offer."""
    store.open_account("ann")
    for name in ("an", "ann0", "ann2"):
        store.save_client(Client(f"{name}/dev", None, None, ""))
    assert store.idle_guests(LATER, 9) == ["ann"]
    use(store)
    assert "ann" not in store.idle_guests(LATER, 9)
    assert store.forget_guest("ann", LATER) is None
    assert store.account("ann") is not None


def test_the_logs_that_a_user_has_opened_are_counted(store: Store) -> None:
    """Logs that exist count, in any spelling of the name; those that others have opened do not."""
    store.open_channel("lab", "Ann")
    store.open_channel("LAB", "bob")
    store.open_channel("den", "bob")
    store.open_private_log("ann", "bob")
    store.open_private_log("ann", "cy")
    store.open_private_log("cy", "ann")
    counts = {name: (store.opened_logs(name, private=False), store.opened_logs(name, private=True)) for name in
              ("ANN", "bob", "cy")}  # fmt: skip
    assert counts == {"ANN": (1, 2), "bob": (1, 0), "cy": (0, 0)}
