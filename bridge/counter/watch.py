"""Waiting at the desk while the patron is at the card, so that each step is told as soon as it is written.

A desk waits for seconds only, and only from the PIN's question on. So each wait looks for itself, and what
another process or node has written is seen as soon as what was written here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bridge.ports import ChangeCounter

LOOK_INTERVAL = 0.005
"""Seconds between two looks at a counter of changes, which takes microseconds."""

LOOK_INTERVAL_WITHOUT_COUNTER = 0.04
"""Seconds between two questions to a database that has no such counter."""

LONGEST_WAIT = 5.0
"""Seconds: a desk that is left alone gives its thread back, and its log-in ends in time."""

MAXIMUM_WAITING = 16
"""Waits at a time in one process; each holds a thread of the server."""


class OrderWatch:
    """Waits of the desks of one process. *make_counter* gives a ``ChangeCounter`` for one thread, or None."""

    def __init__(self, make_counter: Callable[[], ChangeCounter | None]) -> None:
        self._make_counter = make_counter
        self._free = threading.BoundedSemaphore(MAXIMUM_WAITING)

    def wait(self, has_changed: Callable[[], bool], seconds: float = LONGEST_WAIT) -> bool:
        """Return as soon as *has_changed* says so, or after *seconds*; False where too many wait, at once.

        It is asked at least once, and again whenever anything was written.
        """
        if not self._free.acquire(blocking=False):
            return False
        try:
            self._look_until(has_changed, time.monotonic() + seconds)
        finally:
            self._free.release()
        return True

    def _look_until(self, has_changed: Callable[[], bool], deadline: float) -> None:
        counter = self._make_counter()
        pause = LOOK_INTERVAL_WITHOUT_COUNTER if counter is None else LOOK_INTERVAL
        counted = None
        while True:
            before, counted = counted, None if counter is None else counter()
            if (counted is None or counted != before) and has_changed():
                return
            if time.monotonic() >= deadline:
                return
            time.sleep(pause)
