"""The admin's screens."""

from __future__ import annotations

from collections.abc import Iterator

from bench import admin_lists
from bench.figure import Figure


def measure() -> Iterator[Figure]:
    """Yield the figures of issue "admin"."""
    yield from admin_lists.measure()
