"""The contract of accounts."""

from __future__ import annotations

from store import Store
from tests.support.stores import NOW


def test_an_account_is_created_once_and_changed(store: Store) -> None:
    """It has no password at first, keeps the first spelling of its name, and then gets a password and a time."""
    assert store.account("ann") is None
    ann = store.open_account("Ann")
    assert (ann.key, ann.name, ann.password, ann.seen) == ("ann", "Ann", None, 0)
    assert store.open_account("ANN") == store.account("aNN") == ann
    store.set_password("ANN", "hash")
    store.move({}, {"ann": NOW, "nobody": NOW})
    found = store.account("ann")
    assert found is not None
    assert (found.name, found.password, found.seen) == ("Ann", "hash", NOW)
    assert store.account("nobody") is None
