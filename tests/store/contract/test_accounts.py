"""The contract of accounts."""

from __future__ import annotations

from store import Store
from tests.support.stores import NOW


def test_accounts(store: Store) -> None:
    """Made once, as a guest's, under the name that was written first; then password and when last seen."""
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
