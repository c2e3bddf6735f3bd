"""The contract of files: offers and quotas, uploads, the end of an offer, and who has fetched what."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from store import FileRow, FilesElsewhere, FileSummary, Store, StoredSize
from tests.support.stores import NOW, Place
from wire.frames import FilePart


def offer(
    store: Store, id: str, *, sender_key: str = "ann", log: int = 1, size: int = 100, until: int = NOW + 10
) -> FileRow:
    """Offer a file of 100 bytes under the sender's own id `own-<id>`."""
    row = FileRow(id, 1, sender_key, sender_key.title(), f"own-{id}", f"{id}.bin", 100, NOW, until)
    return store.add_file(row)


def finish(store: Store, id: str, sha256: str) -> None:
    assert store.finish_file(id, sha256, NOW + 30)


def test_an_offer_comes_back_as_it_was_stored(store: Store, place: Place) -> None:
    """By its id and by the sender's own id, after a restart too."""
    row = FileRow(
        "f1", 7, "ann", "Ann", "mine", "a folder", 30, NOW, NOW + 1, "open", "ab", ((0, 5), (9, 10)),
        (FilePart("a/é.txt", 10), FilePart("b", 20)), 4,
    )  # fmt: skip
    assert store.add_file(row) == row
    again = place.open()
    assert again.file("f1") == again.own_file("ann", "mine") == row
    assert again.file("mine") is again.own_file("ann", "f1") is again.own_file("bob", "mine") is None


def test_an_own_id_stands_for_one_file_of_its_sender(store: Store) -> None:
    """A second offer under it returns the first one, and is not stored."""
    first = offer(store, "f1")
    assert store.add_file(replace(first, id="f2", name="other")) == first
    assert store.file("f2") is None
    other = replace(first, id="f3", sender_key="bob")
    assert store.add_file(other) == other


def test_the_sizes_of_files_by_user_and_network(store: Store, place: Place) -> None:
    """Of complete files by sum, with the lists of their parts; of open ones one by one; a gone file has no size."""
    store.open_account("Ann")
    store.set_password("ann", "hash")
    parts = (FilePart("x" * 1_000, 300),)
    listed = len(msgspec.json.encode(parts)) - 2
    for id, sender, network, size in (
        ("f1", "ann", "10.0.0.1", 300), ("f2", "ann", "10.0.0.1", 5), ("f3", "ann", "", 7), ("f4", "bob", "", 200),
        ("f5", "bob", "", 900), ("f6", "ann", "", 9),
    ):  # fmt: skip
        row = FileRow(id, 1, sender, sender, id, id, size, NOW, NOW, network=network, parts=parts if id == "f1" else ())
        store.add_file(row)
        if id not in ("f5", "f6"):
            finish(store, id, id)
    store.drop_file("f4", NOW)
    again = place.open()
    assert sorted(again.done_sizes(100), key=str) == [
        StoredSize("ann", "", True, 100),
        StoredSize("ann", "10.0.0.1", True, 300 + 100 + listed),
    ]
    assert [(row.id, registered) for row, registered in again.open_files()] == [("f5", False), ("f6", True)]


def test_an_upload_goes_from_open_to_done(store: Store) -> None:
    """Its ranges are stored while it is open only."""
    offer(store, "f1")
    offer(store, "f2")
    store.keep_ranges("f1", ((0, 10), (20, 30)), NOW + 20)
    store.set_file_number("f1", 12)
    found = store.file("f1")
    assert found is not None
    assert (found.state, found.ranges, found.number, found.until) == ("open", ((0, 10), (20, 30)), 12, NOW + 20)
    store.extend_file("f1", NOW + 25)
    assert store.file("f1") == replace(found, until=NOW + 25)
    finish(store, "f1", "ab")
    store.keep_ranges("f1", ((0, 99),), NOW + 99)
    assert store.file("f1") == replace(found, state="done", sha256="ab", ranges=(), until=NOW + 30)
    store.extend_file("f1", NOW + 99)
    assert store.file("f1") == replace(found, state="done", sha256="ab", ranges=(), until=NOW + 30)
    other = store.file("f2")
    assert other is not None
    assert (other.state, other.ranges, other.number, other.sha256) == ("open", (), 0, "")


def test_a_dropped_file_is_gone(store: Store) -> None:
    """It cannot be filled or finished any more, and another drop changes nothing."""
    offer(store, "f1")
    store.keep_ranges("f1", ((0, 10),), NOW + 20)
    assert store.drop_file("f1", NOW) is store.drop_file("f1", NOW) is store.drop_file("unknown", NOW) is None
    assert not store.finish_file("f1", "ab", NOW)
    store.keep_ranges("f1", ((0, 10),), NOW + 20)
    found = store.file("f1")
    assert found is not None
    assert (found.state, found.ranges, found.sha256, found.until) == ("gone", (), "", NOW)
    store.drop_file("f1", NOW + 5)
    assert store.file("f1") == found
    store.note_fetched("f1", "bob")
    store.forget_files(NOW)
    assert store.file("f1") == found
    store.forget_files(NOW + 1)
    assert store.file("f1") is None
    assert store.fetched(["f1"], 10) == {}


def test_the_last_file_of_a_blob_returns_its_checksum(store: Store) -> None:
    for id, sha256 in (("f1", "ab"), ("f2", "ab"), ("f3", "cd")):
        offer(store, id)
        finish(store, id, sha256)
    assert [store.drop_file(id, NOW) for id in ("f1", "f3", "f2", "f2")] == [None, "cd", "ab", None]


def test_the_files_of_a_user(store: Store) -> None:
    """The store lists the files of a user, offered or in the user's logs, the oldest first, without deleted ones."""
    lab, den = store.open_channel("lab"), store.open_channel("den")
    store.open_account("Bob")
    store.join(lab, "Bob")
    for id, sender, log, made in (
        ("f1", "ann", lab, 3), ("f2", "ann", den, 1), ("f3", "bob", den, 2), ("f4", "ann", lab, 0),
        ("f0", "ann", lab, 3),
    ):  # fmt: skip
        row = FileRow(id, log.id, sender, sender, id, id, 1, made, NOW + 1, parts=(FilePart("a", 1),) * made)
        store.add_file(row)
        store.set_file_number(id, 1)
    store.drop_file("f4", NOW)
    store.keep_ranges("f0", ((0, 1),), NOW + 1)

    def listed(user: str, now: int = NOW, after: str = "", limit: int = 10) -> list[str]:
        return [row.id for row in store.files_of(user, now, after, limit)]

    assert listed("BOB") == ["f3", "f0", "f1"]
    assert listed("ann") == ["f2", "f0", "f1"]
    assert listed("cy") == []
    assert listed("bob", NOW + 1) == []
    assert [listed("bob", after=after, limit=1) for after in ("", "f3", "f0", "f1")] == [["f3"], ["f0"], ["f1"], []]
    assert listed("bob", after="f4") == listed("bob", after="unknown") == listed("bob")
    store.set_file_number("f1", 0)
    (_, found) = store.files_of("bob", NOW, "", 10)
    assert found == FileSummary("f0", lab.id, "ann", "ann", "f0", 1, 3, NOW + 1, "open", ((0, 1),), 3)


def test_files_are_overdue_in_the_order_of_their_time(store: Store) -> None:
    assert (store.overdue_files(NOW), store.next_overdue()) == ([], None)
    for id, until in (("f1", NOW + 2), ("f2", NOW), ("f3", NOW + 1), ("f4", NOW + 3)):
        offer(store, id, until=until)
    assert store.overdue_files(NOW - 1) == []
    assert store.overdue_files(NOW) == ["f2"]
    assert store.overdue_files(NOW + 2) == ["f2", "f3", "f1"]
    assert store.next_overdue() == NOW
    store.drop_file("f2", NOW)
    assert (store.overdue_files(NOW + 1), store.next_overdue()) == (["f3"], NOW + 1)


def test_kept_files_are_the_open_ones_and_the_blobs(store: Store) -> None:
    """A sweep of the folder must not remove these."""
    assert store.kept_files() == (set(), set())
    for id in ("f1", "f2", "f3", "f4", "f5"):
        offer(store, id)
    finish(store, "f1", "ab")
    finish(store, "f2", "ab")
    finish(store, "f3", "cd")
    store.drop_file("f3", NOW)
    store.drop_file("f4", NOW)
    assert store.kept_files() == ({"f5"}, {"ab"})


def test_fetches_are_stored_once(store: Store) -> None:
    """By user key; the name is as it was first written."""
    assert store.fetched([], 10) == store.fetched(["f1"], 10) == {}
    assert store.note_fetched("f1", "Bob")
    assert not store.note_fetched("f1", "BOB")
    assert store.note_fetched("f1", "ann")
    assert store.note_fetched("f2", "bob")
    assert store.note_fetched("f3", "cy")
    assert store.fetched(["f1", "f2", "f4"], 10) == {"f1": ["Bob", "ann"], "f2": ["bob"]}
    assert store.fetched(["f1", "f2", "f4"], 1) == {"f1": ["Bob"], "f2": ["bob"]}


# Several servers


def at(store: Store, id: str, home: int, folder: str = "", *, sender_key: str = "ann", network: str = "") -> FileRow:
    """Offer a file of 100 bytes that has a home."""
    row = FileRow(
        id, 1, sender_key, sender_key.title(), f"own-{id}", f"{id}.bin", 100, NOW, NOW + 10, network=network, home=home,
        folder=folder,
    )  # fmt: skip
    return store.add_file(row)


def homes(store: Store) -> dict[str, tuple[int, str]]:
    """Return the home and the folder of each file that has not ended."""
    rows = [store.file(id) for id in ("f1", "f2", "f3", "f4", "f5", "f6")]
    return {row.id: (row.home, row.folder) for row in rows if row is not None and row.state != "gone"}


def test_only_the_home_of_a_file_writes_it(store: Store) -> None:
    at(store, "f1", 3)
    assert not store.place_file("f1", 4, "there")
    assert store.place_file("f1", 3, "here")
    assert store.place_file("f1", 3, "here")
    assert not store.place_file("f1", 3, "there")
    assert homes(store) == {"f1": (3, "here")}
    store.keep_ranges("f1", ((0, 50),), NOW + 99, 4)
    assert not store.finish_file("f1", "ab", NOW + 99, 4)
    row = store.file("f1")
    assert row is not None
    assert (row.state, row.ranges, row.until) == ("open", (), NOW + 10)
    store.keep_ranges("f1", ((0, 50),), NOW + 99, 3)
    assert store.finish_file("f1", "ab", NOW + 99, 3)
    assert not store.place_file("f1", 3, "here"), "it is complete"


def test_a_home_that_is_gone_is_replaced_in_its_folder(store: Store) -> None:
    """An open file without a byte may go to any folder; a file of another folder stays there."""
    store.open_account("Ann")
    store.set_password("ann", "hash")
    for id, home, folder in (
        ("f1", 1, "here"),
        ("f2", 1, "there"),
        ("f3", 1, ""),
        ("f4", 2, "here"),
        ("f5", 3, "here"),
    ):
        at(store, id, home, folder, sender_key="ann" if id == "f1" else "bob")
    at(store, "f6", 1)
    assert store.finish_file("f6", "ab", NOW + 30, 1), "of an earlier version: its folder is not known"
    adopted = store.adopt_files(3, "here", [2])
    assert sorted((row.id, row.home, registered) for row, registered in adopted) == [("f1", 3, True), ("f3", 3, False)]
    assert homes(store) == {
        "f1": (3, "here"), "f2": (1, "there"), "f3": (3, ""), "f4": (2, "here"), "f5": (3, "here"), "f6": (1, ""),
    }  # fmt: skip
    assert store.adopt_files(3, "here", [2]) == []
    assert [row.id for row in store.files_without_folder()] == ["f6"]
    store.set_folder("f6", "here")
    store.set_folder("f1", "there")
    assert store.files_without_folder() == []
    assert [row.id for row, _ in store.adopt_files(3, "here", [2])] == ["f6"]


def test_lists_and_sums_are_those_of_a_home(store: Store) -> None:
    store.open_account("Ann")
    store.set_password("ann", "hash")
    for id, home, folder, sender in (
        ("f1", 1, "here", "ann"), ("f2", 2, "there", "ann"), ("f3", 2, "there", "bob"), ("f4", 2, "", "ann"),
    ):  # fmt: skip
        at(store, id, home, folder, sender_key=sender, network="10.0.0.1" if sender == "ann" else "")
    assert store.finish_file("f2", "ab", NOW + 5, 2)
    assert store.finish_file("f3", "ab", NOW + 6, 2)
    assert [row.id for row, _ in store.open_files(1)] == ["f1"]
    assert [row.id for row, _ in store.open_files(2)] == ["f4"]
    assert store.done_sizes(10, 1) == []
    assert {each.sender_key for each in store.done_sizes(10, 2)} == {"ann", "bob"}
    assert store.sizes_elsewhere(1, "ann", "10.0.0.1", 7) == FilesElsewhere(107, 1, 107, 1, 100, 207)
    assert store.sizes_elsewhere(1, "bob", "", 7) == FilesElsewhere(100, 0, 0, 0, 100, 207)
    assert store.sizes_elsewhere(2, "ann", "10.0.0.1", 7) == FilesElsewhere(7, 1, 7, 1, 0, 7)
    assert store.overdue_files(NOW + 20, [1]) == ["f2", "f3", "f4"]
    assert store.overdue_files(NOW + 20, [1, 2]) == []
    assert (store.next_overdue([1]), store.next_overdue([2]), store.next_overdue([1, 2])) == (NOW + 5, NOW + 10, None)
    assert store.kept_files("here") == ({"f1"}, set())
    assert store.kept_files("there") == (set(), {"ab"})


def test_a_blob_is_dropped_with_the_last_file_of_its_folder(store: Store) -> None:
    for id, folder in (("f1", "here"), ("f2", "there"), ("f3", "here")):
        at(store, id, 1, folder)
        assert store.finish_file(id, "ab", NOW + 30, 1)
    assert [store.drop_file(id, NOW) for id in ("f1", "f2", "f3")] == [None, "ab", "ab"]
