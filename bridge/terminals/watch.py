"""Waiting until something at a terminal changes, without a question to the database for each who waits.

Of all who wait in one process one looks for all of them, a few times a second; when its own wait ends
another takes over. So no thread lives on, and what another process or node has changed is seen as well
as what was changed here.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from bridge.models import OpenWork
from bridge.ports import ChangeCounter, Clock

LOOK_INTERVAL = 0.2
"""Seconds between two looks: so late at most is somebody told."""

MAXIMUM_WAITING = 32
"""Waits at a time in one process; each holds a thread of the server."""

MAXIMUM_WAITING_AT_PLACE = 2
"""An agent that has lost its connection begins another wait before the first has ended."""

Place = tuple[str, str]
"""The ids of a library and of a terminal."""


def open_subjects(work: Sequence[OpenWork], now: datetime) -> Mapping[Place, str]:
    """Return by terminal what was opened last and is still open."""
    return {(each.library_id, each.terminal_id): each.subject for each in work if now < each.until}


class TerminalWatch:
    """What is open at all terminals, for those who wait for a change of it.

    *read* asks the database; *make_counter* gives what tells when to ask it again, None where each look
    must ask. It is called at the first wait, for a process that forks must not do so with it.
    """

    def __init__(
        self,
        read: Callable[[], Sequence[OpenWork]],
        make_counter: Callable[[], ChangeCounter | None],
        clock: Clock,
    ) -> None:
        self._read = read
        self._make_counter = make_counter
        self._clock = clock
        self._condition = threading.Condition()
        self._waiting: Counter[Place] = Counter()
        self._is_over: Callable[[], bool] = lambda: False
        # What the looks have found; the one who looks writes it.
        self._somebody_looks = False
        self._newcomer = False
        self._looks = 0
        self._subjects: Mapping[Place, str] = {}
        # Of the one who looks alone.
        self._counter: ChangeCounter | None = None
        self._counted: int | None = None
        self._work: Sequence[OpenWork] = ()

    def end_when(self, is_over: Callable[[], bool]) -> None:
        """End all waits, within one look, as soon as *is_over* says so: the server is to stop."""
        self._is_over = is_over

    def wait(self, place: Place, known: str | None, seconds: float) -> bool:
        """Return as soon as what is open at *place* may not be *known* any more, or after *seconds*.

        False where too many wait already; then at once.
        """
        deadline = time.monotonic() + seconds
        with self._condition:
            if self._waiting.total() >= MAXIMUM_WAITING or self._waiting[place] >= MAXIMUM_WAITING_AT_PLACE:
                return False
            self._waiting[place] += 1
            # A look of before this moment may be older than what the caller knows.
            self._newcomer, looks_before = True, self._looks
        try:
            while self._follow(place, known, deadline, looks_before):
                try:
                    self._lead(place, known, deadline)
                finally:
                    with self._condition:
                        self._somebody_looks = False
                        self._condition.notify_all()
        finally:
            with self._condition:
                self._waiting[place] -= 1
                if not self._waiting[place]:
                    del self._waiting[place]
        return True

    def _follow(self, place: Place, known: str | None, deadline: float, looks_before: int) -> bool:
        """Wait while somebody else looks; say whether it is this one's turn, else the wait is over."""
        with self._condition:
            while True:
                has_changed = self._looks > looks_before and self._subjects.get(place) != known
                left = deadline - time.monotonic()
                if has_changed or left <= 0 or self._is_over():
                    return False
                if not self._somebody_looks:
                    self._somebody_looks = True
                    return True
                self._condition.wait(left)

    def _lead(self, place: Place, known: str | None, deadline: float) -> None:
        """Look for all until this one's own wait is over."""
        while True:
            self._look()
            with self._condition:
                left = deadline - time.monotonic()
                if self._subjects.get(place) != known or left <= 0 or self._is_over():
                    return
                self._condition.wait(min(LOOK_INTERVAL, left))

    def _look(self) -> None:
        if self._counter is None:
            self._counter = self._make_counter()
        counted = None if self._counter is None else self._counter()
        if counted is None or counted != self._counted:
            self._work = self._read()
            self._counted = counted
        subjects = open_subjects(self._work, self._clock())
        with self._condition:
            if self._newcomer or subjects != self._subjects:
                self._condition.notify_all()
            self._newcomer, self._subjects = False, subjects
            self._looks += 1
