"""The events that the code under test reports to the operator, in this process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from reporting.events import Event
from reporting.formats import event_of

E = TypeVar("E", bound=Event)


class Reported(logging.Handler):
    """Collects events, from level INFO on. `records` has their records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append(record)

    @property
    def events(self) -> list[Event]:
        """All events so far."""
        return [event_of(record) for record in list(self.records)]

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def take(self) -> list[Event]:
        """The events since the last call."""
        taken = self.events
        del self.records[: len(taken)]
        return taken

    @property
    def text(self) -> str:
        """All events as text, with their tracebacks."""
        return "\n".join(map(logging.Formatter().format, self.records))


@contextmanager
def collected() -> Iterator[Reported]:
    """Collect what is reported in the context."""
    logger, made = logging.getLogger("partyline"), Reported()
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(made)
    try:
        yield made
    finally:
        logger.removeHandler(made)
        logger.setLevel(before)
