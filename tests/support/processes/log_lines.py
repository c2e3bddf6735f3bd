"""The operator's log of a server in a process of its own, as JSON."""

from __future__ import annotations

import json
from typing import Any

from tests.support.processes.server import Process
from tests.support.waiting import eventually

JSON_LOG = ("--log-format", "json")


class LogLines:
    """Reads the log of a process that was started with JSON_LOG."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def all(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The lines of one event so far with these fields, among others."""
        whole = self._process.log.rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if line["event"] == event and fields.items() <= line.items()]

    def wait(self, event: str, **fields: Any) -> dict[str, Any]:
        """The first line of one event with these fields, as soon as the log has it."""
        eventually(lambda: bool(self.all(event, **fields)), lambda: f"no {event} {fields} in {self._process.log}")
        return self.all(event, **fields)[0]
