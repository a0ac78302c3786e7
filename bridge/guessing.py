"""Tokens that are guessed at a self-check machine: counted; after a few, none is looked up for a while. Pure.

What is counted is kept in the database, so that neither another node nor a restart gives a machine new
tries. It also bounds what a machine can write into the audit log.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final


@dataclass(frozen=True)
class Guesses:
    """What a machine presented since a moment that was worth nothing.

    ``refused`` counts all such tokens, as far as the audit log tells of them; ``wrong`` those that nobody
    gave the machine. ``last_digest`` is of the last one, as hex.
    """

    since: datetime
    refused: int
    wrong: int
    locked_until: datetime | None = None
    last_digest: str = field(default="", repr=False)

    def is_locked(self, now: datetime) -> bool:
        """Say whether the machine has to wait."""
        return self.locked_until is not None and now < self.locked_until


@dataclass(frozen=True)
class GuessingRule:
    """How many wrong tokens a machine may present in a while, and how long it waits after the last.

    A token has at least ten digits of chance, so that *limit* tries in each *lockout* find nobody's.
    """

    limit: int = 5
    window: timedelta = timedelta(minutes=1)
    lockout: timedelta = timedelta(minutes=1)

    def after(self, before: Guesses | None, digest: str, now: datetime, *, is_guess: bool) -> Guesses:
        """Return what is known after one more refused token; *before* itself where that adds nothing.

        The same number again is the machine asking again. A token of its own that is over is no guess.
        """
        if before is None or before.locked_until is not None or now - before.since > self.window:
            counted = Guesses(now, refused=1, wrong=int(is_guess), last_digest=digest)
        elif before.last_digest == digest or (before.refused >= self.limit and not is_guess):
            return before
        else:
            counted = replace(
                before,
                refused=min(before.refused + 1, self.limit),
                wrong=before.wrong + is_guess,
                last_digest=digest,
            )
        locked = counted.wrong >= self.limit
        return replace(counted, locked_until=now + self.lockout) if locked else counted


DEFAULT_GUESSING_RULE: Final = GuessingRule()
