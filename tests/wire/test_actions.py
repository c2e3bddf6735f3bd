"""Actions: which texts are some, and how each dialect shows them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given

from tests.support.strategies import hostile_text
from wire.actions import action_of
from wire.frames import Entry
from wire.jsonlines import JsonLines
from wire.names import one_line
from wire.text import TextLines, entry_line, past_line
from wire.topics import text_payloads


def said(text: str, to: str | None = None) -> Entry:
    return Entry(1, 0, "alice", text, None if to else "lab", to)


@pytest.mark.parametrize(
    "text", ["", "/me", "/me ", "/me  ", "/meow loudly", " /me waves", "/ME waves", "say /me waves"]
)
def test_a_text_that_is_no_action(text: str) -> None:
    assert action_of(text) is None
    assert entry_line(said(text)) == f"[lab] alice: {text}"
    assert text_payloads([said(text)]) == [f"alice: {text}".encode()]
    assert TextLines.encode_entries([said(text)]) == f"[lab] alice: {text}\n".encode()


def test_an_action_in_every_dialect() -> None:
    waves, private = said("/me waves: hi"), said("/me waves", "bob")
    assert action_of("/me  waves ") == "waves"
    assert TextLines.encode(waves) == b"[lab] * alice waves: hi\n"
    assert TextLines.encode(private) == b"alice -> bob: * alice waves\n"
    assert TextLines.encode_entries([said("hello"), waves, private]) == (
        b"[lab] alice: hello\n[lab] * alice waves: hi\nalice -> bob: * alice waves\n"
    )
    assert past_line(waves).endswith(" [lab] * alice waves: hi")
    assert text_payloads([said("hello"), waves]) == [b"alice: hello", b"* alice waves: hi"]
    assert msgspec.json.decode(JsonLines.encode(waves))["text"] == "/me waves: hi"


def test_an_action_cannot_pass_for_a_line_of_the_server() -> None:
    """Notices begin with `*`, and the lines of entries never do."""
    for text in ("/me has left lab", "/me\n* bob has left lab", "/me waves\n* bob has left lab"):
        for line in entry_line(said(text)).split("\n"):
            assert not line.startswith("*")


@given(hostile_text())
def test_a_batch_is_shown_like_its_entries(text: str) -> None:
    entries = [said("first"), said(f"/me {text}"), said(text), said(f"/me {text}", "bob")]
    shown = TextLines.encode_entries(entries)
    assert shown == "".join([f"{entry_line(entry)}\n" for entry in entries]).encode()
    assert (
        text_payloads(entries)[2]
        == (
            f"alice: {one_line(text)}" if action_of(text) is None else f"* alice {one_line(action_of(text) or '')}"
        ).encode()
    )
