"""Floor 0: the exceptions for a peer's mistakes and for a problem on this side, and the error codes on the wire."""

from __future__ import annotations

CODES: dict[str, str] = {
    "bad-frame": "the line is not a frame: it is not JSON, or a field is missing or of the wrong type",
    "unknown-frame": "no frame has that `op`",
    "unknown-command": "no command has that name",
    "bad-command": "an argument of the command is missing or wrong",
    "malformed": "the MQTT packet breaks the specification",
    "too-long": "a line, a payload or a topic exceeds its limit",
    "wrong-protocol": "the peer speaks another protocol, such as HTTP",
    "hello-first": "the connection has no name yet: send `hello` first",
    "login-limit": "the connection has reached a limit of what it may do before it has a name",
    "already-named": "the connection already has a name",
    "bad-name": "the name does not have 1 to 32 letters, digits, `-` and `_`",
    "name-taken": "another user is connected with that name",
    "need-password": "the name is registered, and needs its password",
    "wrong-password": "the password is not that of the name",
    "password-delayed": "too many wrong passwords for the name, or from the address: the sentence says when to go on",
    "busy": "the server has too many passwords to check, files open, or bytes that wait for the address: try again",
    "bad-password": "the new password is too short or too long",
    "no-channel": "the request names no channel, and none is current",
    "no-such-channel": "no channel has that name",
    "no-such-user": "no user of that name was ever connected",
    "damaged": "the messages are damaged on the disk of the server",
    "not-a-member": "you are not a member of that channel",
    "too-many-channels": "the user is in, or has created, as many channels as the limit allows",
    "too-many-talks": "the guest has begun as many private conversations as the limit allows",
    "rate-limited": "the user, or everyone at the address, does this too often: the sentence says when to try again",
    "empty": "the text is empty",
    "no-such-file": "no file that this user may fetch has that id",
    "file-away": "the bytes of the file are at another server, which does not answer: try again later",
    "gone": "the sender has taken the file back, or its time is over",
    "bad-file-name": "the name of the file has a path or control characters, is empty, or is too long",
    "too-large": "the file exceeds the limit of one file",
    "quota": "the file would exceed the limit of the user's files or of all files",
    "file-conflict": "the id belongs to another file of yours, or the file is finished and cannot change",
    "bad-range": "the range is outside of the file",
    "incomplete": "the server does not have the whole file yet",
    "checksum-mismatch": "the bytes do not have the given SHA-256; the server keeps them as a part",
    "not-direct": "the sender cannot be reached directly at the moment: fetch the file from the server",
    "client-only": "only `client.py` and other programs can do that, not the text dialect",
    "not-allowed": "this user may not read or write that",
    "not-stored": "the server could not store it, for example on a full disk: no one has received it; send it again",
    "too-slow": "the connection reads too slowly, or was silent for too long",
    "tls-required": "the server accepts only connections in TLS from this address, or on this port",
    "server-full": "the server has reached its limit of connections",
    "address-full": "the address has reached its limit of connections",
    "replaced": "the same user has connected again",
    "closing": "the server is shutting down",
    "internal": "the server made a mistake; its log has the details",
}

# The codes of what a peer has had too much of; the operator's log has each of them once for a connection.
LIMIT_CODES = frozenset({"too-long", "too-large", "too-many-channels", "too-many-talks", "quota", "rate-limited"})

WRONG_PASSWORD = "The password is wrong. Try again."  # the sentence of `wrong-password`


class ChatError(Exception):
    """A peer asked for something that cannot be done. `code` is one of CODES, `sentence` is for a person."""

    def __init__(self, code: str, sentence: str) -> None:
        assert code in CODES, code
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class Refused(ChatError):
    """A mistake of the peer: the peer is told, and the connection goes on."""


class PeerError(ChatError):
    """A mistake of the peer after which its input cannot be read: the peer is told, and the connection ends."""


class LocalError(Exception):
    """A problem on this side, such as a bad option or a damaged store; one sentence for the operator."""
