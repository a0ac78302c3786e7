"""Links and their audit log."""

from __future__ import annotations

from collections.abc import Iterator

from bench import links_audit, links_lookup, links_session
from bench.figure import Figure


def measure() -> Iterator[Figure]:
    """Yield the figures of issue "links"."""
    yield links_session.measure()
    yield links_lookup.measure()
    yield from links_audit.measure()
