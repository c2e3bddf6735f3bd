"""PostgreSQL for the tests: the cluster of a test run, or one that a test may stop and kill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.postgres import MISSING, PASSWORD, QUOTED_PASSWORD, Cluster, programs

__all__ = ["PASSWORD", "QUOTED_PASSWORD", "Cluster", "cluster_removed", "new_cluster", "shared_cluster"]


def new_cluster() -> Cluster:
    """Start a cluster; skip the test without PostgreSQL. The caller removes it."""
    if programs() is None:
        pytest.skip(MISSING)
    return Cluster()


_shared: list[Cluster] = []


def shared_cluster() -> Cluster:
    """Return the cluster of this test run, which nobody may stop; skip the test without PostgreSQL."""
    if not _shared:
        _shared.append(new_cluster())
    return _shared[0]


@contextmanager
def cluster_removed() -> Iterator[None]:
    """Remove the cluster of this test run after the block, if there is one."""
    try:
        yield
    finally:
        while _shared:
            _shared.pop().remove()
