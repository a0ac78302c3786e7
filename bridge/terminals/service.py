"""What a terminal asks and tells: what is open at it, and how its reader and its output are."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from bridge.environment import Environment
from bridge.models import OpenWork, Terminal, TerminalReport
from bridge.terminals.watch import Place, TerminalWatch, open_subjects

SEEN_INTERVAL = timedelta(seconds=30)
"""A terminal calls all the time; so often at most is it written down."""


class TerminalService:
    """The terminals in service. *idle_limit* is the longest time between two uses of a card session."""

    def __init__(self, environment: Environment, idle_limit: timedelta) -> None:
        self._environment = environment
        self._idle_limit = idle_limit
        self._seen: dict[Place, datetime] = {}
        self._lock = threading.Lock()
        self.watch = TerminalWatch(
            lambda: self._open_work(None), environment.store.change_counter, environment.clock
        )

    def open_subject(self, terminal: Terminal) -> str | None:
        """Return the id of what is open at a terminal now: a counter's link request, a card session."""
        work = self._open_work(terminal)
        return open_subjects(work, self._environment.clock()).get(_place(terminal))

    def wait(self, terminal: Terminal, known: str | None, seconds: float) -> bool:
        """Return when what is open may not be *known* any more, or after *seconds*; see ``TerminalWatch``."""
        return self.watch.wait(_place(terminal), known, seconds)

    def seen(self, terminal: Terminal) -> None:
        """Remember that a terminal has called, once in a while."""
        now = self._environment.clock()
        with self._lock:
            before = self._seen.get(_place(terminal))
            if before is not None and now - before < SEEN_INTERVAL:
                return
            self._seen[_place(terminal)] = now
        with self._environment.store.transaction() as transaction:
            transaction.see_terminal(terminal.library_id, terminal.terminal_id, now)

    def report(self, terminal: Terminal, report: TerminalReport) -> None:
        """Remember what an agent tells of itself, if that is new or was not told for a while."""
        now = self._environment.clock()
        with self._environment.store.transaction() as transaction:
            known = transaction.find_terminal(terminal.library_id, terminal.terminal_id)
            if known is not None and (known.report != report or _is_due(known, now)):
                transaction.see_terminal(terminal.library_id, terminal.terminal_id, now, report)

    def _open_work(self, terminal: Terminal | None) -> list[OpenWork]:
        with self._environment.store.reading() as transaction:
            return list(transaction.open_work(self._idle_limit, terminal))


def _place(terminal: Terminal) -> Place:
    return terminal.library_id, terminal.terminal_id


def _is_due(terminal: Terminal, now: datetime) -> bool:
    return terminal.last_seen_at is None or now - terminal.last_seen_at >= SEEN_INTERVAL
