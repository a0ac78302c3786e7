"""The one clock of all that runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo


def now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


def clock_in(time_zone: tzinfo) -> Callable[[], datetime]:
    """Return what tells the present moment as a library's clocks show it."""
    return lambda: now().astimezone(time_zone)
