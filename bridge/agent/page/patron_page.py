"""The page as the agent uses it: a screen and a PIN pad. As the HTTP server uses it: states and digits.

The agent's thread shows and asks, the server's threads wait and answer; one condition is between them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from bridge.agent.errors import AgentError, PinTooLate
from bridge.agent.page.state import Notice, PageState, PinQuestion
from bridge.agent.screen import VisitStep
from jpki.errors import CardRemoved, JpkiError

DIGITS = "1234567890"

LONGEST_PIN_TIME = 120.0
"""Seconds for which the page waits where no other limit is set."""

PRESENCE_INTERVAL = 0.5
"""Seconds between two looks whether the card still lies there while the PIN is awaited."""


@dataclass
class _Answer:
    digits: str | None = field(repr=False, default=None)


class PatronPage:
    """A ``Screen`` and a ``PinPad`` whose other side is a browser on the patron's display.

    *monotonic* gives seconds; *draw_ticket* a word that nobody guesses; *card_is_there* looks at the
    reader; *order_keys* returns the digits in the order in which they stand on the pad.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float],
        draw_ticket: Callable[[], str],
        card_is_there: Callable[[], bool],
        order_keys: Callable[[str], str] = str,
    ) -> None:
        self._monotonic = monotonic
        self._draw_ticket = draw_ticket
        self._card_is_there = card_is_there
        self._order_keys = order_keys
        self._condition = threading.Condition()
        self._state = PageState()
        self._answer: _Answer | None = None

    # -- the agent's side

    def show_step(self, step: VisitStep, **values: object) -> None:
        """Show where the work stands."""
        self._change(lambda state, now: state.show(Notice(step, values), now))

    def show_error(self, error: JpkiError | AgentError) -> None:
        """Show what went wrong and what to do."""
        self._change(lambda state, now: state.show(Notice(error), now))

    def show_barcode(self, picture: bytes | None) -> None:
        """Show a barcode (SVG) until the next patron, or take it away."""
        self._change(lambda state, _now: state.with_barcode(picture))

    def read(self, seconds: float | None = None) -> str:
        """Return what the patron types, "" where the patron gives up.

        Raises ``CardRemoved`` as soon as the card is gone, ``PinTooLate`` after *seconds*.
        """
        deadline = self._monotonic() + (LONGEST_PIN_TIME if seconds is None else seconds)
        question = PinQuestion(self._draw_ticket(), self._order_keys(DIGITS), deadline)
        answer = _Answer()
        with self._condition:
            self._answer = answer
        self._change(lambda state, _now: state.ask(question))
        try:
            while answer.digits is None:
                if (left := deadline - self._monotonic()) <= 0:
                    raise PinTooLate
                if not self._card_is_there():
                    raise CardRemoved
                with self._condition:
                    if answer.digits is None:
                        self._condition.wait(min(left, PRESENCE_INTERVAL))
            return answer.digits
        finally:
            answer.digits = None
            with self._condition:
                self._answer = None
            self._change(lambda state, _now: state.ask(None))

    # -- the browser's side

    def state(self) -> tuple[PageState, float]:
        """Return the page now, and the moment that is now."""
        now = self._monotonic()
        with self._condition:
            self._state = self._state.at(now)
            return self._state, now

    def wait_for_change(self, seen: tuple[int, str], timeout: float) -> tuple[PageState, float]:
        """Return the page when its version and tone are no longer *seen*, at the latest after *timeout*."""
        end = self._monotonic() + timeout
        while True:
            state, now = self.state()
            if (state.version, state.tone(now)) != seen or now >= end:
                return state, now
            changes_at = state.changes_at(now)
            until = end if changes_at is None else min(end, changes_at)
            with self._condition:
                if self._state.version == state.version:
                    self._condition.wait(until - now)

    def submit_pin(self, ticket: str, digits: str) -> bool:
        """Answer the question called *ticket*; "" gives up. Return whether it is still open."""
        with self._condition:
            question = self._state.question
            if question is None or question.ticket != ticket:
                return False
            if self._answer is None or self._answer.digits is not None:
                return False
            self._answer.digits = digits
            self._condition.notify_all()
            return True

    def _change(self, change: Callable[[PageState, float], PageState]) -> None:
        with self._condition:
            self._state = change(self._state, self._monotonic())
            self._condition.notify_all()
