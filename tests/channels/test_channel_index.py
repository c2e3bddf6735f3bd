"""The channel index finds channels by name, and pages of them in the order of their names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from channels.channel_index import ChannelIndex
from channels.log import Log
from channels.pages import count_within
from store import LogRow
from wire.frames import ChannelInfo
from wire.jsonlines import JsonLines
from wire.names import fold

_NAMES = st.lists(st.text("abAB-_1", min_size=1, max_size=4), unique_by=fold, max_size=30)


def _index(names: list[str]) -> ChannelIndex:
    index = ChannelIndex()
    for id, name in enumerate(names):
        index.add(Log(LogRow(id, "channel", fold(name), name, "", "", 0)))
    return index


@given(names=_NAMES, after=st.text("abAB-_1", max_size=4), limit=st.integers(1, 9))
def test_a_page_is_a_slice_of_the_sorted_names(names: list[str], after: str, limit: int) -> None:
    page = [log.row.name for log in _index(names).page(after, limit)]
    assert page == [name for name in sorted(names, key=fold) if fold(name) > fold(after)][:limit]


@given(names=_NAMES)
def test_a_channel_is_found_in_any_spelling(names: list[str]) -> None:
    index = _index(names)
    assert len(index) == len(index.all()) == len(names)
    for name in names:
        for spelling in (name, name.upper(), fold(name)):
            found = index.find(spelling)
            assert found is not None
            assert found.row.name == name
    assert index.find("nobody-made-this") is None


@given(topics=st.lists(st.text(max_size=20), max_size=20), size=st.integers(0, 400))
def test_as_many_items_are_counted_as_fit(topics: list[str], size: int) -> None:
    infos = [ChannelInfo("lab", 1, 2, topic) for topic in topics]
    count = count_within(infos, size)
    lengths = [len(JsonLines.encode(info)) for info in infos]  # type: ignore[arg-type]
    assert count == 0 if not infos else count >= 1
    assert count <= 1 or sum(lengths[:count]) <= size
    assert count == len(infos) or count == 0 or sum(lengths[: count + 1]) > size
