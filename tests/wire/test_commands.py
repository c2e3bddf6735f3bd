"""The text dialect's commands: the table, and what it drives."""

from __future__ import annotations

import itertools
import re
from operator import add
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import hostile_text
from wire.errors import Refused
from wire.frames import (
    REQUESTS,
    Attach,
    Bye,
    Channels,
    Finish,
    Get,
    GetFile,
    Have,
    Hello,
    Help,
    History,
    Join,
    Leave,
    Line,
    Listen,
    Msg,
    Names,
    Offer,
    Ping,
    Put,
    Query,
    Reach,
    Register,
    Relay,
    Request,
    Say,
    Seen,
    SendFile,
    Status,
    Sum,
    Taken,
    Topic,
    Who,
    Whois,
)
from wire.text import (
    COMMANDS,
    PLAIN,
    Command,
    channel_word,
    clear_address,
    command_word,
    find,
    help_lines,
    may_hold_secret,
    parse,
    post_for,
    topic_refusal,
    without_secret,
)

WORDS = {
    "<channel>": "lab", "<user>": "bob", "<text>": "hello there", "<password>": "secret-word", "[channel]": "lab",
    "[channel or @user]": "@bob", "[n]": "5", "[before]": "30", "[text]": "Tonight", "[command]": "join",
    "<user or #channel>": "#lab", "<path>": "my photo.jpg", "<id>": "k3x7abcd", "[folder]": "new photos",
    "[after]": "lab", "[channel or *]": "lab", "[user]": "bob",
}  # fmt: skip
OPEN_ENDED = {"<text>", "[text]", "<password>", "<path>", "[folder]"}  # the rest of the line
_ARGUMENT = re.compile(r"<[^>]+>|\[[^]]+\]")


def written(command: Command) -> list[str]:
    """Return all lines that the usage allows: with none, one, … all of its optional arguments."""
    arguments = _ARGUMENT.findall(command.usage)
    needed = [argument for argument in arguments if argument.startswith("<")]
    assert arguments[: len(needed)] == needed, "optional arguments come last"
    names = (command.name, *command.aliases)
    return [
        " ".join([name, *(WORDS[argument] for argument in arguments[:count])])
        for name, count in itertools.product(names, range(len(needed), len(arguments) + 1))
    ]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_usage_can_be_written(command: Command) -> None:
    """Every form of a command, also in capitals and with spaces around it, has one type of frame."""
    kinds = set()
    for line in written(command):
        request = parse(line)
        assert isinstance(request, Request)
        kinds.add(type(request))
        name, _, rest = line.partition(" ")
        assert parse(f"{name.upper()}  {rest} ") == request
    assert len(kinds) == 1


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_what_does_not_fit_shows_the_usage(command: Command) -> None:
    """Too few words, or too many."""
    arguments = _ARGUMENT.findall(command.usage)
    wrong = []
    if any(argument.startswith("<") for argument in arguments):
        wrong.append(command.name)
    if command.name.startswith("/") and not OPEN_ENDED.intersection(arguments):
        wrong.append(f"{command.name} 1 2 3 4 5")
    for line in wrong:
        with pytest.raises(Refused) as refused:
            parse(line)
        assert refused.value.code == "bad-command"
        assert command.usage in refused.value.sentence


def test_everything_that_a_person_may_ask_is_in_the_table() -> None:
    """The other requests are those that people make without a command, and those of programs and servers."""
    reached: set[object] = {type(parse(line)) for command in COMMANDS for line in written(command)}
    by_programs: set[object] = {
        Hello, Seen, Ping, Attach, Offer, Put, Have, Finish, Get, Sum, Taken, Listen, Reach, Relay,
    }  # fmt: skip
    assert reached == {*REQUESTS, SendFile, GetFile, Names, Query} - by_programs


def test_names_that_people_know_from_elsewhere() -> None:
    for known, own in (("/part", "/leave"), ("/part lab", "/leave lab"), ("/list", "/channels"), ("/quit", "exit")):
        assert parse(known) == parse(own)
    assert parse("/me  waves  at bob ") == Say("/me waves  at bob")
    assert parse("/names #lab") == Names("lab", 500)
    assert parse("/names") == Names("", 500)
    assert parse("/query") == Query()
    assert parse("/query @bob") == Query("bob")
    assert parse("/query bob  are you there? ") == Query("bob", "are you there?")
    with pytest.raises(Refused, match="/query talks with a user"):
        parse("/query #lab hi")


@pytest.mark.parametrize(
    ("text", "told"),
    [("help", "Type /help for the commands"), ("Quit", "Type /quit to leave"), ("BYE", "Type /quit to leave"),
     ("help me", ""), ("help!", ""), ("hel", ""), ("", ""), ("hello", ""), ("x" * 10_000, "")],
)  # fmt: skip
def test_a_word_that_may_be_meant_as_a_command(text: str, told: str) -> None:
    assert command_word(text) == told


@pytest.mark.parametrize(
    ("text", "word"),
    [("room99: hi", "room99"), ("a:\tb", "a"), ("#lab: hi", ""), ("12:30 lunch", ""), ("http://example.org", ""),
     ("lab:", ""), ("la b: x", ""), (": x", ""), ("x" * 33 + ": hi", ""), ("hello", "")],
)  # fmt: skip
def test_a_line_that_clearly_names_somebody(text: str, word: str) -> None:
    assert clear_address(Line(text)) == word


def test_a_new_name_needs_a_new_connection() -> None:
    for line in ("/nick carol", "/NICK"):
        with pytest.raises(Refused, match=r"leave with exit, and connect again with it\."):
            parse(line)


def test_names_are_unique_and_rows_complete() -> None:
    """No alias hides a command, and every row has a summary."""
    names = [name for command in COMMANDS for name in (command.name, *command.aliases)]
    assert len(names) == len(set(names))
    for command in COMMANDS:
        assert command.usage.startswith(command.name)
        assert command.summary
        assert not command.summary.endswith(".")
        assert all(name == name.lower() and find(name) is command for name in (command.name, *command.aliases))


def test_help_shows_everything() -> None:
    """Each command and each way to post has an aligned line; each command also has its own help."""
    lines = help_lines()
    also = [f" (also {', '.join(command.aliases)})" if command.aliases else "" for command in COMMANDS]
    rows = [*zip([c.usage for c in COMMANDS], map(add, [c.summary for c in COMMANDS], also), strict=True), *PLAIN]
    assert [re.split(r"  +", line, maxsplit=1) for line in lines] == [list(row) for row in rows]
    assert len({line.index(summary) for line, (_, summary) in zip(lines, rows, strict=True)}) == 1
    for command in COMMANDS:
        for name in (command.name, command.name.removeprefix("/"), *command.aliases):
            first, *more = help_lines(name)
            assert first.startswith(f"{command.usage} - {command.summary}")
            assert all(alias in first for alias in command.aliases)
            assert more == ([command.detail] if command.detail else [])
    with pytest.raises(Refused, match="Unknown command zzzzz"):
        help_lines("zzzzz")


@pytest.mark.parametrize(
    "line",
    ["/register sesame", " /register sesame", "/Register sesame", "/REGISTER  sesame", "/register\tsesame",
     "/regster sesame", "/resgiter sesame", "/registersesame", "/registersesamesesamesesamesesamesesame",
     "/passwd sesame", "/ register sesame"],
)  # fmt: skip
def test_a_password_is_not_shown_again(line: str) -> None:
    """Not in an answer, a line that waits, or the history of the input line, however the command is written."""
    assert may_hold_secret(line)
    assert "sesame" not in without_secret(line)
    assert "sesame" not in refusal(line.strip())


def refusal(line: str) -> str:
    """Return why a command is refused; nothing if it is a registration."""
    try:
        assert parse(line) == Register("sesame")
    except Refused as refused:
        return refused.sentence
    return ""


@pytest.mark.parametrize("line", ["hello", "/join lab", "/JOIN lab", "//register sesame", "exit", "/msg bob hi", ""])
def test_other_lines_are_shown(line: str) -> None:
    assert not may_hold_secret(line)
    assert without_secret(line) == line


def test_a_long_unknown_command_is_compared_with_none() -> None:
    """To compare 16 KB with each command took 2.5 ms."""
    with (
        patch("difflib.get_close_matches") as compare,
        pytest.raises(Refused, match="/help lists the commands"),
    ):
        parse("/" + "x" * 16_000)
    compare.assert_not_called()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("/jion lab", "/join"), ("/j lab", "/join"), ("/histroy", "/history"), ("/topc", "/topic"), ("/quitt", "/quit"),
        ("/chanels", "/channels"), ("/mgs bob hi", "/msg"), ("/exti", "/exit"), ("/xyzzy", None), ("/", None),
    ],
)  # fmt: skip
def test_a_slip_gets_the_nearest_command(typed: str, meant: str | None) -> None:
    """A name that is near to no command gets a hint to the help."""
    with pytest.raises(Refused) as refused:
        parse(typed)
    assert refused.value.code == "unknown-command"
    hint = refused.value.sentence.partition(". ")[2]
    assert hint == (f"Did you mean {meant}?" if meant else "/help lists the commands.")


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("/join #Lab", Join("Lab")),
        ("/leave", Leave()),
        ("/msg @bob a: b", Msg("bob", "a: b")),
        ("/who", Who(limit=500)),
        ("/who lab", Who("lab", limit=500)),
        ("/who * bob", Who("", "bob", 500)),
        ("/who lab bob", Who("lab", "bob", 500)),
        ("/channels", Channels(limit=100)),
        ("/channels #Lab", Channels("Lab", 100)),
        ("/whois bob", Whois("bob")),
        ("/history", History(limit=20)),
        ("/history 7", History(limit=7)),
        ("/history lab", History(channel="lab", limit=20)),
        ("/history #7", History(channel="7", limit=20)),
        ("/history @bob 7", History(user="bob", limit=7)),
        ("/history lab 7 31", History(channel="lab", limit=7, before=31)),
        ("/topic", Topic()),
        ("/topic -", Topic("", "")),
        ("/topic lab", Topic("lab")),
        ("/topic Tea  time", Topic("Tea", "time")),
        ("/topic #lab", Topic("lab")),
        ("/topic #-", Topic("-")),
        ("/topic lab  Soldering  tonight", Topic("lab", "Soldering  tonight")),
        ("/topic lab -", Topic("lab", "")),
        ("/topic #lab  Soldering  tonight", Topic("lab", "Soldering  tonight")),
        ("/topic #lab -", Topic("lab", "")),
        ("/register secret-word", Register("secret-word")),
        ("/status", Status()),
        ("/help", Help()),
        ("/help join", Help("join")),
        ("exit", Bye()),
        ("/quit", Bye()),
        ("/exit", Bye()),
        ("Exit ", Bye()),
        ("exit now", None),
        ("join lab", None),
        ("lab: /join x", None),
        ("a /join", None),
        ("//join lab", Say("/join lab")),
        ("//", Say("/")),
        ("", None),
    ],
)
def test_what_a_line_means(line: str, meaning: Request | None) -> None:
    """A command has a frame; any other line is a post, and has none."""
    assert parse(line) == meaning


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        (
            "/topic Tea time",
            "The channel Tea does not exist. /join Tea creates it. To set the topic of lab: /topic lab Tea time",
        ),
        ("/topic Tea", "The channel Tea does not exist. /join Tea creates it. To set the topic of lab: /topic lab Tea"),
        ("/topic Tea -", "The channel Tea does not exist. /join Tea creates it."),
    ],
)
def test_a_topic_without_its_channel_is_refused(line: str, refusal: str) -> None:
    """The refusal of a word that is no channel shows how to set the topic of the current channel."""
    asked = parse(line)
    assert isinstance(asked, Topic)
    assert topic_refusal(asked, "lab") == refusal
    assert topic_refusal(asked, "") == "The channel Tea does not exist. /join Tea creates it."


@pytest.mark.parametrize(
    "line", ["/topic Tea, anyone?", "/topic @bob x", "/join @bob", "/msg #lab hello", "/whois #lab"]
)
def test_a_sign_or_a_word_of_another_kind_is_refused(line: str) -> None:
    """A word that is no channel's name is not taken for a text, nor a user for a channel, nor a channel for a user."""
    with pytest.raises(Refused) as refused:
        parse(line)
    assert refused.value.code == "bad-name"


@pytest.mark.parametrize(
    ("line", "post"),
    [
        ("lab: hello", Say("hello", "lab")),
        ("#lab:hello: you", Say("hello: you", "lab")),
        ("Attic:  a\nb", Say("a\nb", "Attic")),
        ("cellar: hello", Say("cellar: hello")),
        ("#cellar: hello", Say("hello", "cellar")),
        ("lab:", Say("lab:")),
        ("note to lab: hello", Say("note to lab: hello")),
    ],
)
def test_a_line_names_a_channel(line: str, post: Say) -> None:
    """Only a channel that exists, whether the user is in it or not; with `#` any channel."""
    assert post_for(Line(line), lambda word: word.lower() in ("lab", "attic")) == post


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        (Line("lab: hello"), "lab"),
        (Line("#lab: hello"), "lab"),
        (Line("hello"), ""),
    ],
)
def test_the_word_on_which_the_meaning_depends(typed: Line, word: str) -> None:
    assert channel_word(typed) == word


@given(line=st.builds("{}{}".format, st.sampled_from(["", "/", "/join ", "/history ", "/topic "]), hostile_text()))
def test_any_line_is_a_command_speech_or_refused(line: str) -> None:
    """Any text is a command, a post, or refused with a sentence."""
    try:
        request = parse(line)
    except Refused as error:
        refused = error
    else:
        assert request is None or isinstance(request, Request)
        return
    assert refused.code in ("unknown-command", "bad-command", "bad-name")
    assert len(refused.sentence) < 600
