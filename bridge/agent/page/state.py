"""What stands on the patron's page at a moment. Pure: the moment, in seconds, is an argument.

The agent shows steps and errors faster than anybody reads. So the end of a visit stays for a while after
the card is gone, and a card that is left lying becomes an alarm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum, unique
from types import MappingProxyType

from bridge.agent.errors import AgentError
from bridge.agent.screen import ENDING_STEPS, VisitStep
from jpki.errors import JpkiError

OUTCOME_STAYS = 8.0
"""Seconds for which the end of a visit can be read after the card was taken."""

BARCODE_STAYS = 45.0
"""Seconds for which a barcode can be scanned after the card was taken."""

CARD_FORGOTTEN_AFTER = 10.0
"""Seconds after which a card that is still there sounds the alarm."""

PIN_WARNING = 30.0
"""Seconds before the end of the time for the PIN from which the page warns."""

IDLE = frozenset({VisitStep.WAITING_FOR_LIBRARIAN, VisitStep.LAY_CARD, VisitStep.SESSION_RUNNING})
"""Nobody is being served here."""

OUTCOMES = frozenset(
    {VisitStep.LINKED, VisitStep.IDENTIFIED, VisitStep.SESSION_OPENED, VisitStep.SESSION_ENDED}
)


WARNINGS = frozenset({VisitStep.LINK_ENDS, *ENDING_STEPS.values()})
"""They come after an outcome and stand below it."""


@unique
class Tone(StrEnum):
    """How the page looks and sounds."""

    IDLE = "idle"
    WORKING = "working"
    ASKING = "asking"
    GOOD = "good"
    BAD = "bad"
    ALARM = "alarm"


TONES: Mapping[VisitStep, Tone] = MappingProxyType(
    {
        **dict.fromkeys(IDLE, Tone.IDLE),
        **dict.fromkeys(OUTCOMES, Tone.GOOD),
        VisitStep.ENTER_PIN: Tone.ASKING,
        VisitStep.NOT_FOUR_DIGITS: Tone.ASKING,
    }
)
"""Any other step is work in progress."""


@dataclass(frozen=True)
class Notice:
    """One message: a step with its values, or an error."""

    what: VisitStep | JpkiError | AgentError
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def tone(self) -> Tone:
        """How it looks."""
        return TONES.get(self.what, Tone.WORKING) if isinstance(self.what, VisitStep) else Tone.BAD

    @property
    def is_outcome(self) -> bool:
        """Whether a visit has ended with it."""
        return not isinstance(self.what, VisitStep) or self.what in OUTCOMES

    @property
    def is_idle(self) -> bool:
        """Whether it is for the next patron."""
        return self.what in IDLE


@dataclass(frozen=True)
class PinQuestion:
    """The PIN is awaited until *deadline*. *keys* are the digits in the order of the pad."""

    ticket: str
    keys: str
    deadline: float


@dataclass(frozen=True)
class PageState:
    """What the page shows. Values only; every change makes another one with the next ``version``.

    ``warning`` stands below the end of a visit. ``next_notice`` waits until that end has been read.
    ``card_left_at`` is since when the patron is asked to take the card.
    """

    version: int = 0
    notice: Notice = field(default_factory=lambda: Notice(VisitStep.WAITING_FOR_LIBRARIAN))
    shown_at: float = 0.0
    warning: Notice | None = None
    next_notice: Notice | None = None
    card_left_at: float | None = None
    attempts_remaining: int | None = None
    question: PinQuestion | None = None
    barcode: bytes | None = field(repr=False, default=None)

    def show(self, notice: Notice, now: float) -> PageState:
        """Return the page after the agent has shown *notice*."""
        state = self.at(now)
        if notice.what is VisitStep.TAKE_CARD:
            return replace(state, version=state.version + 1, card_left_at=now, question=None)
        if notice.what in WARNINGS:
            return replace(state, version=state.version + 1, warning=notice)
        if notice.what is VisitStep.ATTEMPTS_REMAINING:
            attempts = notice.values.get("attempts_remaining")
            state = replace(state, attempts_remaining=attempts if isinstance(attempts, int) else None)
        if notice.is_idle and state.notice.is_outcome:
            # The card is gone. What its visit came to stays a little longer.
            waiting = replace(state, version=state.version + 1, next_notice=notice, card_left_at=None)
            return replace(waiting, shown_at=now) if state.card_left_at is not None else waiting
        return state.turned_to(notice, now)

    def ask(self, question: PinQuestion | None) -> PageState:
        """Return the page with the PIN pad on it, or without."""
        return replace(self, version=self.version + 1, question=question)

    def with_barcode(self, picture: bytes | None) -> PageState:
        """Return the page with a barcode (SVG) on it, or without."""
        return replace(self, version=self.version + 1, barcode=picture)

    @property
    def turns_at(self) -> float:
        """When the end of a visit makes place for the next patron; a barcode must be held to a scanner."""
        return self.shown_at + (OUTCOME_STAYS if self.barcode is None else BARCODE_STAYS)

    def at(self, now: float) -> PageState:
        """Return what the page has become at *now* by time alone."""
        if self.next_notice is not None and now >= self.turns_at:
            return self.turned_to(self.next_notice, self.turns_at)
        return self

    def changes_at(self, now: float) -> float | None:
        """Return when it next changes by time alone, None where it does not."""
        moments = []
        if self.next_notice is not None:
            moments.append(self.turns_at)
        if self.card_left_at is not None:
            moments.append(self.card_left_at + CARD_FORGOTTEN_AFTER)
        return min((moment for moment in moments if moment > now), default=None)

    def tone(self, now: float) -> Tone:
        """Return how the page looks and sounds."""
        if self.card_left_at is not None and now >= self.card_left_at + CARD_FORGOTTEN_AFTER:
            return Tone.ALARM
        return self.notice.tone

    def turned_to(self, notice: Notice, now: float) -> PageState:
        """Return the page with *notice* on it, at once."""
        if notice.is_idle:
            # The next patron finds nothing of the last one.
            return PageState(version=self.version + 1, notice=notice, shown_at=now)
        return replace(
            self,
            version=self.version + 1,
            notice=notice,
            shown_at=now,
            warning=None,
            next_notice=None,
            card_left_at=None,
            question=None,
        )
