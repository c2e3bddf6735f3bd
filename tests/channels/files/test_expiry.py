"""The thread of the expiry: what fails is reported as what it is, and tried again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from channels.files.expiry import Expiry
from store import StoreError
from tests.support.reported import Reported


def fail(error: Exception) -> Callable[[], int | None]:
    """Return a sweep that fails."""

    def sweep() -> int | None:
        raise error

    return sweep


@pytest.mark.parametrize(
    ("error", "code"), [(StoreError("The database is away."), "store-problem"), (OSError("No disk."), "internal-error")]
)
def test_a_failure_is_reported_as_what_it_is(reported: Reported, error: Exception, code: str) -> None:
    expiry = Expiry(fail(error))
    expiry.close()
    assert {event.code for event in reported.events} == {code}
