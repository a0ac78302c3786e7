"""When to leave a failing service alone, and for how long. No clock inside: the moment is an argument."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class BreakerPolicy:
    """After ``failures`` in a row the service is left alone for ``first_pause``.

    Then one call may try it. Each failed trial doubles the pause, up to ``longest_pause``.
    """

    failures: int = 3
    first_pause: timedelta = timedelta(seconds=5)
    longest_pause: timedelta = timedelta(minutes=5)


class CircuitBreaker:
    """Counts one service's failures; safe for threads, and never held while the service is asked."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        self._failures = 0
        self._pause = policy.first_pause
        self._paused_until: datetime | None = None

    @property
    def paused_until(self) -> datetime | None:
        """Until when the service is left alone; None while it is asked."""
        return self._paused_until

    def may_ask(self, now: datetime) -> bool:
        """Whether the caller may ask at *now*, and then must tell how it went.

        When a pause is over, one caller alone hears yes; the others wait for what comes of it.
        """
        with self._lock:
            if self._paused_until is None:
                return True
            if now < self._paused_until:
                return False
            self._paused_until = now + self._pause
            return True

    def succeeded(self) -> None:
        """The service answered: forget its failures."""
        with self._lock:
            self._failures = 0
            self._pause = self._policy.first_pause
            self._paused_until = None

    def failed(self, now: datetime) -> None:
        """The service did not answer, or with nothing of use."""
        with self._lock:
            self._failures += 1
            if self._failures < self._policy.failures:
                return
            if self._failures > self._policy.failures:
                self._pause = min(2 * self._pause, self._policy.longest_pause)
            self._paused_until = now + self._pause
