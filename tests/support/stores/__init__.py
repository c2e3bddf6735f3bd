"""Stores for the tests of the contract, one place for each database, and a store that watches the locks."""

from tests.support.stores.places import NOW, PLACES, Place, PostgresPlace, SqlitePlace, posting, texts
from tests.support.stores.watched import WatchedStore

__all__ = ["NOW", "PLACES", "Place", "PostgresPlace", "SqlitePlace", "WatchedStore", "posting", "texts"]
