"""The seam between the SIP2 proxy and whoever knows what a token stands for.

SIP2 words: a self-check machine is an SC, the library system (Koha) is the ACS.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Protocol

from sip2_adapter.messages import MessageView


@dataclass(frozen=True)
class Kiosk:
    """The self-check machine at the other end: which listener it reached, from where, and as whom.

    ``peer`` is its address, as a trusted load balancer announced it where there is one. ``login`` is
    the CN of its 93, set only after the ACS accepted it; None before.
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
    GUESSING = "guessing"
    """So many tokens were wrong at this machine that none is looked up for a while: an alarm."""
    NO_LONGER_VALID = "no_longer_valid"
    """The link has ended or is suspended."""
    CERTIFICATE_EXPIRED = "certificate_expired"
    REVOCATION_UNKNOWN = "revocation_unknown"
    """What was known about the certificate's revocation has grown too old."""
    LIBRARY_CARD_NOT_VALID = "library_card_not_valid"
    """By the ACS's own answer the library card has expired, or nobody can say that it has not."""
    PLASTIC_NOT_ACCEPTED = "plastic_not_accepted"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class PassThrough:
    """Not ours: a plastic card. The message goes on untouched."""


@dataclass(frozen=True)
class Resolved:
    """A token of ours: *cardnumber* goes to the ACS in its place.

    In the answers the token stands where the card number was, or *mask* where there is one.
    """

    session_id: str
    cardnumber: bytes = field(repr=False)
    mask: bytes | None = None


@dataclass(frozen=True)
class Refused:
    """An identifier that is worth nothing here; *screen_message* is the AF text for the patron.

    In the answer it is echoed, or *mask* stands in its place.
    """

    refusal: Refusal
    screen_message: str
    mask: bytes | None = None


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

    def resolve(self, patron_identifier: bytes, kiosk: Kiosk) -> Resolution | Awaitable[Resolution]:
        """Say what *patron_identifier* is at *kiosk*, now. Never raises: trouble is ``Refused``.

        Asked at each message that names a patron. May be ``async``; one that knows at once may return
        the resolution itself and spares the message a turn of the event loop.
        """

    def judge(self, session_id: str, answer: MessageView, kiosk: Kiosk) -> Refused | None:
        """Say whether what the ACS answered about a token's patron forbids to go on; None if not.

        Called for every answer to a request that named a token. Must not block, never raises.
        """

    async def report_another_patron(self, session_id: str, kiosk: Kiosk) -> None:
        """The ACS answered about another patron than was asked: an alarm. Never raises."""

    async def report_login_from_elsewhere(self, login: str, kiosk: Kiosk) -> None:
        """Somebody tried to log in as a machine that is bound to other addresses: an alarm. Never raises."""

    async def close_session(self, session_id: str, end: SessionEnd) -> None:
        """The kiosk session is over; the token is dead from now on. Idempotent."""
