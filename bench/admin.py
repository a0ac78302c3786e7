"""The admin's screens."""

from __future__ import annotations

from collections.abc import Iterator

from bench import admin_desk, admin_lists
from bench.figure import Figure


def measure() -> Iterator[Figure]:
    """Yield the figures of issue "admin"."""
    yield admin_desk.measure_page()
    yield admin_desk.measure_answer()
    yield from admin_lists.measure()
