"""The one-time code by which a terminal enrols: short, easy to read out and to type. Pure.

Nine characters of Crockford's base32 (crockford.com/base32.html), which has no I, L, O and U: eight of
them drawn, 40 bits; the last is their check character by the Luhn algorithm modulo 32, which notices any
one wrong character and nearly all neighbours that changed places. The agent and the server both read it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
DRAWN = 8
GROUP = 3
LENGTH = DRAWN + 1

_MEANT = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None, "ー": None, "−": None, "‐": None})
"""What is typed for a character that looks like it, and what only parts the groups."""


class MistypedEnrolmentCode(ValueError):
    """The text cannot be a code: a character is wrong, missing or too many."""


@dataclass(frozen=True)
class EnrolmentCode:
    """A code without its hyphens."""

    value: str = field(repr=False)

    @classmethod
    def draw(cls, random_bytes: Callable[[int], bytes]) -> Self:
        """Make a code of five random bytes."""
        number = int.from_bytes(random_bytes(DRAWN * 5 // 8), "big")
        drawn = "".join(ALPHABET[number >> 5 * place & 31] for place in range(DRAWN))
        return cls(drawn + _check_character(drawn))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the code that was meant, whatever the case, the width and the hyphens.

        Raises ``MistypedEnrolmentCode``.
        """
        value = unicodedata.normalize("NFKC", text).upper().strip().translate(_MEANT)
        if len(value) != LENGTH or not set(value) <= set(ALPHABET):
            raise MistypedEnrolmentCode
        if _check_character(value[:DRAWN]) != value[DRAWN:]:
            raise MistypedEnrolmentCode
        return cls(value)

    def grouped(self) -> str:
        """Return the code as it is shown: ``7K3-M9Q-X2T``."""
        return "-".join(self.value[place : place + GROUP] for place in range(0, LENGTH, GROUP))


def _check_character(drawn: str) -> str:
    base = len(ALPHABET)
    doubled = [2 * ALPHABET.index(character) for character in drawn[::-2]]
    total = sum(value // base + value % base for value in doubled)
    total += sum(ALPHABET.index(character) for character in drawn[-2::-2])
    return ALPHABET[-total % base]
