"""Frames become coloured lines."""

from __future__ import annotations

import pytest

from terminal.state.step import DisplayItem, Note, ShownFrame
from terminal.ui.paint import PALETTE, paint
from wire.frames import (
    Closing,
    Entry,
    Error,
    HelpText,
    Joined,
    Page,
    Presence,
    UserInfo,
    Welcome,
)

EVIL = "\x1b[2J\x07\u202e\x9bx"
SOME: list[DisplayItem] = [
    Note(EVIL),
    Note(EVIL, "unsent"),
    *map(
        ShownFrame,
        [
            Entry(1, 0, EVIL, EVIL, "lab"),
            Entry(1, 0, EVIL, f"a\r\n[lab] root: {EVIL}", "lab"),
            Entry(1, 0, EVIL, EVIL, to="alice"),
            Page(entries=[Entry(1, 0, EVIL, EVIL, EVIL)], tail=1, channel=EVIL),
            Page(entries=[], tail=0, channel=EVIL),
            Error(code="internal", error=EVIL),
            Closing(reason=EVIL),
            HelpText(lines=[EVIL]),
            Presence(EVIL, EVIL, EVIL),
            UserInfo(name=EVIL, online=True, doors=[EVIL], address=EVIL),
            Welcome(name=EVIL, server=EVIL, token=EVIL),
            Joined(channel=EVIL, tail=1, topic=EVIL),
        ],
    ),
]


@pytest.mark.parametrize("item", SOME)
def test_displayed_items_cannot_control_the_terminal(item: DisplayItem) -> None:
    for line in paint(item):
        for colour, text in line:
            assert colour in PALETTE
            assert not set(text) & set("\x1b\x07\u202e\x9b\r")


def test_a_message_of_several_lines_cannot_imitate_another_message() -> None:
    (line,) = paint(ShownFrame(Entry(1, 0, "bob", "a\n[lab] root: b", "lab")))
    assert "".join(text for _, text in line) == "[lab] bob: a\n    [lab] root: b"


def test_own_private_and_past_entries_look_different() -> None:
    def look(**how: bool) -> list[tuple[str, str]]:
        return paint(ShownFrame(Entry(1, 0, "bob", "a: b", "lab"), **how))[0]

    assert [text for _, text in look()] == ["[lab] bob: ", "a: b"]
    assert look(mine=True) == [("mine", "[lab] bob: a: b")]
    assert look(past=True)[0][1].endswith(":00 [lab] bob: ")
    assert paint(ShownFrame(Entry(1, 0, "bob", "x", to="alice")))[0][0] == ("direct", "bob -> alice: ")


def test_an_action_has_the_colour_of_its_sender_up_to_the_name() -> None:
    def look(entry: Entry) -> list[str]:
        return [text for _, text in paint(ShownFrame(entry))[0]]

    assert look(Entry(1, 0, "bob", "/me waves: hi", "lab")) == ["[lab] * bob ", "waves: hi"]
    assert look(Entry(1, 0, "bob", "/me waves", to="alice")) == ["bob -> alice: ", "* bob waves"]
    assert paint(ShownFrame(Entry(1, 0, "bob", "/me waves", "lab")))[0][0][0].startswith("name")


def test_help_is_wrapped_on_a_screen_only() -> None:
    """A script gets whole lines."""
    item = ShownFrame(HelpText(lines=["/who  list the members of a channel, or everyone"]))
    assert [line[0][1] for line in paint(item)] == ["/who  list the members of a channel, or everyone"]
    assert [line[0][1] for line in paint(item, 40)] == ["/who  list the members of a channel, or", "      everyone"]
