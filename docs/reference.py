"""Writes the generated parts of the documentation: `python -m docs.reference`; `--check` only compares them.

A part stands between `<!-- name -->` and `<!-- /name -->`, and is made from the code that it describes.
"""

from __future__ import annotations

import inspect
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect as types

from channels.dispatch import TABLE as REQUEST_TABLE
from channels.rates import CLASSES, LimitClass
from reporting.events import ALL as EVENTS_OF_LOG
from wire import limits as limits_module
from wire.errors import CODES
from wire.frames import (
    ANSWERS,
    EVENTS,
    REQUESTS,
    BridgeStatus,
    ChannelInfo,
    Entry,
    FileInfo,
    FilePart,
    LogState,
    Member,
    ServerInfo,
)
from wire.limits import Limits
from wire.text import COMMANDS, PLAIN
from wire.topics import ROOT as ROOT_TOPIC
from wire.topics import TABLE, Row

ROOT = Path(__file__).resolve().parent.parent

_GROUPS: tuple[tuple[str, Sequence[type[Any]]], ...] = (
    ("Requests", REQUESTS),
    ("Answers", ANSWERS),
    ("Events", EVENTS),
    ("Objects inside frames", (LogState, Member, ChannelInfo, BridgeStatus, ServerInfo, FileInfo, FilePart)),
)
_INTRODUCTION = {
    "Requests": "Each may carry `ref`: an integer, or a string of up to 64 characters.",
    "Answers": "Each carries the `ref` of its request, if that had one.",
    "Events": "The server sends them unasked, without `ref`.",
    "Objects inside frames": "They have no `op`.",
}


class Missing(Exception):
    """A file has no markers of a part; the message names them."""


def frames() -> str:
    """Return the reference of all frames, from their types and docstrings in wire/frames/."""
    lines: list[str] = []
    for title, kinds in _GROUPS:
        lines += [f"### {title}", "", _INTRODUCTION[title], ""]
        for kind in kinds:
            lines += [f"#### `{_op(kind)}`", "", inspect.cleandoc(kind.__doc__ or ""), ""]
            lines += _fields(kind, "required" if kind in REQUESTS else "always there")
    return "\n".join(lines).rstrip()


def _op(kind: type[Any]) -> str:
    tag = _info(kind).tag
    return str(tag) if tag is not None else kind.__name__


def _info(kind: type[Any]) -> types.StructType:
    """Return the fields of a structure and their types."""
    info = types.type_info(kind)
    assert isinstance(info, types.StructType)
    return info


def _fields(kind: type[Any], required: str) -> list[str]:
    """Return the table of the fields of a frame's line, the required ones first; empty without fields."""
    rows = [field for field in _info(kind).fields if field.name not in ("ref", "payload")]
    if not rows:
        return []
    rows.sort(key=lambda field: not field.required)
    table = ["| field | type | if left out |", "| --- | --- | --- |"]
    for field in rows:
        what = "count of the raw bytes after the line" if field.name == "bytes" else _words(field.type)
        table.append(f"| `{field.name}` | {what} | {required if field.required else _default(field)} |")
    return [*table, ""]


def _default(field: types.Field) -> str:
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return "none" if value is None else f"`{msgspec.json.encode(value).decode()}`"


def _words(kind: types.Type) -> str:
    """Return a type in the words of JSON."""
    match kind:
        case types.IntType(ge=ge):
            return f"integer from {ge}" if ge is not None else "integer"
        case types.StrType(min_length=least, max_length=most):
            return f"string of {least or 0} to {most} characters" if most is not None else "string"
        case types.BoolType():
            return "`true` or `false`"
        case types.ListType(item_type=item):
            return f"list of {_words(item)}"
        case types.DictType(value_type=value):
            return f"object of {_words(value)} by string"
        case types.StructType(cls=cls):
            return "`entry` frames" if cls is Entry else f"`{cls.__name__}`"
        case types.UnionType(types=members):
            return " or ".join(_words(one) for one in members if not isinstance(one, types.NoneType))
    raise TypeError(f"no words for {kind}")


def errors() -> str:
    """Return the table of error codes."""
    return "\n".join(["| code | when |", "| --- | --- |", *(f"| `{code}` | {text} |" for code, text in CODES.items())])


def limits() -> str:
    """Return the table of limits, with their defaults and the comments in wire/limits.py."""
    table = ["| limit | default | what it counts |", "| --- | --- | --- |"]
    comments = _limit_comments()
    table += [f"| `{name}` | {getattr(Limits(), name):,} | {comments[name]} |" for name in Limits.__struct_fields__]
    return "\n".join(table)


def _limit_comments() -> dict[str, str]:
    """Return the comment beside each limit."""
    source = inspect.getsource(limits_module)
    return dict(re.findall(r"^    (\w+): .*?  # (.+)$", source, re.MULTILINE))


def rates() -> str:
    """Return the table of rate limits, with the requests that count for each."""
    table = ["| limit | a user | an address | what counts | above it |", "| --- | --- | --- | --- | --- |"]
    comments, default = _limit_comments(), Limits()
    for each in CLASSES:
        what = comments[each.key].removesuffix("; 0: no limit").partition(";")[0]
        requests = ", ".join(f"`{name}`" for name in _counted(each))
        above = "waits" if each.waits else each.sentence
        user, address = _rate(each, 1), _rate(each, default.users_per_address)
        if not each.per_user:
            user, address = "", user
        table.append(f"| `{each.key}` | {user} | {address} | {what}{f' ({requests})' if requests else ''} | {above} |")
    return "\n".join(table)


def _counted(limit: LimitClass) -> list[str]:
    """Return the frames that count for a limit, by their `op`."""
    rows = [row for row in REQUEST_TABLE if limit is row.limit or limit in row.inner_limits]
    return [_op(row.request) for row in rows if row.request in REQUESTS]


def _rate(limit: LimitClass, factor: int) -> str:
    """Return the default rate of a limit in words."""
    default = Limits()
    count = getattr(default, limit.key) * factor
    burst = getattr(default, limit.burst) * factor if limit.burst else count
    period = {1: "a second", 60: "a minute", 3_600: "an hour"}[limit.seconds]
    return f"{count:,} {period}" + (f", {burst:,} at once" if burst != count else "")


def commands() -> str:
    """Return the table of the lines that a person can type."""
    rows = [
        (
            f"`{command.usage}`{_also(command.aliases)}",
            command.summary + (f". {command.detail}" if command.detail else ""),
        )
        for command in COMMANDS
    ]
    rows += [(f"`{usage}`", summary) for usage, summary in PLAIN]
    return "\n".join(["| line | what it does |", "| --- | --- |", *(f"| {line} | {what} |" for line, what in rows)])


def _also(aliases: Sequence[str]) -> str:
    return f" (also {', '.join(f'`{alias}`' for alias in aliases)})" if aliases else ""


def events() -> str:
    """Return the table of the events of the operator's log, from their types and docstrings in reporting/events.py."""
    table = ["| code | level | sentence | fields | when |", "| --- | --- | --- | --- | --- |"]
    for event in EVENTS_OF_LOG:
        fields = ", ".join([f"`{name}`" for name in event.__struct_fields__])
        when = " ".join(inspect.cleandoc(event.__doc__ or "").split())
        level = logging.getLevelName(event.LEVEL).lower()
        table.append(f"| `{_op(event)}` | {level} | {event.SENTENCE} | {fields} | {when} |")
    return "\n".join(table)


def topics() -> str:
    """Return the table of MQTT topics below the default root."""
    table = ["| topic | written by | purpose | answer |", "| --- | --- | --- | --- |"]
    for row in TABLE:
        answer = f"`{_op(row.answer)}`" if row.answer is not None else ""
        table.append(f"| `{ROOT_TOPIC}/{row.pattern}` | {_writer(row)} | {row.what} | {answer} |")
    return "\n".join(table)


def _writer(row: Row) -> str:
    """Return the writer of a topic, and the special ways of writing it."""
    ways = [way for way, applies in (("retained", row.retained), ("or its will", row.will)) if applies]
    return ", ".join([row.writer.value, *ways])


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "docs/protocol.md": {"errors": errors, "limits": limits, "frames": frames},
    "docs/commands.md": {"commands": commands},
    "docs/mqtt.md": {"topics": topics},
    "docs/operations.md": {"events": events},
    "docs/limits.md": {"rates": rates},
}


def fill(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """Return the text with a new version of each part between its markers. Raises Missing."""
    for name, make in parts.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if start not in text or end not in text.partition(start)[2]:
            raise Missing(f"has no markers {start.strip()} and {end} on lines of their own")
        before, _, rest = text.partition(start)
        text = f"{before}{start}{make()}\n{end}{rest.partition(end)[2]}"
    return text


def main(arguments: Sequence[str]) -> int:
    """Write the parts that are not current, or name them with --check. Return 1 if a part is missing or named."""
    status = 0
    for name, parts in PARTS.items():
        file = ROOT / name
        old = file.read_text()
        try:
            new = fill(old, parts)
        except Missing as error:
            print(f"{name} {error}", file=sys.stderr)
            status = 1
            continue
        if new == old:
            continue
        if "--check" in arguments:
            print(f"{name} is not current: run python -m docs.reference", file=sys.stderr)
            status = 1
        else:
            file.write_text(new)
            print(f"{name} is updated")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
