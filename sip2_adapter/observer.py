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


@unique
class Cut(StrEnum):
    """Why the proxy took no connection, or ended one."""

    TOO_MANY_CONNECTIONS = "too_many_connections"
    TOO_MANY_FROM_ADDRESS = "too_many_from_address"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    """No library behind the port has machines there."""
    PROXY_NOT_TRUSTED = "proxy_not_trusted"
    """It came to a port for load balancers and is none."""
    PROXY_HEADER = "proxy_header"
    """The PROXY header was missing, wrong or late."""
    TLS_HANDSHAKE = "tls_handshake"
    """No TLS, a certificate that was refused by either side, or too late."""
    NOT_LOGGED_IN = "not_logged_in"
    """Nobody logged in for too long."""
    IDLE = "idle"
    FRAME_TOO_LONG = "frame_too_long"
    FRAME_TOO_SLOW = "frame_too_slow"
    TOO_MANY_FRAMES = "too_many_frames"
    """Requests were sent without waiting for answers."""
    GARBAGE = "garbage"
    """Too much that is no SIP2 message."""


@unique
class LoginRefusal(StrEnum):
    """Why the proxy did not pass a log-in (93) on, or the ACS did not accept it."""

    BY_ACS = "by_acs"
    SECOND_ACCOUNT = "second_account"
    """The machine is logged in already, and not as this one."""
    UNPRINTABLE = "unprintable"
    UNKNOWN_LOGIN = "unknown_login"
    """No library behind the port has a machine of this name."""
    WRONG_ADDRESS = "wrong_address"
    """The machine is not where it is bound to: an alarm."""


class ProxyObserver(Protocol):
    """Counters, histograms, alarms. Called on the event loop: must not block, must not raise."""

    def kiosk_connected(self, listener: str) -> None:
        """A machine opened a connection."""

    def kiosk_disconnected(self, listener: str) -> None:
        """A machine's connection is over."""

    def connection_cut(self, listener: str, cut: Cut) -> None:
        """A connection was not taken, or ended by us; on a port of several libraries the first is named."""

    def login_refused(self, listener: str, refusal: LoginRefusal) -> None:
        """A log-in was refused; ``request_answered`` follows."""

    def request_answered(self, listener: str, code: bytes, result: Result, seconds: float) -> None:
        """A request was answered. *code* is a known code, or ``b"??"``."""

    def patron_refused(self, listener: str, refusal: Refusal) -> None:
        """A patron was refused; ``request_answered`` follows with the request."""
