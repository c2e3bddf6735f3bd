"""The commands of files: those of EMQX and this project's, right and wrong."""

from __future__ import annotations

import pytest

from tests.support.files import SHA
from wire.errors import Refused
from wire.frames import Cancel, FilePart, Finish, Get, Have, Offer, Put, Request, Sum, Taken
from wire.topics import Topics

CHAT = Topics()


@pytest.mark.parametrize(
    ("levels", "payload", "wanted"),
    [
        ("init", b'{"name":"x","size":3,"to":"bob"}', Offer(name="x", size=3, user="bob", id="f")),
        (
            "init",
            b'{"name":"x","size":3,"to":"#lab","checksum":"%s","parts":[{"name":"a","size":3}]}' % SHA.encode(),
            Offer(name="x", size=3, channel="lab", id="f", sha256=SHA, parts=[FilePart("a", 3)]),
        ),
        ("0", b"abc", Put(file="f", offset=0, bytes=3, payload=b"abc")),
        (f"7/{SHA.upper()}", b"", Put(file="f", offset=7, sha256=SHA)),
        ("fin/3", b"", Finish(file="f", size=3)),
        (f"fin/3/{SHA}", b"", Finish(file="f", sha256=SHA, size=3)),
        ("abort", b"", Cancel(file="f")),
        ("have", b"", Have(file="f")),
        ("have", b'{"watch":true}', Have(file="f", watch=True)),
        ("get", b'{"offset":3,"length":4}', Get(file="f", offset=3, length=4)),
        ("sum", b'{"length":4}', Sum(file="f", offset=0, length=4)),
        ("taken", b"", Taken(file="f")),
    ],
)
def test_commands(levels: str, payload: bytes, wanted: Request) -> None:
    assert CHAT.request(f"chat/from/me/file/f/{levels}", payload, "me") == wanted
    assert CHAT.request(*CHAT.ask(wanted, "me"), "me") == wanted, "a client says the same"


@pytest.mark.parametrize(
    ("levels", "payload", "code"),
    [
        ("init", b"{", "bad-frame"), ("init", b'{"name":"x","to":"bob"}', "bad-frame"),
        ("init", b'{"name":"x","size":1}', "bad-frame"), ("init", b'{"name":"x","size":-1,"to":"bob"}', "bad-frame"),
        ("-1", b"", "bad-range"), ("9" * 17, b"", "bad-range"), ("x", b"", "bad-range"), ("\u0663", b"", "bad-range"),
        ("0/abc", b"", "checksum-mismatch"), ("fin/x", b"", "bad-range"), ("get", b"", "bad-frame"),
        ("get", b'{"length":0}', "bad-frame"), ("a/b/c", b"", "unknown-command"), ("", b"", "unknown-command"),
        ("fin", b"", "bad-range"),
    ],
)  # fmt: skip
def test_commands_that_are_wrong(levels: str, payload: bytes, code: str) -> None:
    assert refusal(f"file/f/{levels}", payload).code == code


def test_a_command_needs_the_id_of_a_file() -> None:
    assert refusal("file/ü/have").code == "no-such-file"
    assert refusal("file//have").code == "no-such-file"
    assert refusal("file").code == "unknown-command"


def refusal(levels: str, payload: bytes = b"") -> Refused:
    """The refusal of a command."""
    with pytest.raises(Refused) as refused:
        CHAT.request(f"chat/from/me/{levels}", payload, "me")
    return refused.value


def test_a_command_that_lacks_something_says_what() -> None:
    """EMQX's clients may leave the size and the recipient out, so the sentences name them."""
    sentences = {
        ("file/f/init", b'{"name":"x","to":"bob"}'): 'init takes the size of the file in bytes: "size".',
        (
            "file/f/init",
            b'{"name":"x","size":1}',
        ): 'init takes the recipient: "to", such as "bob" or "#lab".',
        ("file/f/fin", b""): "fin takes the size of the file: fin/11, or fin/11/<sha256>.",
        ("file/f/get", b'{"offset":3}'): 'The payload is {"offset", "length"}.',
        ("file/f", b""): "The command is missing, such as file/f/init.",
    }
    for (levels, payload), sentence in sentences.items():
        assert refusal(levels, payload).sentence == sentence


def test_a_file_is_larger_than_a_message_and_its_commands_are_no_wills() -> None:
    assert CHAT.request("chat/from/me/file/f/0", bytes(99), "me", limit=9) == Put(
        file="f", offset=0, bytes=99, payload=bytes(99)
    )
    with pytest.raises(Refused, match="at most 9 bytes"):
        CHAT.request("chat/from/me/say/lab", bytes(10), "me", limit=9)
    assert not CHAT.may_be_will("chat/from/me/file/f/init")
