"""The rate limits of a server: users and addresses, what is refused and with which sentence."""

from __future__ import annotations

import re

import pytest

from channels.rates import (
    CLASSES,
    JOINS,
    LOGINS,
    POST_BYTES,
    POSTS,
    TOPICS,
    LimitClass,
    Origin,
    RateLimits,
    counted_bytes,
    in_words,
)
from wire.errors import Refused
from wire.limits import Limits


@pytest.fixture(autouse=True)
def _still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No bucket fills while a test looks at it."""
    monkeypatch.setattr("channels.rates.meter.time.monotonic", lambda: 1_000.0)


def count(rates: RateLimits, *origins: Origin, limit: LimitClass = TOPICS) -> int:
    """Return how many requests of these origins, in turn, go before one is refused."""
    for at in range(100_000):
        try:
            rates.check(limit, origins[at % len(origins)])
        except Refused:
            return at
    raise AssertionError("there is no limit")


def test_every_class_is_on_by_default_and_can_be_turned_off() -> None:
    for each in CLASSES:
        assert getattr(Limits(), each.key) > 0
        assert count(RateLimits(Limits(post_bytes_burst=1_000)), Origin("a", "10.0.0.1"), limit=each) > 0
        off = RateLimits(Limits(**{each.key: 0}))
        for _ in range(10_000):
            off.check(each, Origin("a", "10.0.0.1"))


@pytest.mark.parametrize("limit", CLASSES, ids=lambda each: each.key)
def test_every_sentence_says_what_and_when(limit: LimitClass) -> None:
    bursts = {each.burst: 1 for each in CLASSES if each.burst}
    rates = RateLimits(Limits(users_per_address=1, **bursts, **{limit.key: 1}))
    rates.check(limit, Origin("a", "10.0.0.1"))
    with pytest.raises(Refused) as refused:
        rates.check(limit, Origin("a", "10.0.0.1"))
    assert refused.value.code == "rate-limited"
    wait = in_words(limit.seconds)
    assert refused.value.sentence == f"{limit.sentence} Try again in {wait}."
    assert re.fullmatch(r"[A-Z][a-z ]+\.|[A-Z][a-z ,]+\.", limit.sentence)


def test_a_user_has_one_bucket_at_all_addresses() -> None:
    rates = RateLimits(Limits(topics_per_minute=10))
    assert count(rates, *[Origin("alice", f"10.0.0.{n}") for n in range(20)]) == 10
    assert count(rates, Origin("bob", "10.0.0.1")) == 10


def test_an_address_has_one_bucket_for_all_users() -> None:
    rates = RateLimits(Limits(topics_per_minute=10, users_per_address=3))
    assert count(rates, *[Origin(f"user{n}", "10.0.0.1") for n in range(1_000)]) == 30
    rates.check(TOPICS, Origin("user999", "10.0.0.2"))


def test_what_the_address_refuses_does_not_count_for_the_user() -> None:
    rates = RateLimits(Limits(joins_per_minute=2, users_per_address=1))
    assert count(rates, Origin("bob", "10.0.0.1"), limit=JOINS) == 2
    for _ in range(10):
        with pytest.raises(Refused):
            rates.check(JOINS, Origin("alice", "10.0.0.1"))
    assert count(rates, Origin("alice", "10.0.0.2"), limit=JOINS) == 2


def test_a_user_whose_address_is_unknown_is_limited_alone() -> None:
    rates = RateLimits(Limits(topics_per_minute=10, users_per_address=1))
    for n in range(50):
        assert count(rates, Origin(f"user{n}", None)) == 10


def test_logins_count_for_the_address_alone() -> None:
    rates = RateLimits(Limits(logins_per_minute=7))
    assert count(rates, *[Origin("", "10.0.0.1")], limit=LOGINS) == 7
    rates.check(LOGINS, Origin("", "10.0.0.2"))


def test_posts_are_reserved_as_far_as_both_buckets_go() -> None:
    rates = RateLimits(Limits(posts_per_second=10, posts_burst=20, users_per_address=2))
    assert rates.rested(POSTS, Origin("alice", "10.0.0.1"))
    assert rates.reserve(POSTS, Origin("alice", "10.0.0.1"), 100) == (20, 0.0)
    assert rates.reserve(POSTS, Origin("alice", "10.0.0.1"), 100) == pytest.approx((1, 0.1))
    assert rates.reserve(POSTS, Origin("bob", "10.0.0.1"), 100) == (19, 0.0), "the address has 40"
    assert rates.reserve(POSTS, Origin("bob", "10.0.0.1"), 5) == pytest.approx((1, 0.05))
    assert not rates.rested(POSTS, Origin("carol", "10.0.0.1"))
    assert rates.rested(POSTS, Origin("carol", None))


def test_bytes_are_spent_before_they_are_there() -> None:
    """Each one who spends waits behind those before."""
    rates = RateLimits(Limits(post_bytes_per_second=100, post_bytes_burst=1_000, users_per_address=2))
    assert rates.spend(POST_BYTES, Origin("alice", "10.0.0.1"), 1_000) == 0.0
    assert rates.spend(POST_BYTES, Origin("alice", "10.0.0.1"), 500) == pytest.approx(5.0, abs=0.1)
    assert rates.spend(POST_BYTES, Origin("bob", "10.0.0.1"), 900) == pytest.approx(2.0, abs=0.1), (
        "the address has 2,000"
    )
    assert rates.spend(POST_BYTES, Origin("carol", None), 1_000) == 0.0
    assert not rates.rested(POST_BYTES, Origin("alice", None))


def test_a_post_with_more_bytes_than_a_burst_needs_a_full_bucket() -> None:
    rates = RateLimits(Limits(post_bytes_per_second=100, post_bytes_burst=1_000))
    rates.check(POST_BYTES, Origin("alice", None), 5_000)
    with pytest.raises(Refused, match="Try again in 10 seconds"):
        rates.check(POST_BYTES, Origin("alice", None), 5_000)


@pytest.mark.parametrize(
    ("texts", "count"),
    [
        (["x" * 1_024] * 3, 0),
        (["x" * 1_025, "x" * 1_100], 77),
        (["é" * 513], 2),
        (["😀" * 257, "😀" * 256], 4),
        ([], 0),
    ],
)
def test_the_first_bytes_of_each_post_do_not_count(texts: list[str], count: int) -> None:
    assert counted_bytes(texts) == count


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.01, "1 second"), (1, "1 second"), (1.1, "2 seconds"), (119.5, "120 seconds"), (121, "3 minutes"),
     (7_200, "120 minutes"), (7_201, "3 hours")],
)  # fmt: skip
def test_a_wait_is_rounded_up(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
