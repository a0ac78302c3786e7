"""What the proxy remembers of one kiosk connection. No sockets, no clock of its own. Pure.

Times are seconds of any steady clock; the caller passes them in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sip2_adapter.messages import LoginRequest, Sip2Message

SEQUENCE_NUMBERS: Final = 10
"""AY is one digit and wraps from 9 to 0."""


@dataclass(frozen=True)
class PatronSession:
    """A token in use: from its first message to 35, another patron, the idle limit or the end.

    ``shown`` is what the machine gets in place of the card number: the token, or a mask.
    """

    session_id: str
    token: bytes = field(repr=False)
    cardnumber: bytes = field(repr=False)
    shown: bytes = field(repr=False)


@dataclass(frozen=True)
class Exchange:
    """A request frame as it came, and the answer as it went out."""

    request: bytes = field(repr=False)
    answer: bytes = field(repr=False)
    repeatable: bool
    at: float


class KioskSession:
    """Log-in, last exchange and patron of one kiosk connection."""

    def __init__(self, *, retry_window: float) -> None:
        self.login: LoginRequest | None = None
        self.patron: PatronSession | None = None
        self.patron_seen_at = 0.0
        self._retry_window = retry_window
        self._last: Exchange | None = None
        self._next_sequence = 0

    @property
    def last_answer(self) -> bytes | None:
        """What 97 asks for."""
        return self._last.answer if self._last else None

    def remember(self, request: bytes, message: Sip2Message, answer: bytes, now: float) -> None:
        """Keep the exchange, for 97 and for a request that is sent again."""
        # Without AY a second, deliberate request looks like the first one sent again.
        self._last = Exchange(request, answer, message.sequence is not None, now)

    def repeated_answer(self, request: bytes, now: float) -> bytes | None:
        """Return the answer if *request*, AY and AZ included, is the previous one sent again.

        Koha would execute it a second time. Only within the retry window: a machine that always
        sends the same AY may well ask the same thing again later.
        """
        last = self._last
        if last is None or not last.repeatable or last.request != request:
            return None
        return last.answer if now - last.at <= self._retry_window else None

    def next_sequence(self) -> int:
        """Return the AY for a request whose machine uses none."""
        sequence = self._next_sequence
        self._next_sequence = (sequence + 1) % SEQUENCE_NUMBERS
        return sequence
