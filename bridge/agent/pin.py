"""Asking the patron for the PIN. It goes to the card and nowhere else: not to a log, not to the bridge.

Python cannot wipe a ``str``; what can be done is done: no name in here outlives the call, nothing keeps a
copy, and ``jpki.card.Pin`` has no repr.
"""

from __future__ import annotations

import getpass
import sys
import warnings
from collections.abc import Callable
from typing import Protocol, TextIO

from bridge.agent.errors import GivenUp, WrongSettings
from bridge.agent.screen import Screen, VisitStep
from jpki.card import PROTECTED_ATTEMPTS, Pin
from jpki.errors import LastAttemptProtected, MalformedPin, PinBlockedError
from jpki.status import StatusWord

MAXIMUM_PROMPTS = 3
"""Entries that are not four digits until the agent stops asking. The card hears of none of them."""


class PinPad(Protocol):
    """Something on which the patron types the PIN."""

    def read(self, seconds: float | None = None) -> str:
        """Return what was typed, "" for nothing; after *seconds* the bridge would no longer take it."""


class TerminalPinPad:
    """The keyboard of the controlling terminal, without echo."""

    def __init__(self) -> None:
        if not sys.stdin.isatty():
            raise WrongSettings("there is no terminal to type the PIN on")

    def read(self, seconds: float | None = None) -> str:  # whoever is late is told afterwards
        """Read a line; raises ``WrongSettings`` where the terminal cannot switch its echo off."""
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            try:
                return getpass.getpass("")
            except getpass.GetPassWarning:
                raise WrongSettings("the terminal cannot hide what is typed") from None
            except EOFError:
                return ""


class PipedPinPad:
    """Lines of a text stream: for the demo and for tests, where a program plays the patron."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def read(self, seconds: float | None = None) -> str:  # a program is not late
        """Return the next line, "" at the end of the stream."""
        return self._stream.readline().rstrip("\r\n")


def require_spare_attempt(attempts_remaining: int) -> None:
    """Raise ``PinBlockedError`` or ``LastAttemptProtected`` where no PIN must be asked."""
    if attempts_remaining == 0:
        raise PinBlockedError(StatusWord.NO_ATTEMPTS_REMAINING)
    if attempts_remaining <= PROTECTED_ATTEMPTS:
        raise LastAttemptProtected(attempts_remaining)


def ask_pin(pin_pad: PinPad, screen: Screen, seconds_left: Callable[[], float | None] = lambda: None) -> Pin:
    """Return four digits from the patron; raises ``GivenUp`` on an empty entry or too many others."""
    for _ in range(MAXIMUM_PROMPTS):
        screen.show_step(VisitStep.ENTER_PIN)
        typed = pin_pad.read(seconds_left())
        if not typed:
            raise GivenUp
        try:
            return Pin(typed)
        except MalformedPin:
            screen.show_step(VisitStep.NOT_FOUR_DIGITS)
        finally:
            del typed
    raise GivenUp
