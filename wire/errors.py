"""Floor 0: the three kinds of error, by whose fault they are, and the codes that go on the wire."""

from __future__ import annotations

CODES: dict[str, str] = {
    "bad-frame": "the line is no frame: not JSON, a field missing, or of the wrong type",
    "unknown-frame": "there is no frame with that `op`",
    "unknown-command": "there is no such command",
    "bad-command": "the command lacks an argument, or has one that does not fit",
    "malformed": "the MQTT packet breaks the specification",
    "too-long": "a line or a payload is over its limit",
    "hello-first": "the connection has no name yet: `hello` comes first",
    "already-named": "the connection has its name already",
    "bad-name": "the name breaks the rule: 1 to 32 letters, digits, `-` and `_`",
    "name-taken": "somebody else is connected under that name",
    "need-password": "the name is registered: it takes its password",
    "wrong-password": "the password is not that name's",
    "bad-password": "the new password is too short or too long",
    "no-channel": "no channel was named and none is current",
    "no-such-channel": "there is no channel of that name",
    "no-such-user": "nobody of that name was ever here",
    "not-a-member": "that channel has not been joined",
    "too-many-channels": "the limit of channels that one user may be in is reached",
    "empty": "there is no text to send",
    "no-such-file": "there is no file of that id, or none that this user may fetch",
    "gone": "the file was taken back, or its time is over",
    "bad-file-name": "the name of a file has a path or control characters in it, is empty or too long",
    "too-large": "the file is over the limit of one file",
    "quota": "with that file, the limit of one user's files, or of all files, would be exceeded",
    "file-conflict": "that id stands for another file of yours, or the file is finished and cannot be changed",
    "bad-range": "the range is not in the file",
    "incomplete": "not all of the file is there yet",
    "checksum-mismatch": "the bytes do not have the SHA-256 that was given; what is there is kept as a part",
    "not-direct": "that file is not to be had directly from its sender just now; the server has it, or will",
    "client-only": "that is done by `client.py`, or a program, not in the text dialect",
    "not-allowed": "that is not for this user to read or to write",
    "not-stored": "the store could not keep it (a full disk, for one): nobody has seen it; send it again",
    "too-slow": "the connection reads too slowly or was silent too long",
    "server-full": "the server has no room for one more connection",
    "address-full": "too many connections from that address",
    "replaced": "the same holder of the name has connected again",
    "closing": "the server is going down",
    "internal": "the server made a mistake; its log says more",
}


class ChatError(Exception):
    """Something a peer did that cannot be done; `code` is one of CODES, the message one sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        assert code in CODES, code
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class Refused(ChatError):
    """The peer's mistake, answered with one clear line; the connection goes on."""


class PeerError(ChatError):
    """The peer's mistake after which nothing it sends can be understood; answered, then closed."""


class LocalError(Exception):
    """Our side's trouble (a bad option, a damaged store), in one sentence for the operator."""
