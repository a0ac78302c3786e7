"""An event loop that has patience with a busy machine, for tests that start all sides of a conversation."""

from __future__ import annotations

import asyncio
import selectors
import time
from math import inf

import pytest

from sip2_adapter import express_lane
from sip2_adapter import kiosk as kiosk_module
from sip2_adapter import proxy as proxy_module

LONGEST_STEP = 0.01
"""Seconds that may pass at once on the clock of a patient event loop, beside those it wanted to sleep."""

LONGEST_NAP = 0.05
"""Seconds for which it sleeps at once."""


class PatientSelector(selectors.DefaultSelector):
    """One that knows for how long it slept, and for how long it was meant to at most."""

    slept = meant = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Sleep for a little while again and again: a pause within one of them counts no more than that."""
        left = inf if timeout is None else max(timeout, 0.0)
        while True:
            nap = min(left, LONGEST_NAP)
            begun = time.monotonic()
            events = super().select(nap)
            slept = time.monotonic() - begun
            counted = min(slept, nap + LONGEST_STEP)
            self.slept += slept
            self.meant += counted
            left -= counted
            if events or left <= 0:
                return events


class PatientEventLoop(asyncio.SelectorEventLoop):
    """An event loop on whose clock no time passes while the machine does not let it run.

    ACS, proxy and machine all live in it, so what else is at work makes each of them later by as much. The
    limits in the tests, which are short, hold between the three.
    """

    def __init__(self) -> None:
        self._sleeper = PatientSelector()
        self._now = self._looked_at = time.monotonic()
        super().__init__(self._sleeper)

    def time(self) -> float:
        """Return the seconds on this loop's clock."""
        sleeper, looked_at = self._sleeper, time.monotonic()
        awake = looked_at - self._looked_at - sleeper.slept
        self._now += min(max(awake, 0), LONGEST_STEP) + sleeper.meant
        self._looked_at, sleeper.slept, sleeper.meant = looked_at, 0.0, 0.0
        return self._now


class LoopTime:
    """What the proxy's modules take for ``time``: the clock of a patient loop where one runs."""

    @staticmethod
    def monotonic() -> float:
        loop = asyncio.get_running_loop()
        return loop.time() if isinstance(loop, PatientEventLoop) else time.monotonic()


def give_the_proxy_the_loops_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy asks the clock itself where a cached turn of the event loop's would be too old."""
    for module in (express_lane, kiosk_module, proxy_module):
        monkeypatch.setattr(module, "time", LoopTime)
