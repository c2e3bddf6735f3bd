"""The contract of files: offers and quotas, uploads, the end of an offer, and who has fetched what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from store import FileRow, Store
from tests.support.stores import NOW, Place
from wire.errors import Refused
from wire.frames import FilePart

NO_LIMIT = 0


def offer(
    store: Store, id: str, *, sender_key: str = "ann", log: int = 1, size: int = 100, until: int = NOW + 10
) -> FileRow:
    """Offer a file of 100 bytes under the sender's own id `own-<id>`."""
    row = FileRow(id, 1, sender_key, sender_key.title(), f"own-{id}", f"{id}.bin", 100, NOW, until)
    return store.add_file(row, NO_LIMIT, NO_LIMIT)


def finish(store: Store, id: str, sha256: str) -> None:
    assert store.finish_file(id, sha256)


def test_an_offer_comes_back_as_it_was_stored(store: Store, place: Place) -> None:
    """By its id and by the sender's own id, after a restart too."""
    row = FileRow(
        "f1", 7, "ann", "Ann", "mine", "a folder", 30, NOW, NOW + 1, "open", "ab", ((0, 5), (9, 10)),
        (FilePart("a/é.txt", 10), FilePart("b", 20)), 4,
    )  # fmt: skip
    assert store.add_file(row, NO_LIMIT, NO_LIMIT) == row
    again = place.open()
    assert again.file("f1") == again.own_file("ann", "mine") == row
    assert again.file("mine") is again.own_file("ann", "f1") is again.own_file("bob", "mine") is None


def test_an_own_id_stands_for_one_file_of_its_sender(store: Store) -> None:
    """A second offer under it returns the first one, and is not stored; the limits do not matter then."""
    first = offer(store, "f1")
    assert store.add_file(replace(first, id="f2", name="other"), 1, 1) == first
    assert store.file("f2") is None
    other = replace(first, id="f3", sender_key="bob")
    assert store.add_file(other, NO_LIMIT, NO_LIMIT) == other


@pytest.mark.parametrize(
    ("per_user", "in_all", "fits"), [(200, 0, True), (199, 0, False), (0, 300, True), (0, 299, False)]
)
def test_quotas(store: Store, per_user: int, in_all: int, fits: bool) -> None:
    """One user's files and all files have at most so many bytes; a refused offer is not stored."""
    offer(store, "f1")
    offer(store, "f2", sender_key="bob")
    row = FileRow("f3", 1, "ann", "Ann", "own", "f3", 100, NOW, NOW)
    if fits:
        store.add_file(row, per_user, in_all)
    else:
        with pytest.raises(Refused, match="may have") as refused:
            store.add_file(row, per_user, in_all)
        assert refused.value.code == "quota"
    assert (store.file("f3") is not None) == fits


def test_the_names_in_a_folder_count_and_a_gone_file_does_not(store: Store) -> None:
    """The bytes that the list of parts takes, as JSON without its brackets."""
    parts = (FilePart("x" * 1_000, 1),)
    row = FileRow("f1", 1, "ann", "Ann", "own", "f1", 1, NOW, NOW, parts=parts)
    with pytest.raises(Refused):
        store.add_file(row, 1_000, NO_LIMIT)
    store.add_file(row, 1_100, NO_LIMIT)
    second = replace(row, id="f2", own="own2", parts=())
    with pytest.raises(Refused):
        store.add_file(second, 1_000, NO_LIMIT)
    store.drop_file("f1")
    store.add_file(second, 1, 1)


def test_an_upload_goes_from_open_to_done(store: Store) -> None:
    """Its ranges are stored while it is open only."""
    offer(store, "f1")
    offer(store, "f2")
    store.keep_ranges("f1", ((0, 10), (20, 30)))
    store.set_file_number("f1", 12)
    found = store.file("f1")
    assert found is not None
    assert (found.state, found.ranges, found.number) == ("open", ((0, 10), (20, 30)), 12)
    finish(store, "f1", "ab")
    store.keep_ranges("f1", ((0, 99),))
    assert store.file("f1") == replace(found, state="done", sha256="ab", ranges=())
    other = store.file("f2")
    assert other is not None
    assert (other.state, other.ranges, other.number, other.sha256) == ("open", (), 0, "")


def test_a_dropped_file_is_gone(store: Store) -> None:
    """It cannot be filled or finished any more, and another drop changes nothing."""
    offer(store, "f1")
    store.keep_ranges("f1", ((0, 10),))
    assert store.drop_file("f1") is store.drop_file("f1") is store.drop_file("unknown") is None
    assert not store.finish_file("f1", "ab")
    store.keep_ranges("f1", ((0, 10),))
    found = store.file("f1")
    assert found is not None
    assert (found.state, found.ranges, found.sha256) == ("gone", (), "")


def test_the_last_file_of_a_blob_returns_its_checksum(store: Store) -> None:
    for id, sha256 in (("f1", "ab"), ("f2", "ab"), ("f3", "cd")):
        offer(store, id)
        finish(store, id, sha256)
    assert [store.drop_file(id) for id in ("f1", "f3", "f2", "f2")] == [None, "cd", "ab", None]


def test_the_files_of_a_user(store: Store) -> None:
    """The store lists the files of a user, offered or in the user's logs, the oldest first, without deleted ones."""
    lab, den = store.open_channel("lab"), store.open_channel("den")
    store.open_account("Bob")
    store.join(lab, "Bob")
    for id, sender, log, made in (
        ("f1", "ann", lab, 3), ("f2", "ann", den, 1), ("f3", "bob", den, 2), ("f4", "ann", lab, 0),
        ("f0", "ann", lab, 3),
    ):  # fmt: skip
        row = FileRow(id, log.id, sender, sender, id, id, 1, made, NOW)
        store.add_file(row, NO_LIMIT, NO_LIMIT)
    store.drop_file("f4")
    assert [row.id for row in store.files_of("BOB")] == ["f3", "f0", "f1"]
    assert [row.id for row in store.files_of("ann")] == ["f2", "f0", "f1"]
    assert store.files_of("cy") == []


def test_files_are_overdue_in_the_order_of_their_time(store: Store) -> None:
    assert (store.overdue_files(NOW), store.next_overdue()) == ([], None)
    for id, until in (("f1", NOW + 2), ("f2", NOW), ("f3", NOW + 1), ("f4", NOW + 3)):
        offer(store, id, until=until)
    assert store.overdue_files(NOW - 1) == []
    assert store.overdue_files(NOW) == ["f2"]
    assert store.overdue_files(NOW + 2) == ["f2", "f3", "f1"]
    assert store.next_overdue() == NOW
    store.drop_file("f2")
    assert (store.overdue_files(NOW + 1), store.next_overdue()) == (["f3"], NOW + 1)


def test_kept_files_are_the_open_ones_and_the_blobs(store: Store) -> None:
    """A sweep of the folder must not remove these."""
    assert store.kept_files() == (set(), set())
    for id in ("f1", "f2", "f3", "f4", "f5"):
        offer(store, id)
    finish(store, "f1", "ab")
    finish(store, "f2", "ab")
    finish(store, "f3", "cd")
    store.drop_file("f3")
    store.drop_file("f4")
    assert store.kept_files() == ({"f5"}, {"ab"})


def test_fetches_are_stored_once(store: Store) -> None:
    """By user key; the name is as it was first written."""
    assert store.fetched([]) == store.fetched(["f1"]) == {}
    assert store.note_fetched("f1", "Bob")
    assert not store.note_fetched("f1", "BOB")
    assert store.note_fetched("f1", "ann")
    assert store.note_fetched("f2", "bob")
    assert store.note_fetched("f3", "cy")
    assert store.fetched(["f1", "f2", "f4"]) == {"f1": ["Bob", "ann"], "f2": ["bob"]}
