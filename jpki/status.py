"""Status words of the card and the errors they stand for. Pure.

Meanings as measured by myna-card and used by OpenSC card-jpki.c, where they differ from, or say
more than, ISO/IEC 7816-4.
"""

from __future__ import annotations

from enum import IntEnum, unique

from jpki.errors import CardError, InvalidPinError, PinBlockedError


@unique
class StatusWord(IntEnum):
    """Two-byte answers that have a name."""

    SUCCESS = 0x9000
    END_OF_FILE = 0x6282  # fewer bytes than asked for; those that came are good
    NO_ATTEMPTS_REMAINING = 0x63C0  # the answer to the attempt that blocks
    WRONG_LENGTH = 0x6700
    INCOMPATIBLE_FILE = 0x6981  # such as READ BINARY on a key
    SECURITY_STATUS_NOT_SATISFIED = 0x6982  # the PIN comes first
    AUTHENTICATION_METHOD_BLOCKED = 0x6983  # ISO's word for a blocked PIN
    REFERENCE_DATA_NOT_USABLE = 0x6984  # the JPKI card's word for a blocked PIN
    CONDITIONS_NOT_SATISFIED = 0x6985
    NO_CURRENT_FILE = 0x6986
    WRONG_DATA = 0x6A80
    FILE_NOT_FOUND = 0x6A82
    INCORRECT_PARAMETERS = 0x6A86
    REFERENCED_DATA_NOT_FOUND = 0x6A88
    OFFSET_OUTSIDE_FILE = 0x6B00
    INSTRUCTION_NOT_SUPPORTED = 0x6D00
    CLASS_NOT_SUPPORTED = 0x6E00
    NO_PRECISE_DIAGNOSIS = 0x6F00  # seen on the first command after power-on


PIN_BLOCKED = frozenset(
    {
        StatusWord.NO_ATTEMPTS_REMAINING,
        StatusWord.AUTHENTICATION_METHOD_BLOCKED,
        StatusWord.REFERENCE_DATA_NOT_USABLE,
    }
)
"""Which of 6983 and 6984 a card gives differs by generation; both mean the same here."""


def attempts_in(status_word: int) -> int | None:
    """Return x of 63Cx, the attempts remaining; None where *status_word* is another."""
    return status_word & 0x0F if status_word & 0xFFF0 == 0x63C0 else None


def error_for(status_word: int) -> CardError:
    """Return the typed error for a failing status word."""
    if status_word in PIN_BLOCKED:
        return PinBlockedError(status_word)
    attempts = attempts_in(status_word)
    if attempts is not None:
        return InvalidPinError(status_word, attempts_remaining=attempts)
    return CardError(status_word)
