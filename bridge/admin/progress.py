"""How the counter page shows an order for a card: four steps and one sentence. Pure, but for the words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum, unique
from types import MappingProxyType

from flask_babel import LazyString, format_date, gettext, lazy_gettext, ngettext

from bridge.admin.words import (
    IDENTIFICATION_STATES,
    MOVE_OUTCOMES,
    PROBLEMS,
    REQUEST_STATES,
    words_of_why,
)
from bridge.errors import BridgeError
from bridge.models import CategoryMove, LinkRequest, LinkRequestState, MoveState
from jpki.challenge import ChallengePurpose


@unique
class Step(IntEnum):
    """The steps in their order, as a librarian would tell them to the patron."""

    CARD = 0
    CERTIFICATE = 1
    PIN = 2
    END = 3


STEP_NAMES: Mapping[Step, LazyString] = MappingProxyType(
    {
        Step.CARD: lazy_gettext("Card on the reader"),
        Step.CERTIFICATE: lazy_gettext("Certificate checked"),
        Step.PIN: lazy_gettext("PIN entered"),
    }
)

END_NAMES: Mapping[ChallengePurpose, LazyString] = MappingProxyType(
    {
        ChallengePurpose.LINK: lazy_gettext("Link made"),
        ChallengePurpose.IDENTIFY: lazy_gettext("Patron found"),
    }
)
"""What the last step is called, by what the card is wanted for at a counter."""

STATE_WORDS: Mapping[ChallengePurpose, Mapping[LinkRequestState, LazyString]] = MappingProxyType(
    {ChallengePurpose.LINK: REQUEST_STATES, ChallengePurpose.IDENTIFY: IDENTIFICATION_STATES}
)


@unique
class StepStatus(StrEnum):
    """Where one step stands."""

    DONE = "done"
    CURRENT = "current"
    FAILED = "failed"
    TO_DO = "to_do"


STATUS_WORDS: Mapping[StepStatus, LazyString] = MappingProxyType(
    {
        StepStatus.DONE: lazy_gettext("done"),
        StepStatus.CURRENT: lazy_gettext("now"),
        StepStatus.FAILED: lazy_gettext("stopped"),
        StepStatus.TO_DO: lazy_gettext("to come"),
    }
)

REACHED: Mapping[LinkRequestState, Step] = MappingProxyType(
    {LinkRequestState.WAITING_FOR_CARD: Step.CARD, LinkRequestState.WAITING_FOR_PIN: Step.PIN}
)
"""The step that an open request has come to."""

STOPPED_AT: Mapping[str, Step] = MappingProxyType(
    {
        "card-removed": Step.CARD,
        "pin-wrong": Step.PIN,
        "pin-blocked": Step.PIN,
        "given-up": Step.PIN,
        "invalid-signature": Step.END,
        "challenge-expired": Step.PIN,
        "challenge-already-used": Step.END,
        "wrong-certificate": Step.END,
    }
)
"""The step at which a problem stops a request; any other is a matter of the certificate."""


@dataclass(frozen=True)
class ShownStep:
    """One line of the list of steps."""

    name: str
    status: str
    status_words: str


@dataclass(frozen=True)
class Progress:
    """What the counter page shows, and what it polls for.

    ``is_open`` says that the order can still come to its end. Afterwards the desk is free for the next
    patron, and the page may go on telling what follows, until it ``is_final``.
    ``at_the_card`` says that the card lies there and the patron is being asked: things go on quickly now.
    ``tone`` (``waiting``, ``warning``, ``success``, ``danger``) chooses the colour; the words say the same.
    """

    is_open: bool
    is_final: bool
    at_the_card: bool
    tone: str
    headline: str
    details: tuple[str, ...]
    steps: tuple[ShownStep, ...]


def present(
    request: LinkRequest, linked_until: datetime | None, move: CategoryMove | None = None
) -> Progress:
    """Return how *request* is shown; *linked_until* is the link's end once there is a link.

    *move* is the change of category that the link brought; the page waits for its first attempt.
    """
    is_moving = move is not None and move.state is MoveState.PENDING
    return Progress(
        is_open=request.state.is_open,
        is_final=not request.state.is_open and not is_moving,
        at_the_card=request.state is LinkRequestState.WAITING_FOR_PIN,
        tone=_tone(request),
        headline=str(STATE_WORDS[request.purpose][request.state]),
        details=(*_details(request, linked_until), *describe_move(move)),
        steps=tuple(_show(_name(step, request.purpose), _status(step, request)) for step in Step),
    )


def describe_move(move: CategoryMove | None) -> list[str]:
    """Return what the counter is told about a change of category."""
    if move is None:
        return []
    words = f"{MOVE_OUTCOMES[move.state]} ({move.from_category} → {move.to_category})"
    reasons = [PROBLEMS.get(move.problem, PROBLEMS[BridgeError.slug])] if move.problem else []
    return [words, *(str(reason) for reason in reasons)]


def _tone(request: LinkRequest) -> str:
    if request.state.is_open:
        return "warning" if request.problem else "waiting"
    return "success" if request.state is LinkRequestState.COMPLETED else "danger"


def _details(request: LinkRequest, linked_until: datetime | None) -> list[str]:
    details = []
    if request.problem is not None:
        details.append(str(PROBLEMS.get(request.problem, PROBLEMS[BridgeError.slug])))
    if request.problem_why is not None:
        details.append(words_of_why(request.problem_why))
    if request.state is LinkRequestState.WAITING_FOR_PIN and request.attempts_remaining is not None:
        details.append(ngettext("%(num)s try left.", "%(num)s tries left.", request.attempts_remaining))
    if linked_until is not None:
        details.append(gettext("Valid until %(date)s.", date=format_date(linked_until, "long")))
    return details


def _status(step: Step, request: LinkRequest) -> StepStatus:
    if request.state is LinkRequestState.COMPLETED:
        return StepStatus.DONE
    if request.state is LinkRequestState.REFUSED:
        return _at(step, STOPPED_AT.get(request.problem or "", Step.CERTIFICATE), StepStatus.FAILED)
    if request.state.is_open:
        return _at(step, REACHED[request.state], StepStatus.CURRENT)
    return StepStatus.TO_DO


def _at(step: Step, reached: Step, status: StepStatus) -> StepStatus:
    if step < reached:
        return StepStatus.DONE
    return status if step == reached else StepStatus.TO_DO


def _name(step: Step, purpose: ChallengePurpose) -> str:
    return str(END_NAMES[purpose] if step is Step.END else STEP_NAMES[step])


def _show(name: str, status: StepStatus) -> ShownStep:
    return ShownStep(name, status.value, str(STATUS_WORDS[status]))
