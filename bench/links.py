"""Links and their audit log."""

from __future__ import annotations

from collections.abc import Iterator

from bench import links_audit
from bench.figure import Figure


def measure() -> Iterator[Figure]:
    """Yield the figures of issue "links"."""
    yield from links_audit.measure()
