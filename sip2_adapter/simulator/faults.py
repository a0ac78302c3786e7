"""Ways in which the simulated ACS misbehaves on demand."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum, unique


@unique
class Fault(StrEnum):
    """What goes wrong with one answer. The request has been executed by then, except for IGNORE."""

    IGNORE = "ignore"
    """The request is neither executed nor answered."""
    CLOSE = "close"
    """The connection closes without an answer."""
    LATE = "late"
    """The answer comes after ``late_seconds``."""
    HALF = "half"
    """Half of the answer, then the connection closes."""
    WRONG_CHECKSUM = "wrong_checksum"
    WRONG_SEQUENCE = "wrong_sequence"
    ASK_TO_RESEND = "ask_to_resend"
    """96 with nothing executed."""


FaultPlan = Callable[[int, str], Fault | None]
"""Says what goes wrong with the *n*-th message of a connection, counted from 1, of a given code."""


def no_faults(number: int, code: str) -> Fault | None:
    """Nothing goes wrong."""
    return None


def recurring(fault: Fault, *, every: int = 1, code: str | None = None) -> FaultPlan:
    """Return the plan in which every *every*-th message of a connection goes wrong, or those of *code*.

    The log-in is spared, so that there is a session in which something can go wrong.
    """

    def plan(number: int, of_code: str) -> Fault | None:
        meant = code in (None, of_code) and of_code != "93"
        return fault if meant and number % every == 0 else None

    return plan
