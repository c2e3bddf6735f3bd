"""Floor 0: peers of other protocols: how their first bytes look, and the one answer that they understand.

A web page can have a browser send almost any bytes after a request line to any port. So nothing that follows a request
line of HTTP is read: a line of its body must not become a line of the chat.
"""

from __future__ import annotations

import codecs
import re

from .errors import PeerError

TLS_FIRST_BYTE = 0x16  # a TLS record of the handshake, with a ClientHello (RFC 8446 §5.1)

_WHITESPACE = b" \t\r\n"
_TELNET = 0xFF  # the first byte of telnet's negotiation (RFC 854)
_LOOK = 4  # bytes: those of one character, and of a packet of MQTT up to the first byte of its first length
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# A request line: a method, which is any token, a target, and a version (RFC 9112 §3, RFC 9110 §5.6.2).
_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ .* HTTP/[0-9][0-9.]*\s*", re.DOTALL)
_PROXY_LINE = re.compile(rb"PROXY (?:TCP[46]|UNKNOWN)\b")  # version 1; see proxy_protocol.py
_LONG_REQUEST_LINE = re.compile(rb"[A-Z]+ (?:/|https?://)")  # one whose end is too far away

PROXY_SENTENCE = "This server takes the PROXY protocol only from the addresses in its setting proxies."
HTTP_SENTENCE = "This is a Partyline chat server. It speaks its own protocols and MQTT on this port, but not HTTP."
TLS_SENTENCE = "This server has no certificate, so it does not speak TLS."
UNKNOWN_SENTENCE = "This server speaks text, JSON and MQTT. Your first byte begins none of them."

_BODY = f"{HTTP_SENTENCE}\n".encode()
HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_BODY), _BODY)
)
PROXY_ANSWER = f"! {PROXY_SENTENCE}\n".encode()
TLS_ANSWER = bytes.fromhex("15 0303 0002 02 28")  # an alert record: fatal, handshake_failure (RFC 8446 §6)


class WrongProtocol(PeerError):
    """The peer speaks another protocol: it gets `answer`, in that protocol, and the connection ends.

    `protocol` is its name for the operator's log.
    """

    def __init__(self, protocol: str, sentence: str, answer: bytes) -> None:
        super().__init__("wrong-protocol", sentence)
        self.protocol = protocol
        self.answer = answer


def without_whitespace(first: bytes) -> bytes:
    """Return the first bytes of a peer without the blank lines and spaces before them."""
    return first.lstrip(_WHITESPACE)


def begins_text(first: bytes) -> bool:
    """Return True if a person may have typed these first bytes, which may be empty or end within a character."""
    first = without_whitespace(first)[:_LOOK]
    if not first or first[0] == _TELNET:
        return True
    if _CONTROL.search(first) is not None:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(first)
    except UnicodeDecodeError as error:
        return error.start > 0
    return True


def check_first_line(line: bytes, *, whole: bool = True) -> None:
    """Raise WrongProtocol if the first line of a peer is a request line of HTTP, or a header of the PROXY protocol.

    Not `whole`: its start is.
    """
    if _PROXY_LINE.match(line) is not None:
        raise WrongProtocol("PROXY", PROXY_SENTENCE, PROXY_ANSWER)
    if (_REQUEST_LINE.fullmatch(line) if whole else _LONG_REQUEST_LINE.match(line)) is not None:
        raise WrongProtocol("HTTP", HTTP_SENTENCE, HTTP_ANSWER)
