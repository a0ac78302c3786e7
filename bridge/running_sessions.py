"""What was last read of the sessions at the self-check machines, for as long as it is still true.

A machine names its patron in each of its messages. Whoever remembers must not be behind: a link that
staff end in another process ends at the machine's next message. So a session is recalled only while the
database says that nobody has changed anything since the session was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bridge.borrowing import Borrower
from sip2_adapter.resolver import Kiosk, Resolved


@dataclass(slots=True)
class _Running:
    kiosk: Kiosk
    resolved: Resolved = field(repr=False)
    good_until: datetime
    version: int | None
    last_used_at: datetime
    written_at: datetime | None = None


class RunningSessions:
    """The sessions at the machines, by token. ``idle_limit`` is the longest time between two uses.

    A *version* is what ``bridge.ports.ChangeCounter`` gave, None where there is no such counter: then
    nothing is recalled, and only the uses are kept here.
    """

    def __init__(self, idle_limit: timedelta) -> None:
        self._idle_limit = idle_limit
        self._running: dict[bytes, _Running] = {}
        self._tokens: dict[str, bytes] = {}

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._running)

    def recall(self, token: bytes, kiosk: Kiosk, now: datetime, version: int | None) -> Resolved | None:
        """Return what *token* stands for at *kiosk* and count the use; None where it must be looked up."""
        running = self._running.get(token)
        if running is None or running.kiosk is not kiosk or version is None or running.version != version:
            return None
        if now >= running.good_until or now - running.last_used_at > self._idle_limit:
            return None
        running.last_used_at = now
        return running.resolved

    def remember(
        self,
        token: bytes,
        kiosk: Kiosk,
        borrower: Borrower,
        resolved: Resolved,
        now: datetime,
        version: int | None,
    ) -> None:
        """Keep what was looked up; *version* is from before the look-up. It counts as a use."""
        self._running[token] = _Running(kiosk, resolved, borrower.good_until, version, now)
        self._tokens[borrower.session_id] = token

    def last_used_at(self, token: bytes) -> datetime | None:
        """Return the last use of *token* that is known here."""
        running = self._running.get(token)
        return None if running is None else running.last_used_at

    def forget(self, session_id: str) -> None:
        """The session is over, or must be looked up again."""
        token = self._tokens.pop(session_id, None)
        if token is not None:
            del self._running[token]

    def take_uses(self, now: datetime) -> Mapping[str, datetime]:
        """Return the last use of each session used since the last call; forget who has gone away."""
        used = {}
        for running in list(self._running.values()):
            if running.last_used_at != running.written_at:
                used[running.resolved.session_id] = running.written_at = running.last_used_at
            if now - running.last_used_at > self._idle_limit:
                self.forget(running.resolved.session_id)
        return used
