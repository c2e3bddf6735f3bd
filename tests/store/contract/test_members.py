"""The contract of members: logs, memberships and cursors."""

from __future__ import annotations

from store import Store, private_key
from tests.support.stores import NOW, posting
from wire.frames import Entry


def test_channels_are_the_same_under_case_folding(store: Store) -> None:
    """A channel keeps the first spelling of its name."""
    lab = store.open_channel("Lab")
    assert store.open_channel("LAB") == store.open_channel("lab") == lab
    assert (lab.kind, lab.key, lab.name, lab.tail, lab.topic) == ("channel", "lab", "Lab", 0, "")
    store.append([posting(lab, "ann", "a")], NOW)
    store.set_topic(lab, "Soldering\0tonight")
    (found,) = store.channels()
    assert (found.id, found.name, found.tail, found.topic) == (lab.id, "Lab", 1, "Soldering\0tonight")


def test_a_private_log_has_two_members_from_the_start(store: Store) -> None:
    """Both users open the same log. A user without an account gets one, and finds earlier messages."""
    assert store.find_private_log("Bob", "ann") is None
    log = store.open_private_log("Bob", "ann")
    assert store.open_private_log("ANN", "bob") == store.find_private_log("BOB", "Ann") == log
    assert (log.kind, log.key, log.name, log.other) == ("direct", private_key("ann", "bob"), "ann", "Bob")
    store.append([posting(log, "Bob", "hi"), posting(log, "ann", "ho")], NOW)
    assert store.read(log, 0, 9) == [
        Entry(1, NOW, "Bob", "hi", None, "ann"),
        Entry(2, NOW, "ann", "ho", None, "Bob"),
    ]
    assert [account.name for account in store.members(log)] == ["ann", "Bob"]
    assert store.channels() == []
    ((mine),) = store.memberships("ANN")
    assert (mine.log.id, mine.log.tail, mine.cursor) == (log.id, 2, 0)
    store.move({(log.id, "ann"): 2}, {})
    assert store.memberships("ann") == []
    assert len(store.memberships("bob")) == 1


def test_a_private_log_with_oneself_has_one_member(store: Store) -> None:
    log = store.open_private_log("ann", "Ann")
    assert store.open_private_log("ANN", "ann") == log
    store.append([posting(log, "ann", "milk")], NOW)
    assert store.read(log, 0, 9) == [Entry(1, NOW, "ann", "milk", None, "ann")]
    assert [account.name for account in store.members(log)] == ["ann"]
    assert store.member_counts() == {}


def test_a_cursor_moves_forwards_only(store: Store) -> None:
    """Only a member has a cursor. It begins at the tail, and a second join does not change it."""
    store.open_account("Ann")
    lab = store.open_channel("lab")
    store.append([posting(lab, "bob", "a", "b", "c")], NOW)
    assert store.cursor(lab, "ann") is None
    store.move({(lab.id, "ann"): 2}, {})
    assert store.cursor(lab, "ann") is None
    assert store.join(lab, "ANN") == (3, True)
    store.append([posting(lab, "bob", "d", "e")], NOW)
    assert store.join(lab, "ann") == (3, False)
    for number, expected in ((4, 4), (2, 4), (4, 4), (5, 5), (0, 5)):
        store.move({(lab.id, "ann"): number}, {})
        assert store.cursor(lab, "Ann") == expected
    assert store.leave(lab, "aNN")
    assert not store.leave(lab, "ann")
    assert store.cursor(lab, "ann") is None
    assert store.join(lab, "ann") == (5, True)


def test_memberships_come_in_the_order_of_joining(store: Store) -> None:
    """The channel joined last is the current one when the user comes back."""
    logs = {name: store.open_channel(name) for name in ("c", "a", "b")}
    for name in ("Ann", "bob"):
        store.open_account(name)
    for name in ("b", "c", "a"):
        store.join(logs[name], "ann")
    store.join(logs["a"], "bob")
    assert [mine.log.name for mine in store.memberships("ann")] == ["b", "c", "a"]
    store.leave(logs["b"], "ann")
    store.join(logs["b"], "Ann")
    assert [mine.log.name for mine in store.memberships("ANN")] == ["c", "a", "b"]
    assert [account.name for account in store.members(logs["a"])] == ["Ann", "bob"]
    assert store.member_counts() == {logs["a"].id: 2, logs["b"].id: 1, logs["c"].id: 1}


def test_logs_are_found_by_their_ids(store: Store) -> None:
    """Some of them, however many are asked for; unknown ones are left out."""
    lab, hall, talk = store.open_channel("lab"), store.open_channel("hall"), store.open_private_log("ann", "bob")
    store.append([posting(lab, "ann", "a", "b"), posting(talk, "ann", "c")], NOW)
    store.set_topic(hall, "kiln")
    found = {row.id: row for row in store.logs([lab.id, hall.id, talk.id, 10_000, 10_001])}
    assert {id: (row.tail, row.topic) for id, row in found.items()} == {
        lab.id: (2, ""),
        hall.id: (0, "kiln"),
        talk.id: (1, ""),
    }
    assert store.logs([]) == []
    assert {row.id for row in store.logs(range(5_000))} >= {lab.id, hall.id, talk.id}


def test_members_are_counted_for_some_channels(store: Store) -> None:
    lab, hall, shed = [store.open_channel(name) for name in ("lab", "hall", "shed")]
    for user in ("ann", "bob"):
        store.open_account(user)
        store.join(lab, user)
    store.join(hall, "ann")
    store.open_private_log("ann", "bob")
    assert store.member_counts() == {lab.id: 2, hall.id: 1}
    assert store.member_counts([hall.id, shed.id]) == {hall.id: 1}
    assert store.member_counts([]) == {}


def test_the_channels_of_some_users_are_found(store: Store) -> None:
    """In the order of joining, and without private logs."""
    lab, hall = store.open_channel("lab"), store.open_channel("hall")
    for user in ("ann", "bob", "carol"):
        store.open_account(user)
    store.join(hall, "ann")
    store.join(lab, "ann")
    store.join(lab, "bob")
    store.open_private_log("ann", "carol")
    assert store.joined_channels(["ann", "carol", "nobody"]) == {"ann": [hall.id, lab.id]}
    assert store.joined_channels(["bob"]) == {"bob": [lab.id]}
    assert store.joined_channels([]) == {}
    assert set(store.joined_channels(["ann", *[f"user{n}" for n in range(1_200)], "bob"])) == {"ann", "bob"}


def test_private_logs_that_are_not_read_to_the_end_are_found(store: Store) -> None:
    read, unread, other = [store.open_private_log("ann", name) for name in ("bob", "carol", "dave")]
    lab = store.open_channel("lab")
    store.join(lab, "ann")
    store.append([posting(log, "ann", "a") for log in (read, unread, lab)], NOW)
    store.move({(read.id, "ann"): 1, (read.id, "bob"): 1, (unread.id, "carol"): 1}, {})
    assert store.unread_private_logs(["ann", "bob"]) == [unread.id]
    assert store.unread_private_logs(["carol", "bob", "dave"]) == []
    assert other.tail == 0
    store.append([posting(read, "bob", "b")], NOW)
    assert store.unread_private_logs(["ann", "bob", "carol"]) == [read.id, unread.id]
