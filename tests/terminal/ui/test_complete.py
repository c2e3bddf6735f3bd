"""Completion by Tab."""

from __future__ import annotations

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from terminal.state.cursors import Cursors
from terminal.state.outbox import Outbox
from terminal.state.rooms import Rooms
from terminal.ui.screen.complete import WordCompleter


@pytest.fixture
def completer() -> WordCompleter:
    rooms = Rooms(Cursors(), Outbox())
    rooms.names.channels.update(lab="lab", ops="Ops")
    rooms.names.users.update(bob="bob", lara="Lara")
    rooms._cursors.open("lab", None)
    return WordCompleter(rooms)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("/wh", ["/who ", "/whois "]),
        ("/ch", ["/channels "]),
        ("/join ", ["Ops ", "lab "]),
        ("/join o", ["Ops "]),
        ("/join lab ", []),
        ("/msg L", ["Lara "]),
        ("/msg bob la", []),
        ("/history @", ["@Lara ", "@bob "]),
        ("/help /j", ["/join"]),
        ("la", ["lab: ", "Lara"]),
        ("hello b", ["bob"]),
        ("/nothing ", ["Lara", "bob"]),
    ],
)
def test_tab_completes_commands_channels_and_names(completer: WordCompleter, typed: str, completed: list[str]) -> None:
    found = completer.get_completions(Document(typed), CompleteEvent())
    assert [completion.text for completion in found] == completed
