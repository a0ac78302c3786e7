"""How often one address may try to log in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bridge.rate_limit import MAXIMUM_ADDRESSES, RateLimit

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def limit():
    return RateLimit(3, timedelta(minutes=5))


def test_so_many_tries_are_taken_and_then_the_wait_is_told(limit):
    moments = [NOW + timedelta(seconds=10 * place) for place in range(5)]
    assert [limit.wait("192.0.2.1", moment) for moment in moments] == [0, 0, 0, 270, 260]


def test_a_try_that_is_not_taken_lengthens_nothing(limit):
    for _ in range(10):
        limit.wait("192.0.2.1", NOW)
    assert limit.wait("192.0.2.1", NOW + timedelta(minutes=5)) == 0


def test_addresses_are_counted_apart(limit):
    for _ in range(3):
        limit.wait("192.0.2.1", NOW)
    assert limit.wait("192.0.2.2", NOW) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("unknown", None, True),
    ],
)
def test_a_network_of_64_bits_is_one_site(limit, one, other, same):
    for _ in range(3):
        limit.wait(one, NOW)
    assert (limit.wait(other, NOW) > 0) is same


def test_a_clock_that_steps_back_lets_nobody_try_more(limit):
    for _ in range(3):
        limit.wait("192.0.2.1", NOW)
    assert limit.wait("192.0.2.1", NOW - timedelta(hours=1)) > 0


def test_memory_stays_small(limit):
    for number in range(MAXIMUM_ADDRESSES + 100):
        limit.wait(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", NOW)
    assert len(limit._tries) == MAXIMUM_ADDRESSES
