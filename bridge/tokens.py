"""The one-time token that a self-check machine takes for a scanned library card: its shape. Pure.

Digits only and of fixed length, with a check digit where a machine wants one, so that it passes as a
barcode. Sources of the check digits: ISO/IEC 7812-1, annex B (Luhn); JIS X 0507 / GS1 General
Specifications, 7.9 (modulus 10 weight 3); the usual modulus 16 of NW-7 (Codabar, JIS X 0503).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum, unique
from types import MappingProxyType

from bridge.models import SessionToken

MASKED_EXCEPT_LAST = 4
"""Digits at the end of a token that its mask leaves readable."""


@unique
class CheckDigit(StrEnum):
    """How the last digit follows from the others."""

    NONE = "none"
    LUHN = "luhn"
    MODULUS_10_WEIGHT_3 = "modulus-10-weight-3"
    NW7_MODULUS_16 = "nw7-modulus-16"
    """Of the whole barcode with start and stop character A, which add 32 and so nothing."""

    def of(self, digits: str) -> str | None:
        """Return the digit for *digits*: empty for NONE, None where NW-7 would need another character."""
        return _RULES[self](digits)


def _no_digit(_: str) -> str | None:
    return ""


def _luhn(digits: str) -> str | None:
    doubled = [2 * int(digit) for digit in digits[::-2]]
    total = sum(value // 10 + value % 10 for value in doubled) + sum(map(int, digits[-2::-2]))
    return str(-total % 10)


def _modulus_10_weight_3(digits: str) -> str | None:
    total = 3 * sum(map(int, digits[::-2])) + sum(map(int, digits[-2::-2]))
    return str(-total % 10)


def _nw7_modulus_16(digits: str) -> str | None:
    value = -sum(map(int, digits)) % 16
    return str(value) if value < 10 else None


_RULES: Mapping[CheckDigit, Callable[[str], str | None]] = MappingProxyType(
    {
        CheckDigit.NONE: _no_digit,
        CheckDigit.LUHN: _luhn,
        CheckDigit.MODULUS_10_WEIGHT_3: _modulus_10_weight_3,
        CheckDigit.NW7_MODULUS_16: _nw7_modulus_16,
    }
)


@dataclass(frozen=True)
class TokenShape:
    """What a token looks like: ``prefix`` and digits to ``length``, the last a check digit if any."""

    prefix: str
    length: int
    check_digit: CheckDigit = CheckDigit.NONE

    def matches(self, patron_identifier: str) -> bool:
        """Say whether an identifier looks like a token; one with a wrong check digit does, too."""
        return (
            len(patron_identifier) == self.length
            and patron_identifier.startswith(self.prefix)
            and patron_identifier.isascii()
            and patron_identifier.isdigit()
        )

    def draw(self, random_bytes: Callable[[int], bytes]) -> SessionToken:
        """Make a token of 16 random bytes, so that each digit is as likely as any."""
        checked = self.check_digit is not CheckDigit.NONE
        free = self.length - len(self.prefix) - checked
        while True:
            digits = f"{self.prefix}{int.from_bytes(random_bytes(16), 'big') % 10**free:0{free}}"
            last = self.check_digit.of(digits)
            if last is not None:
                return SessionToken(digits + last)


@dataclass(frozen=True)
class TokenPolicy:
    """The shapes of tokens, and how long one lives.

    ``shapes`` are those of single machines, by library id and SIP2 log-in; every other machine has
    ``shape``. ``idle_limit`` is the longest time between two uses. No library card may have such a shape.
    """

    shape: TokenShape
    lifetime: timedelta
    idle_limit: timedelta
    shapes: Mapping[tuple[str, str], TokenShape] = field(default_factory=dict)

    def shape_at(self, library_id: str, sip2_login: str | None) -> TokenShape:
        """Return the shape of the tokens for one machine."""
        return self.shapes.get((library_id, sip2_login or ""), self.shape)

    def matches(self, library_id: str, patron_identifier: str) -> bool:
        """Say whether an identifier looks like a token of any machine of a library."""
        return self.shape.matches(patron_identifier) or any(
            shape.matches(patron_identifier)
            for (of_library, _), shape in self.shapes.items()
            if of_library == library_id
        )


def mask(token: str) -> str:
    """Return what may stand on a receipt in place of a token: its length, and its last digits."""
    return "*" * (len(token) - MASKED_EXCEPT_LAST) + token[-MASKED_EXCEPT_LAST:]
