"""Requests that change something in the library, remembered beyond the connection they came on.

A machine that loses its connection in the middle of a checkout connects anew and sends it again. Koha
would execute it twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

from sip2_adapter.resolver import Kiosk

READS: Final = frozenset({b"99", b"23", b"63", b"17", b"35", b"93"})
"""Requests that change nothing in Koha: no answer means nothing was done."""


@dataclass(slots=True)
class Change:
    """A request that is under way, or was executed; ``outcome`` is its answer.

    ``outcome`` is cancelled where the request turns out not to have been executed.
    """

    frame: bytes
    outcome: asyncio.Future[bytes]
    repeatable_until: float = inf


class RecentChanges:
    """The last change that each machine asked for.

    A machine is its listener, its log-in and its address: another machine that sends the
    very same frame has asked for something of its own. *clock* gives seconds, *retry_window* is as in
    ``ProxyLimits``.
    """

    def __init__(self, retry_window: float, clock: Callable[[], float]) -> None:
        self._retry_window = retry_window
        self._clock = clock
        self._changes: dict[tuple[str, str | None, str], Change] = {}

    def find(self, kiosk: Kiosk, frame: bytes) -> Change | None:
        """Return the change if *frame*, AY and AZ included, is the machine's last one sent again."""
        change = self._changes.get(_machine(kiosk))
        if change is None or change.frame != frame or self._clock() > change.repeatable_until:
            return None
        return change

    def begin(self, kiosk: Kiosk, frame: bytes) -> Change:
        """Remember a change that is about to be asked for."""
        now = self._clock()
        for machine in [each for each, change in self._changes.items() if now > change.repeatable_until]:
            del self._changes[machine]
        change = Change(frame, asyncio.get_running_loop().create_future())
        self._changes[_machine(kiosk)] = change
        return change

    def end(self, kiosk: Kiosk, change: Change, answer: bytes | None) -> None:
        """Keep the *answer* to a change, or forget one that was not executed."""
        change.repeatable_until = self._clock() + self._retry_window
        if answer is not None:
            change.outcome.set_result(answer)
            return
        change.outcome.cancel()
        if self._changes.get(_machine(kiosk)) is change:
            del self._changes[_machine(kiosk)]


class MachineChanges:
    """The changes that *kiosk* asks for, one at a time; ``under_way`` is the one that is not answered yet."""

    def __init__(self, recent: RecentChanges, kiosk: Kiosk) -> None:
        self._recent = recent
        self._kiosk = kiosk
        self.under_way: Change | None = None

    def find(self, frame: bytes) -> Change | None:
        """Return the change if *frame* is the machine's last one sent again."""
        return self._recent.find(self._kiosk, frame)

    def begin(self, frame: bytes) -> None:
        """Remember a change that is about to be asked for."""
        self.under_way = self._recent.begin(self._kiosk, frame)

    def end(self, answer: bytes | None) -> None:
        """Keep the *answer* to the change under way, if there is one; None where it was not executed."""
        change, self.under_way = self.under_way, None
        if change is not None:
            self._recent.end(self._kiosk, change, answer)


def _machine(kiosk: Kiosk) -> tuple[str, str | None, str]:
    return kiosk.listener, kiosk.login, kiosk.peer
