"""The seam between the SIP2 proxy and whoever knows what a token stands for.

SIP2 words: a self-check machine is an SC, the library system (Koha) is the ACS.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Protocol


@dataclass(frozen=True)
class Kiosk:
    """The self-check machine at the other end: which listener it reached and how it logged in.

    ``login`` is the CN of its 93, set only after the ACS accepted it; None before.
    """

    listener: str
    peer: str
    login: str | None


@unique
class Refusal(StrEnum):
    """Why an identifier is refused; the proxy answers a valid message with ok=0 or BL N."""

    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105  # not a password
    EXPIRED_TOKEN = "expired_token"  # noqa: S105  # not a password
    WRONG_TERMINAL = "wrong_terminal"
    NO_LONGER_VALID = "no_longer_valid"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class PassThrough:
    """Not ours: a plastic card. The message goes on untouched."""


@dataclass(frozen=True)
class Resolved:
    """A token of ours: *cardnumber* goes to the ACS in its place."""

    session_id: str
    cardnumber: bytes = field(repr=False)


@dataclass(frozen=True)
class Refused:
    """A token that is worth nothing here; *screen_message* is the AF text for the patron."""

    refusal: Refusal
    screen_message: str


Resolution = PassThrough | Resolved | Refused


@unique
class SessionEnd(StrEnum):
    """What ended a token's kiosk session."""

    END_PATRON_SESSION = "end_patron_session"
    ANOTHER_PATRON = "another_patron"
    IDLE = "idle"
    DISCONNECTED = "disconnected"


class PatronResolver(Protocol):
    """Knows which patron identifiers (AA) are tokens and what they stand for."""

    async def resolve(self, patron_identifier: bytes, kiosk: Kiosk) -> Resolution:
        """Say what *patron_identifier* is at *kiosk*, now. Never raises: trouble is ``Refused``."""

    async def close_session(self, session_id: str, end: SessionEnd) -> None:
        """The kiosk session is over; the token is dead from now on. Idempotent."""
