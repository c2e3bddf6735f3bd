"""The load of a long log: fill one through the socket, and read pages of it. Partyline only."""

from __future__ import annotations

import json
import random
import statistics
import time

from bench.load import Generator
from bench.peers import RunningPeer

from .pool import Client, RunFailed, client_pool

PAGE = 100  # entries
PAGES = 200  # requested one after another
WINDOW = 20_000


def fill(generator: Generator, server: RunningPeer, entries: int, size: int) -> str:
    """Post at least `entries` entries to one channel; return its name."""
    with client_pool(server.dialect, server.port, channels=1, subscribers=1, publishers=1, size=size) as pool:
        (channel,) = pool.channels
        generator.saturated(pool, WINDOW, 0.0, entries)
        return channel.name


def read_pages(server: RunningPeer, channel: str, entries: int) -> tuple[float, float]:
    """Return the median seconds for a page from a random place in the middle, and for the last page."""
    reader = Client(server.port, "reader", server.dialect)
    try:
        reader.ask(server.dialect.join(channel), server.dialect.joined)
        dice = random.Random(1)
        middle = [_page(reader, channel, dice.randrange(entries // 4, entries * 3 // 4)) for _ in range(PAGES)]
        tail = [_page(reader, channel, None) for _ in range(PAGES)]
    finally:
        reader.sock.close()
    return statistics.median(middle), statistics.median(tail)


def _page(reader: Client, channel: str, before: int | None) -> float:
    """Request one page and check its entries; return the seconds from the request to the answer. Raises RunFailed."""
    request = {"op": "history", "channel": channel, "limit": PAGE, "ref": "h"}
    if before is not None:
        request["before"] = before
    line = json.dumps(request).encode() + b"\n"
    start = time.perf_counter()
    answer = reader.ask(line, b'"op":"page"')
    while not answer.endswith(b"\n"):
        answer += reader.expect(b"\n")
    taken = time.perf_counter() - start
    page = next(each for each in map(json.loads, answer.splitlines()) if each["op"] == "page")  # users leave meanwhile
    numbers = [entry["number"] for entry in page["entries"]]
    last = page["tail"] if before is None else before - 1
    if numbers != list(range(last - PAGE + 1, last + 1)):
        raise RunFailed(f"the page before entry {before} holds entries {numbers[:1]} to {numbers[-1:]}")
    return taken
