"""The contract of entries: numbers, ids, batches and pages."""

from __future__ import annotations

import pytest

from store import Store, file_post_id
from store.contract import RUN, RUN_SIZE
from tests.support.stores import NOW, Place, posting, texts
from wire.frames import Entry


def test_entries_are_numbered_from_one_without_a_gap(store: Store) -> None:
    """Each log counts by itself, also when one append has posts to several logs. A read returns the posts unchanged."""
    lab, bench = store.open_channel("lab"), store.open_channel("bench")
    first = store.append([posting(lab, "Ann", "a", "b"), posting(bench, "Bob", "c"), posting(lab, "Bob", "d")], NOW)
    assert [list(row) for row in first.numbers] == [[1, 2], [1], [3]]
    second = store.append([posting(lab, "Ann", "e")], NOW + 1)
    assert [list(row) for row in second.numbers] == [[4]]
    assert store.read(lab, 0, 9) == [
        Entry(1, NOW, "Ann", "a", "lab"),
        Entry(2, NOW, "Ann", "b", "lab"),
        Entry(3, NOW, "Bob", "d", "lab"),
        Entry(4, NOW + 1, "Ann", "e", "lab"),
    ]
    assert store.read(bench, 0, 9) == [Entry(1, NOW, "Bob", "c", "bench")]


def test_the_batches_of_an_append_are_what_a_read_shows(store: Store, place: Place) -> None:
    """Delivery and history agree. Every entry of all logs has a number of its own in the journal."""
    lab, bench = store.open_channel("lab"), store.open_channel("bench")
    appended = [
        store.append([posting(lab, "ann", "a", ("b", "1")), posting(bench, "bob", "c"), posting(lab, "bob", "d")], NOW),
        store.append([posting(lab, "ann", ("b", "1"))], NOW),
        store.append([posting(bench, "ann", "e")], NOW),
    ]
    batches = [batch for one in appended for batch in one.batches]
    seqs = [seq for batch in batches for seq in range(batch.seq - len(batch.entries) + 1, batch.seq + 1)]
    assert seqs == list(range(seqs[0], seqs[0] + 5)), "as one store has made all of them"
    assert seqs[0] == 1 or not place.counts
    assert appended[1].batches == []
    for log in (lab, bench):
        mine = [batch for batch in batches if batch.log.id == log.id]
        assert all((batch.first, batch.last) == (batch.entries[0].number, batch.entries[-1].number) for batch in mine)
        assert [entry for batch in mine for entry in batch.entries] == store.read(log, 0, 9)
        assert [(batch.seq, batch.entries) for batch in store.read_batches(log, 0, 9)] == [
            (one.seq, one.entries) for one in mine
        ]


def test_an_id_is_stored_once(store: Store, place: Place) -> None:
    """It keeps its first number: twice in one posting, in one append, in a later append, and after a restart."""
    lab, bench = store.open_channel("lab"), store.open_channel("bench")
    batch = [posting(lab, "Ann", "a", ("b", "x"), ("b again", "x")), posting(lab, "ANN", ("b once more", "x"), "c")]
    assert [list(row) for row in store.append(batch, NOW).numbers] == [[1, 2, 2], [2, 3]]
    assert [list(row) for row in store.append([posting(lab, "ann", ("b", "x"), "d")], NOW).numbers] == [[2, 4]]
    assert list(store.append([posting(bench, "ann", ("elsewhere", "x"))], NOW).numbers[0]) == [1], "an id is one log's"
    assert list(store.append([posting(lab, "bob", ("b of bob", "x"))], NOW).numbers[0]) == [5]
    expected = ["a", "b", "c", "d", "b of bob"]
    assert texts(store, lab) == expected
    again = place.open()
    assert [list(row) for row in again.append([posting(lab, "ann", ("b", "x"), "e")], NOW).numbers] == [[2, 6]]
    assert texts(again, lab) == [*expected, "e"]
    assert texts(again, bench) == ["elsewhere"]


def test_an_append_is_whole_or_not_at_all(store: Store, place: Place) -> None:
    """A post that cannot be stored fails its append, which leaves no entry, no id and no gap."""
    lab, bench = store.open_channel("lab"), store.open_channel("bench")
    store.append([posting(lab, "ann", "a")], NOW)
    with pytest.raises(UnicodeEncodeError):
        store.append(
            [posting(lab, "ann", ("b", "1")), posting(bench, "ann", "c"), posting(bench, "ann", "\ud800")], NOW
        )
    assert (texts(store, lab), texts(store, bench)) == (["a"], [])
    after = store.append([posting(bench, "ann", "d"), posting(lab, "ann", ("b", "1"))], NOW)
    assert [list(row) for row in after.numbers] == [[1], [2]]
    seqs = [batch.seq for batch in after.batches]
    assert seqs == [2, 3] if place.counts else seqs[0] > 1 and seqs[1] == seqs[0] + 1


def test_texts_come_back_as_they_were(store: Store) -> None:
    """All characters, quotes, line ends, NUL, and long texts; ids, too."""
    lab = store.open_channel("lab")
    odd = ["", " ", "\0", "a\0b", "'\"\\", "\n\r\t", "é\u2028\U0001f600", "null", "[]", "%s ? :x", "x" * 100_000]
    store.append([posting(lab, "ann", *((text, text[:60] or None) for text in odd))], NOW)
    assert texts(store, lab) == odd
    assert [entry.id for entry in store.read(lab, 0, 99)] == [text[:60] or None for text in odd]


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (RUN,), (RUN + 1, 2), (3 * RUN - 1, 1, 5)])
def test_a_page_is_a_slice_of_the_log(store: Store, sizes: tuple[int, ...]) -> None:
    """For every first number and limit, whatever runs the entries were committed in."""
    lab, other = store.open_channel("lab"), store.open_channel("other")
    everything: list[str] = []
    seqs: list[int] = []  # the journal's number of each entry
    for size in sizes:
        posts = [f"{len(everything) + at}" for at in range(size)]
        everything += posts
        _, mine = store.append([posting(other, "bob", "noise"), posting(lab, "ann", *posts)], NOW).batches
        seqs += range(mine.seq - size + 1, mine.seq + 1)
    total = len(everything)
    for after in {0, 1, RUN - 1, RUN, RUN + 1, total - 1, total, total + 1, 10**15}:
        for limit in {0, 1, 2, RUN - 1, RUN, RUN + 1, total, total + 1}:
            page = store.read(lab, after, limit)
            assert [entry.text for entry in page] == everything[after : after + limit]
            assert [entry.number for entry in page] == [int(entry.text) + 1 for entry in page]
            batches = store.read_batches(lab, after, limit)
            assert [entry for batch in batches for entry in batch.entries] == page
            assert all(
                (batch.first, batch.last) == (batch.entries[0].number, batch.entries[-1].number) for batch in batches
            )
            assert [batch.seq for batch in batches] == [seqs[batch.last - 1] for batch in batches], (
                "also of a batch that is cut"
            )


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (RUN,), (RUN + 1, 2), (3 * RUN - 1, 1, 5)])
def test_a_page_from_the_end_is_a_slice_of_the_log(store: Store, sizes: tuple[int, ...]) -> None:
    lab, other = store.open_channel("lab"), store.open_channel("other")
    everything: list[str] = []
    for size in sizes:
        posts = [f"{len(everything) + at}" for at in range(size)]
        everything += posts
        store.append([posting(other, "bob", "noise"), posting(lab, "ann", *posts), posting(other, "bob", "x")], NOW)
    total = len(everything)
    for before in {0, 1, 2, RUN - 1, RUN, RUN + 1, total, total + 1, total + 2, 10**15}:
        for limit in {0, 1, 2, RUN - 1, RUN, RUN + 1, total, total + 1}:
            upto = max(0, min(before - 1, total))
            page = store.read_back(lab, before, limit)
            assert [entry.text for entry in page] == everything[max(0, upto - limit) : upto]
            assert [entry.number for entry in page] == [int(entry.text) + 1 for entry in page]


@pytest.mark.parametrize("count", [1, 40, 3 * RUN])
def test_a_read_loads_no_more_than_was_asked_for_and_one_run(store: Store, count: int) -> None:
    """However long the texts are, and also where a character takes six bytes as JSON."""
    lab = store.open_channel("lab")
    text = "\x01" * 2_000
    store.append([posting(lab, "ann", *[f"{n}{text}" for n in range(count)])], NOW)
    for size in (1, RUN_SIZE, 3 * RUN_SIZE):
        most = size // 12_000 + RUN_SIZE // 12_000 + 2
        ahead = store.read(lab, 0, 10_000, size)
        assert [entry.number for entry in ahead] == list(range(1, len(ahead) + 1))
        assert min(count, size // 12_100) <= len(ahead) <= most
        back = store.read_back(lab, count + 1, 10_000, size)
        assert [entry.number for entry in back] == list(range(count - len(back) + 1, count + 1))
        assert min(count, size // 12_100) <= len(back) <= most
        assert store.read_batches(lab, 0, 10_000, size)[-1].last == len(ahead)
    assert len(store.read(lab, 0, 10_000)) == len(store.read_back(lab, count + 1, 10_000)) == count


def test_an_id_that_the_server_makes_is_stored_once_and_not_shown(store: Store) -> None:
    """It begins with a slash. After `forget_id`, a post with it is a new one."""
    lab = store.open_channel("lab")
    sent = posting(lab, "ann", ("a", "/dev/1"), ("b", "shown"))
    assert list(store.append([sent], NOW).numbers[0]) == [1, 2]
    again = store.append([sent], NOW)
    assert (list(again.numbers[0]), again.batches) == ([1, 2], [])
    assert [entry.id for entry in store.read(lab, 0, 9)] == [None, "shown"]
    store.forget_id("ann", "/dev/1")
    store.forget_id("bob", "shown")
    store.forget_id("ann", "never was")
    third = store.append([sent], NOW)
    assert list(third.numbers[0]) == [3, 2]
    assert [(entry.text, entry.id) for entry in third.batches[0].entries] == [("a", None)]


def test_a_file_post_makes_an_entry_that_points_at_the_file(store: Store) -> None:
    """In the batch that is delivered and in what is read; the entry shows no id."""
    lab = store.open_channel("lab")
    sent = posting(lab, "ann", ("f1.bin", file_post_id("f1")), ("no file", "/f1"), ("nor this", "x/file"))
    (batch,) = store.append([sent], NOW).batches
    assert store.append([sent], NOW).batches == []
    expected = [("f1", None), (None, None), (None, "x/file")]
    assert [(entry.file, entry.id) for entry in batch.entries] == expected
    assert [(entry.file, entry.id) for entry in store.read(lab, 0, 9)] == expected


def test_the_sender_of_an_id_is_one_user_in_any_spelling(store: Store) -> None:
    """An entry has the spelling of its own post."""
    lab = store.open_channel("lab")
    batches = store.append([posting(lab, "Ann", ("a", "x")), posting(lab, "ANN", ("b", "x"), ("c", "y"))], NOW).batches
    assert [(entry.sender, entry.text) for entry in batches[0].entries] == [("Ann", "a"), ("ANN", "c")]


def test_parts_without_posts_make_no_entries(store: Store, place: Place) -> None:
    lab, den = store.open_channel("lab"), store.open_channel("den")
    appended = store.append([posting(lab, "ann"), posting(den, "ann", "a"), posting(lab, "bob")], NOW)
    assert [list(row) for row in appended.numbers] == [[], [1], []]
    assert [batch.log.name for batch in appended.batches] == ["den"]
    assert store.append([], NOW).batches == []
    (after,) = store.append([posting(lab, "ann", "b")], NOW).batches
    assert after.seq == appended.batches[0].seq + 1
    assert after.seq == 2 or not place.counts


def test_the_size_of_a_batch_grows_with_its_texts(store: Store) -> None:
    """The memory for recent batches has a limit, so long texts and many entries must count, read or just appended."""
    lab = store.open_channel("lab")
    (long,) = store.append([posting(lab, "ann", "x" * 100_000)], NOW).batches
    (many,) = store.append([posting(lab, "ann", *["x"] * (2 * RUN))], NOW).batches
    assert 100_000 < long.size < 110_000
    assert many.size > 2 * RUN * 100
    batches = store.read_batches(lab, 0, 10_000)
    assert 100_000 < batches[0].size < 110_000
    assert len(batches) == 3
