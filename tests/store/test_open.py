"""Opening a store by its URL, and reading from one that another process has open."""

from __future__ import annotations

from pathlib import Path

import pytest

from store import Account, StoreError, data_folder, open_store, read_account
from store.sqlite import FILE


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_path_and_a_url_name_the_same_folder(tmp_path: Path, durability: str) -> None:
    """The durability holds for the bytes of files, too."""
    folder = tmp_path / "my data"
    for url in (folder, str(folder), f"sqlite:///{folder}", f"SQLite:///{folder}"):
        store = open_store(url, durability)  # type: ignore[arg-type]
        store.open_channel("lab")
        assert len(store.channels()) == 1
        assert store.blobs()._synced == (durability == "power")
        store.close()
        assert (folder / FILE).is_file()


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("data", "data"),
        ("./a b", "a b"),
        ("sqlite:///data", "data"),
        ("sqlite:///a/b c", "a/b c"),
        ("sqlite:////srv/chat", "/srv/chat"),
        (Path("sqlite:///data"), "sqlite:/data"),
    ],
)
def test_the_folder_of_a_url(url: str | Path, folder: str) -> None:
    assert data_folder(url) == Path(folder)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (
            "mysql://bob:secret@host/chat",
            "mysql:// is no folder; name a folder, or sqlite:///",
        ),
        ("sqlite://data", "sqlite://data names no folder; write sqlite:///FOLDER"),
        ("sqlite:///", "sqlite:/// names no folder"),
        ("sqlite://", "sqlite:// names no folder"),
    ],
)
def test_another_url_is_refused_in_one_sentence(
    url: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no folder is created."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError) as refused:
        open_store(url)
    assert sentence in str(refused.value)
    assert "secret" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_an_account_is_read_beside_the_open_store(tmp_path: Path) -> None:
    """In any spelling of the name."""
    store = open_store(tmp_path)
    store.open_account("Ann")
    store.set_password("ann", "hash")
    assert read_account(tmp_path, "ANN") == store.account("ann") == Account("ann", "Ann", "hash", 0)
    assert read_account(f"sqlite:///{tmp_path}", "ann") == store.account("ann")
    assert read_account(tmp_path, "bob") is None
    store.close()


def test_an_account_cannot_be_read_without_a_store(tmp_path: Path) -> None:
    """And no file is created."""
    with pytest.raises(StoreError, match="cannot be read: unable to open database file"):
        read_account(tmp_path, "ann")
    with pytest.raises(StoreError, match="mysql:// is no folder"):
        read_account("mysql://host/chat", "ann")
    with pytest.raises(StoreError, match="A store on PostgreSQL needs a folder"):
        open_store("postgresql://host/chat")
    assert list(tmp_path.iterdir()) == []
