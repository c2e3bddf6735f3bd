"""Floor 0: answers as JSON on the topic of their request, with `to` in place of `from`."""

from __future__ import annotations

from typing import Any

import msgspec

from wire import json_text
from wire.frames import Answer, Error, Request

from .payloads import BAD_JSON, encode_whole
from .row import About, AnswerFormat


def _topic(_: Answer, asked: str) -> str:
    return asked


def _payload(answer: Answer, _: str) -> bytes:
    return encode_whole(answer)


def _read(_request: Request, kind: type[Answer], payload: bytes, _about: About | None) -> Answer | None:
    """The answer of that kind, or the error."""
    try:
        body = msgspec.json.decode(payload, type=dict[str, Any])
        return msgspec.convert(body, Error if body.keys() >= {"code", "error"} else kind)
    except BAD_JSON:
        return None


JSON_ANSWER = AnswerFormat(_topic, _payload, _read, own_topic=False)


def error_payload(error: Error, topic: str | None) -> bytes:
    """Return the payload of an error about what was published to `topic`."""
    body = {"topic": topic, "id": error.id, "code": error.code, "error": error.error}
    return json_text.encode({name: value for name, value in body.items() if value is not None})
