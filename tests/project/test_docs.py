"""The documentation is run: generated parts are current, examples are played, settings are complete."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from docs import reference
from server import Config, Server, load
from tests.conftest import THREADS
from tests.support.clients import Json
from tests.support.repository import ROOT
from wire.errors import CODES
from wire.frames import ANSWERS, EVENTS, REQUESTS, Malformed
from wire.jsonlines import JsonLines
from wire.limits import Limits
from wire.text import COMMANDS, PLAIN

PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
VOLATILE = ("time", "token", "server", "file")  # what is another value each time
_BLOCK = re.compile(r"(?:<!-- (\w+) -->\n)?^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Step = tuple[str, str, str]  # whose connection ("" for an example that is not played), `>`, `<` or `(`, the text


def steps(document: str) -> Iterator[Step]:
    """The lines of all sessions in a document."""
    for name, block in _BLOCK.findall(document):
        for line in block.splitlines():
            if line[:2] in ("> ", "< "):
                yield name, line[0], line[2:]
            elif name:
                assert line.startswith("("), line
                yield name, "(", line


@pytest.mark.parametrize("name", reference.PARTS)
def test_generated_parts_are_current(name: str) -> None:
    """Run `python -m docs.reference` if this fails; it says which markers are missing, if any are."""
    text = (ROOT / name).read_text()
    try:
        current = reference.fill(text, reference.PARTS[name])
    except reference.Missing as missing:
        pytest.fail(f"{name} {missing}")
    assert text == current, f"{name} is not current: run python -m docs.reference"


def test_a_document_without_markers_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tool names what is missing, and --check names what is stale, without touching it."""
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr(reference, "PARTS", {"A.md": {"errors": lambda: "new"}})
    (tmp_path / "A.md").write_text("nothing\n")
    assert reference.main([]) == 1
    assert "A.md has no markers <!-- errors --> and <!-- /errors -->" in capsys.readouterr().err
    (tmp_path / "A.md").write_text("before\n<!-- errors -->\nold\n<!-- /errors -->\nafter\n")
    assert reference.main(["--check"]) == 1
    assert "A.md is not current" in capsys.readouterr().err
    assert reference.main([]) == 0
    assert (tmp_path / "A.md").read_text() == "before\n<!-- errors -->\nnew\n<!-- /errors -->\nafter\n"
    assert reference.main(["--check"]) == 0


def test_the_protocol_page_has_everything() -> None:
    """Each frame, code and limit has its row or its heading."""
    for kind in (*REQUESTS, *ANSWERS, *EVENTS):
        assert f"#### `{kind.__struct_config__.tag}`\n" in PROTOCOL
    for code in CODES:
        assert f"| `{code}` |" in PROTOCOL
    for limit in Limits.__struct_fields__:
        assert f"| `{limit}` |" in PROTOCOL


PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A link names a file of the project, or a heading of that file or of its own page."""
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not heading or heading in headings(file), target


@pytest.mark.parametrize(("name", "wrong"), [("docs/protocol.md", ["unknown-frame"]), ("README.md", [])])
def test_every_example_line_is_a_frame(name: str, wrong: list[str]) -> None:
    """Of requests one way and of replies the other, with payloads between them; but for examples of what is wrong."""
    lines = {">": JsonLines(), "<": JsonLines(client=True)}
    count = 0
    malformed: list[str] = []
    for _, way, text in steps((ROOT / name).read_text()):
        if way in lines and (text.startswith("{") or lines[way]._frame is not None):
            raw = lines[way]._frame is not None
            decoded = lines[way].receive(text.encode() if raw else text.encode() + b"\n")
            malformed += [frame.code for frame in decoded if isinstance(frame, Malformed)]
            count += 1
    assert count > 5
    assert malformed == wrong
    assert all(one._frame is None and not one._buffer for one in lines.values())


def test_the_session_of_the_protocol_page_goes_like_that(server: Server) -> None:
    """Played from beginning to end: what is sent, and what comes, in that order; nothing else comes."""
    connections: dict[str, Json] = {}
    for name, way, text in steps(PROTOCOL):
        if not name:
            continue
        if name not in connections:
            connections[name] = Json(server.address)
        client = connections[name]
        if way == "(":
            connections.pop(name).close()
        elif way == ">":
            client.send_bytes(text.encode() + (b"\n" if text.startswith("{") else b""))
        elif text.startswith("{"):
            expected = json.loads(text)
            frame = client.next()
            got = json.loads(JsonLines.encode(frame).partition(b"\n")[0])
            assert steady(got) == steady(expected)
            payload = getattr(frame, "payload", b"")
        else:
            assert payload == text.encode()
    for client in connections.values():
        assert client.inbox == []
        client.close()


def steady(value: Any) -> Any:
    """JSON without the values that are others each time."""
    if isinstance(value, dict):
        return {key: None if key in VOLATILE else steady(item) for key, item in value.items()}
    if isinstance(value, str):
        return re.sub(r"/get \w+", "/get", value)
    return [steady(item) for item in value] if isinstance(value, list) else value


def test_the_example_config_is_complete_and_has_the_defaults() -> None:
    """Every key of Config and Limits once, at its default, under a comment; and the file loads."""
    file = ROOT / "partyline.example.yaml"
    assert load(str(file)) == Config()
    loaded = yaml.safe_load(file.read_text())
    assert list(loaded) == list(Config.__struct_fields__)
    assert list(loaded["limits"]) == list(Limits.__struct_fields__)
    assert loaded == msgspec.json.decode(msgspec.json.encode(Config()))
    lines = file.read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r" *\w+:", line):
            assert before.lstrip().startswith("# "), f"no comment above {line}"


def test_the_page_of_commands_has_every_command() -> None:
    """Its table shows each command as the help does."""
    page = (ROOT / "docs" / "commands.md").read_text()
    for usage, summary in [*((command.usage, command.summary) for command in COMMANDS), *PLAIN]:
        assert re.search(rf"^\| `{re.escape(usage)}`.* \| {re.escape(summary)}", page, re.MULTILINE), usage


def test_the_architecture_page_has_every_folder() -> None:
    """The page names each folder of the program and each folder directly below it."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    tops = ("wire", "net", "reporting", "store", "channels", "doors", "bridge", "admin", "terminal")
    folders = {*tops, *(f"{top}/{init.parent.name}" for top in tops for init in (ROOT / top).glob("*/__init__.py"))}
    assert {folder for folder in folders if f"`{folder}/`" not in page} == set()


def test_the_architecture_page_has_every_thread() -> None:
    """Of the server, by the beginning of its name; and the tests look whether each has ended. `parent` is a child's."""
    sources = [
        file.read_text()
        for folder in ("net", "reporting", "store", "channels", "doors", "bridge")
        for file in (ROOT / folder).rglob("*.py")
    ]
    started = {
        name for text in sources for name in re.findall(r'threading\.Thread\(.*?name=f?"([a-z-]+)', text, re.DOTALL)
    }
    page = (ROOT / "ARCHITECTURE.md").read_text()
    table = page[page.index("| thread | does |") : page.index("Locks are leaves")]
    assert set(re.findall(r"^\| `([a-z-]+)", table, re.MULTILINE)) == started - {"parent"} == {*THREADS}


def test_every_error_code_is_used() -> None:
    """None is left over from what was."""
    used: set[str] = set()
    for folder in ("wire", "net", "store", "channels", "doors", "bridge"):
        for file in (ROOT / folder).rglob("*.py"):
            if file.name != "errors.py":
                used |= set(re.findall(r'"([a-z]+(?:-[a-z]+)*)"', file.read_text()))
    assert set(CODES) <= used, f"never used: {set(CODES) - used}"
