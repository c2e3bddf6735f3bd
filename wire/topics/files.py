"""Floor 0: the topics of files below `<root>/from/<me>/file/<id>/` and `<root>/to/<me>/file/<id>`; pure.

The commands are those of EMQX's file transfer (`init`, `<offset>`, `fin`, `abort`), which only uploads, and beyond them
`have`, `get`, `sum` and `taken`. The id is the client's own for a file that it offers, otherwise the server's.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from wire.errors import Refused
from wire.file_names import is_file_id
from wire.frames import (
    Answer,
    Cancel,
    Cancelled,
    Chunk,
    Error,
    Fetched,
    FilePart,
    Finish,
    Finished,
    Frame,
    Get,
    Have,
    Kept,
    More,
    Number,
    Offer,
    Offered,
    Ok,
    Put,
    Ranges,
    Request,
    Sum,
    SumIs,
    Taken,
)
from wire.mqtt import Reason
from wire.names import shorten

VERB = "file"
MORE = b'{"more":true}'  # says that it is time to ask again

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_MOST = 2**53 - 1
# What EMQX calls it, and its reason codes: 128 is "try again, or mend it", 131 "give it up", 151 "not now".
_REASONS: dict[str, tuple[int, str]] = {
    "bad-frame": (Reason.UNSPECIFIED_ERROR, "invalid_filemeta"),
    "bad-file-name": (Reason.UNSPECIFIED_ERROR, "invalid_filemeta"),
    "file-conflict": (Reason.UNSPECIFIED_ERROR, "filemeta_conflict"),
    "no-such-file": (Reason.UNSPECIFIED_ERROR, "filemeta_not_found"),
    "bad-range": (Reason.UNSPECIFIED_ERROR, "invalid_offset"),
    "checksum-mismatch": (Reason.UNSPECIFIED_ERROR, "checksum_mismatch"),
    "incomplete": (Reason.UNSPECIFIED_ERROR, "incomplete"),
    "not-stored": (Reason.UNSPECIFIED_ERROR, "not_stored"),
    "not-allowed": (Reason.NOT_AUTHORIZED, "not_authorized"),
    "quota": (Reason.QUOTA_EXCEEDED, "quota_exceeded"),
    "too-large": (Reason.IMPLEMENTATION_SPECIFIC_ERROR, "file_too_large"),
}


class _Init(msgspec.Struct):
    """What `init` says; whatever else EMQX's clients put there is passed over."""

    name: str
    to: str = ""
    size: Number | None = None
    checksum: str = ""
    parts: list[FilePart] = msgspec.field(default_factory=list)


class _Span(msgspec.Struct):
    offset: Number = 0
    length: Annotated[int, msgspec.Meta(ge=1, le=_MOST)] | None = None


class _Watch(msgspec.Struct):
    watch: bool = False


def command(topic: str, start: str) -> tuple[str, list[str]] | None:
    """The id and the levels of a command below `start`, which is `<root>/from/<me>/`; None if it is about no file."""
    if not topic.startswith(f"{start}{VERB}/"):
        return None
    id, *levels = topic[len(start) + len(VERB) + 1 :].split("/")
    return id, levels


def request(id: str, levels: list[str], payload: bytes) -> Request:
    """What a command asks. Raises Refused."""
    if not is_file_id(id):
        raise Refused("no-such-file", f"{shorten(id)} is no file's id: it has 1 to 64 letters, digits, -, _ and dots.")
    match levels:
        case ["init"]:
            return _offer(id, payload)
        case ["fin", size]:
            return Finish(file=id, sha256="", size=_number(size))
        case ["fin", size, sha256]:
            return Finish(file=id, sha256=_sha256(sha256), size=_number(size))
        case ["fin"]:
            raise Refused("bad-range", "fin takes the size of the file: fin/11, or fin/11/<sha256>.")
        case ["abort"]:
            return Cancel(file=id)
        case ["have"]:
            return Have(file=id, watch=_body(payload, _Watch).watch)
        case ["taken"]:
            return Taken(file=id)
        case ["get" | "sum" as verb]:
            span = _body(payload, _Span)
            if span.length is None:
                raise Refused("bad-frame", 'The payload is {"offset", "length"}.')
            return (Get if verb == "get" else Sum)(file=id, offset=span.offset, length=span.length)
        case [] | [""]:
            raise Refused("unknown-command", f"Which command is it? file/{id}/init, for one.")
        case [offset]:
            return Put(file=id, offset=_number(offset), bytes=len(payload), payload=payload)
        case [offset, sha256]:
            checked = _sha256(sha256)
            return Put(file=id, offset=_number(offset), bytes=len(payload), payload=payload, sha256=checked)
    raise Refused("unknown-command", f"There is no {shorten('/'.join(levels), 80)} of a file.")


def _offer(id: str, payload: bytes) -> Offer:
    body = _body(payload, _Init)
    if body.size is None:  # EMQX does without; here, people are told it at once, and it counts against the limits
        raise Refused("bad-frame", 'init takes the size of the file, in bytes: "size".')
    if not body.to:
        raise Refused("bad-frame", 'init says for whom the file is: "to", which is "bob", or "#lab".')
    sha256 = _sha256(body.checksum) if body.checksum else ""
    to = {"channel": body.to[1:]} if body.to.startswith("#") else {"user": body.to.removeprefix("@")}
    return Offer(name=body.name, size=body.size, id=id, parts=body.parts, sha256=sha256, **to)


def _body(payload: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(payload or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("bad-frame", f"The payload does not fit: {error}.") from None


def _number(level: str) -> int:
    if not (level.isascii() and level.isdigit() and len(level) <= 16 and int(level) <= _MOST):
        raise Refused("bad-range", f"{shorten(level)} is no offset and no size.")
    return int(level)


def _sha256(text: str) -> str:
    if _SHA256.fullmatch(text) is None:
        raise Refused("checksum-mismatch", "A SHA-256 is written with 64 hexadecimal digits.")
    return text.lower()


def place(frame: Frame, to: str, asked: tuple[str, list[str]] | None) -> tuple[str, bytes] | None:
    """The topic and the payload of an answer to a command, or of an event about a file; None for anything else.

    `to` is `<root>/to/<me>`; `asked` is the command as `command` gives it.
    """
    if isinstance(frame, More):
        return f"{to}/{VERB}/{frame.file}", MORE
    if isinstance(frame, Fetched):
        return f"{to}/fetched", _json(frame)
    if asked is None:
        return None
    id, levels = asked
    top = f"{to}/{VERB}/{id}"
    if isinstance(frame, Chunk):
        return f"{top}/{frame.offset}", frame.payload
    told = "/".join([VERB, id, *levels])
    if isinstance(frame, Error):
        code, reason = _REASONS.get(frame.code, (Reason.IMPLEMENTATION_SPECIFIC_ERROR, frame.code.replace("-", "_")))
        body = {"topic": told, "reason_code": int(code), "reason_description": reason}
        return top, msgspec.json.encode({**body, "code": frame.code, "error": frame.error})
    body = {"topic": told, "reason_code": 0, "reason_description": "success"}
    return top, msgspec.json.encode({**body, **_said(frame)})


def _said(frame: Frame) -> dict[str, Any]:
    """What an answer says beyond that it is done."""
    said = msgspec.to_builtins(frame)
    for field in ("op", "ref", "offset", "length") if not isinstance(frame, Offered) else ("op", "ref"):
        said.pop(field, None)
    return dict(said)


def _json(frame: Frame) -> bytes:
    said = msgspec.to_builtins(frame)
    said.pop("op", None)
    return msgspec.json.encode(said)


# The other side: what a client asks, and how it reads the answers.


def ask(request: Request) -> tuple[str, bytes] | None:
    """The levels below `file/` and the payload with which something is asked; None if it is about no file."""
    match request:
        case Offer():
            to = f"#{request.channel}" if request.channel else request.user
            body = {"name": request.name, "size": request.size, "to": to, "checksum": request.sha256}
            return f"{request.id}/init", msgspec.json.encode({**body, "parts": request.parts})
        case Put():
            levels = f"{request.offset}/{request.sha256}" if request.sha256 else f"{request.offset}"
            return f"{request.file}/{levels}", request.payload
        case Finish():
            return f"{request.file}/fin/{request.size}{f'/{request.sha256}' if request.sha256 else ''}", b""
        case Cancel():
            return f"{request.file}/abort", b""
        case Have():
            return f"{request.file}/have", msgspec.json.encode({"watch": request.watch})
        case Get() | Sum():
            verb = "get" if isinstance(request, Get) else "sum"
            return f"{request.file}/{verb}", msgspec.json.encode({"offset": request.offset, "length": request.length})
        case Taken():
            return f"{request.file}/taken", b""
    return None


_ANSWERS: dict[type[Request], type[Answer]] = {
    Offer: Offered, Put: Kept, Finish: Finished, Cancel: Cancelled, Have: Ranges, Sum: SumIs, Taken: Ok,
}  # fmt: skip


def answer(request: Request, levels: list[str], payload: bytes) -> Answer | None:
    """What a message on `file/<levels…>` says, if it answers this request; the first level is the file's id."""
    asked = ask(request)
    if asked is None or levels[0] != asked[0].partition("/")[0]:
        return None
    if len(levels) == 2 and isinstance(request, Get):
        if levels[1] != str(request.offset):
            return None
        return Chunk(file=request.file, offset=request.offset, bytes=len(payload), payload=payload, ref=request.ref)
    try:
        body = msgspec.json.decode(payload, type=dict[str, Any])
        if body.get("topic") != f"{VERB}/{asked[0]}":
            return None
        if body.get("reason_code") != 0:
            return Error(code=str(body["code"]), error=str(body["error"]), ref=request.ref)
        length = len(request.payload) if isinstance(request, Put) else getattr(request, "length", 0)
        body |= {"offset": getattr(request, "offset", 0), "length": length}
        found = msgspec.convert(body, _ANSWERS[type(request)])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
        return None
    found.ref = request.ref
    return found
