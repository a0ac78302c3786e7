"""What the proxy remembers of one kiosk connection. No sockets, no clock of its own. Pure.

Times are seconds of any steady clock; the caller passes them in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Final

from sip2_adapter.express import ExpressSwap
from sip2_adapter.messages import LoginRequest
from sip2_adapter.resolver import Resolved

SEQUENCE_NUMBERS: Final = 10
"""AY is one digit and wraps from 9 to 0."""


@dataclass(frozen=True)
class PatronSession:
    """A token in use: from its first message to 35, another patron, the idle limit or the end."""

    token: bytes = field(repr=False)
    resolved: Resolved
    swap: ExpressSwap | None = field(init=False, repr=False, compare=False)
    """Card number and token changing places in usual messages, where they can do so unseen."""

    def __post_init__(self) -> None:
        """Make the swap once: it is asked for twice in each exchange."""
        object.__setattr__(self, "swap", ExpressSwap.for_patron(self.token, self.cardnumber, self.shown))

    @property
    def session_id(self) -> str:
        """The resolver's name for the session."""
        return self.resolved.session_id

    @property
    def cardnumber(self) -> bytes:
        """Whom the ACS knows."""
        return self.resolved.cardnumber

    @property
    def shown(self) -> bytes:
        """What the machine gets in place of the card number: the token, or a mask."""
        return self.token if self.resolved.mask is None else self.resolved.mask


class KioskSession:
    """Log-in, last exchange and patron of one kiosk connection."""

    def __init__(self, *, retry_window: float) -> None:
        self.login: LoginRequest | None = None
        self.patron: PatronSession | None = None
        self.heard_at = self.patron_seen_at = 0.0
        self.last_request: bytes | None = None
        self.last_answer: bytes | None = None
        """What 97 asks for: what the machine got last, whether it was a real answer or a 96."""
        self._repeatable_answer = b""
        self._retry_window = retry_window
        self._repeatable_until = 0.0
        self._next_sequence = 0

    def remember(self, request: bytes, answer: bytes, now: float, *, numbered: bool) -> None:
        """Keep a request frame as it came and the answer as it went out, for 97 and for a repetition."""
        self.last_request = request
        self.last_answer = self._repeatable_answer = answer
        # Without AY a second, deliberate request looks like the first one sent again.
        self._repeatable_until = now + self._retry_window if numbered else -inf

    def repeated_answer(self, request: bytes, now: float) -> bytes | None:
        """Return the answer if *request*, AY and AZ included, is the previous one sent again.

        Koha would execute it a second time. Only within the retry window: a machine that always
        sends the same AY may well ask the same thing again later.
        """
        if self.last_request != request or now > self._repeatable_until:
            return None
        return self._repeatable_answer

    def next_sequence(self) -> int:
        """Return the AY for a request whose machine uses none."""
        sequence = self._next_sequence
        self._next_sequence = (sequence + 1) % SEQUENCE_NUMBERS
        return sequence
