"""Whether a library card is still valid, by the ACS's own answer about its patron (24, 64). Pure.

Koha goes on saying BL Y for a card that has expired; what changes is the patron status (the first four
of its flags), PI, and a sentence in AF. A restriction changes the same, so that expired and restricted
can be told apart only where Koha is configured to send the date of expiry in a field of its own
(``custom_patron_field``). Source: C4/SIP/ILS/Patron.pm, read and run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from enum import StrEnum, unique
from typing import Final, Protocol, Self

from sip2_adapter.fields import FieldId

_PATRON_ANSWERS: Final = frozenset({b"24", b"64"})
_ALL_DENIED: Final = b"YYYY"
_OTHER_REASONS: Final = slice(4, 14)
"""Card lost, too many charged ... too many billed: with one of these the denial has its reason."""

_EXPIRY_SENTENCE: Final = b"Your account has expired as of "
"""Part of Koha's AF; a library may have changed it (``screen_msg_regex``), so it is not needed below."""

_DATE: Final = re.compile(rb"([0-9]{4})-?([0-9]{2})-?([0-9]{2})(?![0-9])")
"""``2027-03-31`` as Koha writes it, or ``20270331`` as SIP2 does; a time may follow."""


@unique
class LibraryCardStanding(StrEnum):
    """What an answer says of the library card, and whether that forbids a token to go on."""

    forbids: bool

    NOT_SAID = "not_said", False
    """The message is not about a patron, or about nobody that the ACS knows."""
    VALID = "valid", False
    """Not expired. Whether the patron may borrow is the ACS's own decision."""
    EXPIRED = "expired", True
    EXPIRED_OR_RESTRICTED = "expired_or_restricted", True
    """Everything is denied and no flag says why."""
    UNKNOWN = "unknown", True  # which is not good
    """The field that should hold the date of expiry does not."""

    def __new__(cls, value: str, forbids: bool) -> Self:  # noqa: FBT001  # as the members are written
        """Make a member of its value and what it means."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.forbids = forbids
        return member


_VALID: Final = LibraryCardStanding.VALID  # an enumeration looks its members up slowly


class PatronAnswer(Protocol):
    """What is read of an answer: ``Sip2Message`` has it."""

    @property
    def code(self) -> bytes:
        """The two-digit code."""

    def fixed_field(self, name: str) -> bytes:
        """Return the fixed field *name* of the specification."""

    def value(self, field_id: bytes) -> bytes | None:
        """Return the first value of a variable field, None if it is absent."""


def judge_library_card(
    answer: PatronAnswer, today: Callable[[], date], expiry_field: bytes | None
) -> LibraryCardStanding:
    """Judge the library card of the patron whom *answer* is about.

    *today* gives the day in the library's time zone; the day of expiry itself is still valid. *expiry_field*
    is the field in which the ACS sends that day, None where it sends none: then the flags decide.
    """
    if answer.code not in _PATRON_ANSWERS:
        return LibraryCardStanding.NOT_SAID
    status = answer.fixed_field("patron_status")
    if expiry_field is None and status[:4] != _ALL_DENIED:
        return _VALID  # by far the most: nothing else needs to be read
    if answer.value(FieldId.VALID_PATRON) == b"N":
        return LibraryCardStanding.NOT_SAID
    if expiry_field is not None:
        expiry = _read_date(answer.value(expiry_field))
        if expiry is None:
            return LibraryCardStanding.UNKNOWN
        return LibraryCardStanding.VALID if today() <= expiry else LibraryCardStanding.EXPIRED
    if _EXPIRY_SENTENCE in (answer.value(FieldId.SCREEN_MESSAGE) or b""):
        return LibraryCardStanding.EXPIRED
    has_a_reason = b"Y" in status[_OTHER_REASONS]
    in_order = answer.value(FieldId.PATRON_INTERNET_PROFILE) == b"Y"
    if has_a_reason or in_order:
        return LibraryCardStanding.VALID
    return LibraryCardStanding.EXPIRED_OR_RESTRICTED


def _read_date(value: bytes | None) -> date | None:
    found = _DATE.match(value or b"")
    if found is None:
        return None
    try:
        return datetime.strptime(b"".join(found.groups()).decode(), "%Y%m%d").date()  # noqa: DTZ007  # a day
    except ValueError:
        return None
