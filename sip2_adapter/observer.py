"""What the proxy tells those who count: one call for each thing that happens."""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Protocol

from sip2_adapter.resolver import Refusal


@unique
class Result(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    """The ACS answered; yes or no was its own decision."""
    REPEATED = "repeated"
    """The same request again: answered from memory, not executed again."""
    RESENT = "resent"
    """97: the last answer again."""
    RESEND_REQUESTED = "resend_requested"
    """The ACS answered 96; the machine may try again."""
    REFUSED = "refused"
    """The resolver refused the patron identifier."""
    ANOTHER_PATRON = "another_patron"
    """The ACS answered about somebody else: an alarm."""
    NOT_LOGGED_IN = "not_logged_in"
    LOGIN_REFUSED = "login_refused"
    BAD_CHECKSUM = "bad_checksum"
    MALFORMED = "malformed"
    ACS_UNAVAILABLE = "acs_unavailable"
    """The request never reached the ACS."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """The request went out and no usable answer came back."""
    FAILED = "failed"
    """An error of our own."""


class ProxyObserver(Protocol):
    """Counters, histograms, alarms. Called on the event loop: must not block, must not raise."""

    def kiosk_connected(self, listener: str) -> None:
        """A machine opened a connection."""

    def kiosk_disconnected(self, listener: str) -> None:
        """A machine's connection is over."""

    def request_answered(self, listener: str, code: bytes, result: Result, seconds: float) -> None:
        """A request was answered. *code* is a known code, or ``b"??"``."""

    def patron_refused(self, listener: str, refusal: Refusal) -> None:
        """A patron was refused; ``request_answered`` follows with the request."""
