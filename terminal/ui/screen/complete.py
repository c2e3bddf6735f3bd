"""Floor 4: completion on the screen: commands from their table, channels and users from the names that were met."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from wire.text import COMMANDS

from ...state import Rooms

_COMMANDS = sorted(name for command in COMMANDS for name in (command.name, *command.aliases))
# The arguments of each command, as its usage names them: `<channel>`, `[channel or @user]`, `<user>`.
_ARGUMENTS = {
    name: re.findall(r"[<\[]([^>\]]+)[>\]]", command.usage)
    for command in COMMANDS
    for name in (command.name, *command.aliases)
}


class WordCompleter(Completer):
    """Complete the word before the cursor."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield the words that begin with the one before the cursor, sorted."""
        *before, word = document.text_before_cursor.lstrip().split(" ")
        for candidate in self._candidates(before, word):
            if candidate.casefold().startswith(word.casefold()):
                yield Completion(candidate, start_position=-len(word))

    def _candidates(self, before: list[str], word: str) -> Iterator[str]:
        if not before and word.startswith("/"):
            yield from (f"{name} " if _ARGUMENTS[name] else name for name in _COMMANDS)
        elif before and before[0] in _ARGUMENTS:
            arguments = _ARGUMENTS[before[0]]
            yield from self._arguments(arguments[len(before) - 1]) if len(before) <= len(arguments) else ()
        else:
            if not before:
                yield from sorted(f"{name}: " for name in self._rooms.joined().values())
            yield from sorted(self._rooms.names.users.values())

    def _arguments(self, kind: str) -> Iterator[str]:
        if kind == "command":
            yield from _COMMANDS
        if "channel" in kind:
            yield from sorted(f"{name} " for name in self._rooms.names.channels.values())
        if "user" in kind:
            mark = "@" if "@user" in kind else ""
            yield from sorted(f"{mark}{name} " for name in self._rooms.names.users.values())
