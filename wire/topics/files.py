"""Floor 0: the topics of files: the commands below `from/<me>/file/<id>/`, and their answers below `to/<me>/file/<id>`.

EMQX's file transfer has `init`, `<offset>`, `fin` and `abort`, and uploads only; `have`, `get`, `sum` and `taken` are
this project's. A client chooses the id of a file that it offers; the id of any other file is the server's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from wire import json_text
from wire.errors import Refused
from wire.frames import (
    Answer,
    Cancel,
    Cancelled,
    Chunk,
    Error,
    FilePart,
    Finish,
    Finished,
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

from .levels import KNOWN_FILE, OWN_FILE, sha256
from .payloads import BAD_JSON, Fields, Payload, decoded, form, ignored, raw
from .row import About, AnswerFormat, Row, Writer

_MOST = 2**53 - 1  # the largest integer that every JSON library keeps exactly
_MORE = b'{"more":true}'
# EMQX's names of the errors and its reason codes: 128 means "try again, or correct it", 131 "give up", 151 "not now".
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
    """The payload of `init`; other fields of EMQX's clients are ignored."""

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


def _read_init(fields: Fields, payload: bytes) -> Offer:
    body = decoded(payload, _Init)
    if body.size is None:  # EMQX does without; here people are told the size at once, and it counts against the limits
        raise Refused("bad-frame", 'init takes the size of the file in bytes: "size".')
    if not body.to:
        raise Refused("bad-frame", 'init takes the recipient: "to", such as "bob" or "#lab".')
    checksum = sha256(body.checksum) if body.checksum else ""
    to = {"channel": body.to[1:]} if body.to.startswith("#") else {"user": body.to.removeprefix("@")}
    return Offer(name=body.name, size=body.size, parts=body.parts, sha256=checksum, **to, **fields)


def _write_init(offer: Offer) -> bytes:
    to = f"#{offer.channel}" if offer.channel else offer.user
    body = {"name": offer.name, "size": offer.size, "to": to, "checksum": offer.sha256, "parts": offer.parts}
    return json_text.encode(body)


def _span(frame: type[Get | Sum]) -> Payload:
    def read(fields: Fields, payload: bytes) -> Get | Sum:
        span = decoded(payload, _Span)
        if span.length is None:
            raise Refused("bad-frame", 'The payload is {"offset", "length"}.')
        return frame(offset=span.offset, length=span.length, **fields)

    def write(each: Get | Sum) -> bytes:
        return json_text.encode({"offset": each.offset, "length": each.length})

    return Payload(frame, read, write)


# The answers


def _answer_topic(answer: Answer, asked: str) -> str:
    """The topic of an answer to the command `file/<id>/…`."""
    file = "/".join(asked.split("/", 2)[:2])
    return f"{file}/{answer.offset}" if isinstance(answer, Chunk) else file


def _answer_payload(answer: Answer, asked: str) -> bytes:
    if isinstance(answer, Chunk):
        return answer.payload
    if isinstance(answer, Error):
        unknown = (Reason.IMPLEMENTATION_SPECIFIC_ERROR, answer.code.replace("-", "_"))
        code, reason = _REASONS.get(answer.code, unknown)
        body = {"topic": asked, "reason_code": int(code), "reason_description": reason}
        return json_text.encode({**body, "code": answer.code, "error": answer.error})
    body = {"topic": asked, "reason_code": 0, "reason_description": "success"}
    return json_text.encode({**body, **_details(answer)})


def _details(answer: Answer) -> dict[str, Any]:
    """The fields of an answer that the command does not have."""
    fields = dict(msgspec.to_builtins(answer))
    for name in ("op", "ref") if isinstance(answer, Offered) else ("op", "ref", "offset", "length"):
        fields.pop(name, None)
    return fields


def _read_answer(request: Request, kind: type[Answer], payload: bytes, about: About | None) -> Answer | None:
    if isinstance(request, Get) and about is not None and about.offset is not None:
        return Chunk(file=request.file, offset=request.offset, bytes=len(payload), payload=payload)
    try:
        body = msgspec.json.decode(payload, type=dict[str, Any])
        if body.get("reason_code") != 0:
            return Error(code=str(body["code"]), error=str(body["error"]))
        length = len(request.payload) if isinstance(request, Put) else getattr(request, "length", 0)
        return msgspec.convert(body | {"offset": getattr(request, "offset", 0), "length": length}, kind)
    except (*BAD_JSON, KeyError):
        return None


_FILE_ANSWER = AnswerFormat(_answer_topic, _answer_payload, _read_answer, own_topic=True)


def _about(values: Sequence[str], payload: bytes, asked: str) -> About | None:
    """The command that an answer on `to/<me>/file/<id>` names."""
    try:
        command = msgspec.json.decode(payload, type=dict[str, Any]).get("topic")
    except BAD_JSON:
        return None
    named = isinstance(command, str) and command.startswith(f"file/{values[-1]}/")
    return About(topic=f"{asked}{command}") if named else None


def _about_bytes(values: Sequence[str], _: bytes, asked: str) -> About | None:
    id, offset = values[-2:]
    return About(topic=f"{asked}file/{id}/get", offset=int(offset)) if offset.isdecimal() else None


def _command(pattern: str, what: str, payload: Payload, answer: type[Answer], **rest: Any) -> Row:
    return Row(
        f"from/<me>/file/<id>/{pattern}", what, payload, answer=answer, answer_format=_FILE_ANSWER, large=True, **rest
    )


def _read_more(fields: Fields, payload: bytes) -> More | None:
    return More(**fields) if payload == _MORE else None


MORE = Row(
    "to/<me>/file/<id>",
    'the answer to a command: `{"topic", "reason_code", "reason_description"}`, with reason code 0 for success; '
    '`{"more": true}`: ask again',
    Payload(More, _read_more, lambda _: _MORE),
    writer=Writer.SERVER,
    about=_about,
    overrides={"id": KNOWN_FILE},
)

COMMANDS: tuple[Row, ...] = (
    _command("init",
             "offer a file, as `<id>`: `{\"name\", \"size\", \"to\", \"checksum\"}`; `to` is a user or `#channel`",
             Payload(Offer, _read_init, _write_init), Offered, overrides={"id": OWN_FILE}),
    _command("<offset>[/<sha256>]", "send bytes of the file from that offset on; a SHA-256 has them checked",
             raw(Put), Kept),
    _command("fin/<size>[/<sha256>]", "finish the upload; a SHA-256 has the file checked", ignored(Finish), Finished),
    _command("abort", "take the offer back", ignored(Cancel), Cancelled),
    _command("have", "list the ranges that the server has; `{\"watch\": true}` announces further ones",
             form(Have, _Watch), Ranges),
    _command("get", "fetch bytes of the file: `{\"offset\", \"length\"}`", _span(Get), Chunk),
    _command("sum", "compute the SHA-256 of a range: `{\"offset\", \"length\"}`", _span(Sum), SumIs),
    _command("taken", "report that I have the whole file and that its SHA-256 is right", ignored(Taken), Ok),
)  # fmt: skip

ANSWERS: tuple[Row, ...] = (
    MORE,
    Row("to/<me>/file/<id>/<offset>", "the bytes that `get` fetches, fewer than asked for if there are no more yet",
        raw(Chunk), writer=Writer.SERVER, about=_about_bytes),
)  # fmt: skip
