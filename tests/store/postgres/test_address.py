"""The URL of a database: what libpq reads in it, and how it is shown."""

from __future__ import annotations

import pytest

from store import StoreError
from store.open import is_postgres

parse_address = pytest.importorskip("store.postgres").parse_address


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:secret@db.lan:5433/chat", "postgresql://db.lan:5433/chat"),
        ("postgresql://ann:se%40cret%2F%3A@db.lan/chat?sslmode=require", "postgresql://db.lan/chat"),
        ("postgres://db.lan/chat?user=ann&password=secret", "postgresql://db.lan/chat"),
        ("postgresql:///chat?host=/run/postgresql", "postgresql:///run/postgresql/chat"),
        ("postgresql://a.lan:1,b.lan:2/chat", "postgresql://a.lan,b.lan:1,2/chat"),
        ("postgresql://", "postgresql:///"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    address = parse_address(url)
    assert address.shown == shown
    assert "secret" not in repr(address)
    assert ("cret" in address.conninfo) is ("cret" in url)
    assert is_postgres(url)


def test_what_a_url_leaves_out_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.lan")
    monkeypatch.setenv("PGDATABASE", "chat")
    monkeypatch.setenv("PGPORT", "6000")
    assert parse_address("postgresql://").shown == "postgresql://db.lan:6000/chat"


def test_a_message_loses_the_password() -> None:
    address = parse_address("postgresql://ann:se%40cret@db.lan/chat")
    assert address.without_secrets("no\n user  se@cret here") == "no user … here"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://a:b@c:secret/d",
        "postgresql://h/d?secret=1",
        "postgresql://a:sec/ret@h/secret",
        "postgresql://a:b@secret@h/d",
        "postgresql://a:s%zecret@h",
    ],
)
def test_a_wrong_url_is_not_repeated(url: str) -> None:
    with pytest.raises(StoreError) as refused:
        parse_address(url)
    assert "secret" not in str(refused.value)
    assert "zecret" not in str(refused.value)
