"""The rule for names, and text that is safe on a terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import hostile_text
from wire.errors import Refused
from wire.names import NAME_LIMIT, check_name, fold, is_plain, one_line, printable, shorten

GOOD = st.from_regex(rf"[A-Za-z0-9_-]{{1,{NAME_LIMIT}}}", fullmatch=True)


@given(name=GOOD, sign=st.sampled_from(["", "#", "@"]))
def test_good_names_pass(name: str, sign: str) -> None:
    """Kept as written, without the sign that people put before it."""
    assert check_name(sign + name) == name


@pytest.mark.parametrize(
    ("sign", "what", "other"), [("#", "channel name", "user name"), ("@", "user name", "channel name")]
)
def test_the_sign_of_a_channel_makes_no_user(sign: str, what: str, other: str) -> None:
    """A private message to `#lab` went to a user lab."""
    assert check_name(f"{sign}lab", what) == "lab"
    with pytest.raises(Refused, match=f"A {other} is 1 to 32 "):
        check_name(f"{sign}lab", other)


@given(name=hostile_text() | st.text(max_size=40))
def test_a_name_is_good_or_refused(name: str) -> None:
    """Any other text is refused, and the refusal quotes it safely."""
    if re.fullmatch(r"@?[A-Za-z0-9_-]{1,32}", name):
        assert check_name(name) in name
        return
    with pytest.raises(Refused) as refused:
        check_name(name, "user name")
    assert refused.value.code == "bad-name"
    assert refused.value.sentence.startswith("A user name is 1 to 32 ")
    assert refused.value.sentence.isprintable()
    assert len(refused.value.sentence) < 500


@pytest.mark.parametrize(
    "name",
    [
        "",
        "#",
        "##a",
        "+",
        "a+b",
        "#/#",
        "$SYS",
        "a/b",
        "..",
        "a.b",
        "a b",
        "a:b",
        "a\n",
        "ä",
        "\u0131",
        "x" * 33,
        "a\0",
    ],
)
def test_no_name_is_a_wildcard_a_topic_level_or_a_path(name: str) -> None:
    """Nor empty, nor too long, nor beyond ASCII, where two names can look the same."""
    with pytest.raises(Refused):
        check_name(name)


@given(name=GOOD)
def test_spellings_of_a_name_share_their_key(name: str) -> None:
    """And a key is its own key, and a good name."""
    assert fold(name) == fold(name.upper()) == fold(name.lower()) == fold(fold(name))
    assert check_name(fold(name)) == fold(name)


@given(text=hostile_text() | st.text())
def test_safe_text_stays_as_it_is(text: str) -> None:
    """Made safe once, it is safe; nothing but what acts on a terminal is taken away."""
    safe = printable(text)
    assert printable(safe) == safe
    assert one_line(safe) == one_line(text)
    assert [line for line in one_line(text).split("\n")[1:] if not line.startswith("    ")] == []
    assert safe.encode().decode() == safe
    kept = re.sub("[^ -~]", "", text)
    assert re.sub("[^ -~]", "", safe) == kept


@pytest.mark.parametrize(
    "hidden", ["\u200b", "\u2060\u2063", "\u206f", "\xad", "\ufff9", "\ufeff", "\U000e0001\U000e0041"]
)
def test_nobody_hides_text_in_text(hidden: str) -> None:
    """Two texts that look the same are the same."""
    assert printable(f"pay{hidden} bob") == "pay bob"


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cرود",  # Persian needs the non-joiner
        "क्\u200dष",  # Hindi needs the joiner
        "👩\u200d🔬 ❤\ufe0f 葛\U000e0100",  # as emoji do, and variation selectors
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",  # the flag of Scotland
        "ᠠ\u180e",
    ],
)
def test_scripts_and_emoji_keep_what_they_need(text: str) -> None:
    assert printable(text) == text


def test_only_a_flag_keeps_its_letters() -> None:
    assert printable("🏴\U000e0067\U000e0062") == "🏴"
    assert printable("🏴" + "\U000e0067" * 7 + "\U000e007f") == "🏴"
    assert printable("a\U000e0067\U000e0062\U000e0073\U000e007f") == "a"


@given(text=hostile_text(), limit=st.integers(1, 60))
def test_what_is_quoted_is_short_and_one_line(text: str, limit: int) -> None:
    """For errors and logs."""
    short = shorten(text, limit)
    assert len(short) <= limit
    assert "\n" not in short


@given(lines=st.lists(hostile_text(), max_size=3))
def test_what_passes_the_quick_test_is_safe(lines: list[str]) -> None:
    """The test of a whole batch never lets anything pass that the careful way would change."""
    text = "".join(f"{line}\n" for line in lines)
    if is_plain(text.encode(errors="surrogatepass"), len(lines)):
        assert [one_line(line) for line in lines] == lines
