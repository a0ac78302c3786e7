"""Which key of a keyboard gives which character. Pure.

Key codes are Linux's (linux/input-event-codes.h). Those below 89 are at the same time the scan codes of
set 1, which Windows' SendInput takes (Microsoft, "Keyboard Input Overview", scan codes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum, unique
from types import MappingProxyType

from bridge.agent.errors import WrongSettings


@unique
class KeyCode(IntEnum):
    """The keys that are no character."""

    TAB = 15
    ENTER = 28
    LEFT_SHIFT = 42
    SPACE = 57


@unique
class KeyboardLayout(StrEnum):
    """What the machine takes its keyboard for."""

    US = "us"
    JAPANESE = "jp"


@dataclass(frozen=True)
class KeyStroke:
    """One key, pressed with or without Shift."""

    code: int
    shift: bool = False


_ROWS: tuple[tuple[int, str], ...] = (
    # (code of the first key, the characters of a row of keys next to each other)
    (2, "1234567890"),
    (16, "qwertyuiop"),
    (30, "asdfghjkl"),
    (44, "zxcvbnm"),
)

_COMMON: Mapping[str, KeyStroke] = MappingProxyType(
    {
        "\t": KeyStroke(KeyCode.TAB),
        "\r": KeyStroke(KeyCode.ENTER),
        "\n": KeyStroke(KeyCode.ENTER),
        " ": KeyStroke(KeyCode.SPACE),
        ",": KeyStroke(51),
        ".": KeyStroke(52),
        "/": KeyStroke(53),
        "-": KeyStroke(12),
        "!": KeyStroke(2, shift=True),
        "#": KeyStroke(4, shift=True),
        "$": KeyStroke(5, shift=True),
        "%": KeyStroke(6, shift=True),
        "?": KeyStroke(53, shift=True),
        **{
            character: KeyStroke(first + place) for first, row in _ROWS for place, character in enumerate(row)
        },
        **{
            character.upper(): KeyStroke(first + place, shift=True)
            for first, row in _ROWS
            for place, character in enumerate(row)
            if character.isalpha()
        },
    }
)
"""What lies on the same key in both layouts."""

KEY_STROKES: Mapping[KeyboardLayout, Mapping[str, KeyStroke]] = MappingProxyType(
    {
        # ANSI INCITS 154, 101 keys
        KeyboardLayout.US: MappingProxyType(
            {
                **_COMMON,
                ";": KeyStroke(39),
                ":": KeyStroke(39, shift=True),
                "=": KeyStroke(13),
                "+": KeyStroke(13, shift=True),
                "*": KeyStroke(9, shift=True),
                "@": KeyStroke(3, shift=True),
                "_": KeyStroke(12, shift=True),
            }
        ),
        # JIS X 6002, 106/109 keys
        KeyboardLayout.JAPANESE: MappingProxyType(
            {
                **_COMMON,
                ";": KeyStroke(39),
                "+": KeyStroke(39, shift=True),
                ":": KeyStroke(40),
                "*": KeyStroke(40, shift=True),
                "@": KeyStroke(26),
                "=": KeyStroke(12, shift=True),
                "_": KeyStroke(89, shift=True),
            }
        ),
    }
)
"""Characters that a scanner's prefix or suffix may hold; a token is of digits."""


def key_strokes(text: str, layout: KeyboardLayout) -> list[KeyStroke]:
    """Return the keys that type *text*. Raises ``WrongSettings`` for a character without a key here."""
    keys = KEY_STROKES[layout]
    if not all(character in keys for character in text):
        raise WrongSettings(f"the keyboard layout {layout.value} has no key for a character of the framing")
    return [keys[character] for character in text]
