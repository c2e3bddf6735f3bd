"""Names of files from peers: without what nobody can see."""

from __future__ import annotations

import pytest

from wire.errors import Refused
from wire.file_names import LIMIT, check_file_name, check_path, safe_name, safe_path

# Zero-width space, non-joiner and joiner, word joiner, soft hyphen, grapheme joiner, Hangul filler, a variation
# selector, a tag.
INVISIBLE = "\u200b\u200c\u200d\u2060\u00ad\u034f\u3164\ufe0f\U000e0041"


@pytest.mark.parametrize("character", INVISIBLE)
def test_invisible_characters_are_taken_out(character: str) -> None:
    name = f"pho{character}to.j{character}pg"
    assert check_file_name(name) == safe_name(name) == "photo.jpg"
    assert check_path(f"a{character}/b/{name}") == "a/b/photo.jpg"
    assert safe_path(f"a{character}/b/{name}") == ["a", "b", "photo.jpg"]


@pytest.mark.parametrize("name", [INVISIBLE, f".{INVISIBLE}", f"{INVISIBLE}.."])
def test_a_name_of_nothing_else_is_none(name: str) -> None:
    with pytest.raises(Refused, match="needs a name"):
        check_file_name(name)
    assert safe_name(name) == "file"


def test_letters_of_all_scripts_stay() -> None:
    for name in ("Übung.txt", "名前.txt", "صورة.jpg", "фото.png", "📷.jpg", "नमस्ते.txt"):
        assert check_file_name(name) == name
        assert safe_name(name) == name


@pytest.mark.parametrize("name", ["gpj.\u202etxt", "a\u2066b", "a\x9bb", "a\x7f"])
def test_characters_that_act_on_a_terminal_are_refused(name: str) -> None:
    with pytest.raises(Refused, match="no control characters"):
        check_file_name(name)


def test_the_length_counts_without_them() -> None:
    assert check_file_name("x" * LIMIT + "\u200b") == "x" * LIMIT
    with pytest.raises(Refused, match="at most"):
        check_file_name("x" * (LIMIT + 1))
