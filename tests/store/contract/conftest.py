"""The fixtures of the contract tests: every test runs once for each database in tests/support/stores/places.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from store import Store
from tests.support.stores import PLACES, Place


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """An empty place for a store of each kind."""
    made = PLACES[request.param]()
    yield made
    made.clear()


@pytest.fixture
def store(place: Place) -> Store:
    """An open, empty store of each kind."""
    return place.open()
