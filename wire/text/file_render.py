"""Floor 0: the frames of files as lines for a person; render.py makes them safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from wire.file_names import size_words
from wire.frames import (
    Attached,
    Cancelled,
    Chunk,
    Fetched,
    FileInfo,
    FileList,
    Finished,
    Frame,
    Kept,
    More,
    Offered,
    Ranges,
    SumIs,
    Visitor,
    Wanted,
    Way,
)


def percent(have: int, size: int) -> int:
    """How much of it is there; 100 only if all of it is."""
    return have * 100 // size if size else 100


def _offered(frame: Offered) -> list[str]:
    return [f"* {frame.user} is away; the file is kept for them."] if frame.away and frame.user else []


def _files(frame: FileList) -> list[str]:
    if not frame.files:
        return ["* No files are offered to you, or by you."]
    wide = max(len(info.file) for info in frame.files), max(len(size_words(info.size)) for info in frame.files)
    return [
        *[_file(info, *wide) for info in frame.files],
        "* /get <id> fetches one, in client.py: it shows how far it is, and goes on after a lost line.",
    ]


def _file(info: FileInfo, id_width: int, size_width: int) -> str:
    where = f"in {info.channel}" if info.channel else f"in your talk with {info.user}"
    count = f"/, {info.count} files," if info.count > 1 else ""
    coming = "" if info.done else f", {percent(info.have, info.size)} % there"
    fetched = f", fetched by {', '.join(info.fetched)}" if info.fetched else ""
    size = size_words(info.size)
    return (
        f"* {info.file:<{id_width}}  {size:>{size_width}}  {info.name}{count} by {info.sender} {where}{coming}{fetched}"
    )


FILE_RENDERERS: dict[type[Frame], Callable[[Any], Sequence[str]]] = {
    Offered: _offered,
    FileList: _files,
    Cancelled: lambda frame: [f"* {frame.name} is not offered any more."],
    Fetched: lambda frame: [f"* {frame.user} has fetched {frame.name} ({frame.file})."],
    # What only programs ask for, or what is shown as progress.
    Kept: lambda frame: [],
    Ranges: lambda frame: [],
    Finished: lambda frame: [],
    Chunk: lambda frame: [],
    SumIs: lambda frame: [],
    Attached: lambda frame: [],
    Way: lambda frame: [],
    Visitor: lambda frame: [],
    Wanted: lambda frame: [],
    More: lambda frame: [],
}
