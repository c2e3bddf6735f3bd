"""The programs as processes: the server, the client as a filter and on a screen, and a look at them from outside."""

from tests.support.processes.log_lines import JSON_LOG, LogLines
from tests.support.processes.measures import (
    counts,
    descriptors,
    memory,
    peak_memory,
    returns_to,
    serves,
    threads,
    written,
)
from tests.support.processes.server import Process

__all__ = [
    "JSON_LOG",
    "LogLines",
    "Process",
    "counts",
    "descriptors",
    "memory",
    "peak_memory",
    "returns_to",
    "serves",
    "threads",
    "written",
]
