"""Whether this clock agrees with another machine's. For both doctors, the terminal's and the server's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import requests

CLOCK_TOLERANCE = timedelta(seconds=60)


def clock_difference(
    ask_time: Callable[[], datetime | None], clock: Callable[[], datetime]
) -> timedelta | None:
    """Return how far this clock is from the other one, None where the other one does not answer."""
    try:
        theirs = ask_time()
    except requests.RequestException:
        return None
    return None if theirs is None else abs(clock() - theirs)
