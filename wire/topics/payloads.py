"""Floor 0: the payloads of topics: from the fields in a topic and a payload to a frame, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from wire import json_text
from wire.errors import Refused
from wire.frames import Frame

Fields = dict[str, Any]

BAD_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Payload:
    """One kind of payload.

    `read` takes the fields that the topic holds, and the payload. It returns a `frame`, or None if the payload is of
    another kind, and raises Refused for a mistake that the sender is told about. `write` returns a frame's payload.
    """

    frame: type[Any]
    read: Callable[[Fields, bytes], Any]
    write: Callable[[Any], bytes]


def ignored(frame: type[Frame], sent: bytes = b"") -> Payload:
    """The topic holds all fields; any payload is accepted."""
    return Payload(frame, lambda fields, _: frame(**fields), lambda _: sent)


def blank(frame: type[Frame]) -> Payload:
    """An empty payload."""
    return Payload(frame, lambda fields, payload: None if payload.strip() else frame(**fields), lambda _: b"")


def raw(frame: type[Frame]) -> Payload:
    """The raw bytes of the frame's payload."""

    def read(fields: Fields, payload: bytes) -> Frame:
        return frame(**fields, bytes=len(payload), payload=payload)

    return Payload(frame, read, lambda each: bytes(each.payload))


class _Post(msgspec.Struct):
    """The JSON form of a text."""

    text: str
    id: str | None = None


def post(frame: type[Frame]) -> Payload:
    """Plain text, or the JSON of a text and the id of the post."""

    def read(fields: Fields, payload: bytes) -> Frame:
        text, id = text_of(payload)
        return frame(text=text, id=id, **fields)

    return Payload(frame, read, lambda each: _encode(_Post(each.text, each.id)))


def text_of(payload: bytes) -> tuple[str, str | None]:
    """Return a text and its id, from plain text or from an object that has a `text`. Raises Refused.

    Other JSON is a text like any other, as a sensor may say what it likes.
    """
    if payload[:1] == b"{":
        try:
            body = msgspec.json.decode(payload, type=_Post)
        except BAD_JSON:
            pass
        else:
            if (body.id is not None and not 0 < len(body.id) <= 64) or (body.id or "")[:1] == "/":
                raise Refused("bad-frame", "An id has 1 to 64 characters and does not begin with a slash.")
            return body.text, body.id
    try:
        return payload.decode(), None
    except UnicodeDecodeError:
        raise Refused("bad-frame", "The payload is not text: it is not UTF-8.") from None


def form(frame: type[Frame], fields_of: type[msgspec.Struct]) -> Payload:
    """An object whose fields are fields of the frame; an empty payload stands for an empty object."""

    def read(fields: Fields, payload: bytes) -> Frame:
        return frame(**fields, **msgspec.structs.asdict(decoded(payload, fields_of)))

    names = fields_of.__struct_fields__
    return Payload(frame, read, lambda each: _encode(fields_of(**{name: getattr(each, name) for name in names})))


def form_or_text(frame: type[Frame], fields_of: type[msgspec.Struct]) -> Payload:
    """The same; a payload that is not an object is ignored."""
    whole = form(frame, fields_of)

    def read(fields: Fields, payload: bytes) -> Frame:
        found: Frame = whole.read(fields, payload if payload[:1] == b"{" else b"")
        return found

    return Payload(frame, read, whole.write)


def decoded(payload: bytes, kind: type[Any]) -> Any:
    """Return the JSON of a payload as that type; an empty payload stands for an empty object. Raises Refused."""
    try:
        return msgspec.json.decode(payload if payload.strip() else b"{}", type=kind)
    except BAD_JSON as error:
        raise Refused("bad-frame", f"The payload does not fit: {error}.") from None


def whole(frame: type[Frame]) -> Payload:
    """An object with all fields of the frame but `op` and `ref`."""

    def read(_: Fields, payload: bytes) -> Frame | None:
        try:
            found: Frame = msgspec.json.decode(payload, type=frame)
        except BAD_JSON:
            return None
        return found

    return Payload(frame, read, encode_whole)


def encode_whole(frame: Frame) -> bytes:
    """Return the JSON of all fields of a frame but `op` and `ref`."""
    body = msgspec.to_builtins(frame)
    body.pop("op", None)
    body.pop("ref", None)
    return json_text.encode(body)


def _encode(body: msgspec.Struct) -> bytes:
    """The JSON of an object, without the fields that are None."""
    fields = msgspec.to_builtins(body)
    return json_text.encode({name: value for name, value in fields.items() if value is not None})
