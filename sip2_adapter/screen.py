"""What the proxy itself says to a patron (AF), in the language and the characters of the machine. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sip2_adapter.resolver import Kiosk


@dataclass(frozen=True)
class ScreenMessages:
    """What a patron reads when the proxy has to answer itself."""

    not_logged_in: str = "This machine is not logged in."
    acs_unavailable: str = "The library system cannot be reached. Please try again later."
    outcome_unknown: str = (
        "The library system did not answer. Please ask at the counter whether this was done."
    )


JAPANESE_SCREEN_MESSAGES: Final = ScreenMessages(
    not_logged_in="この機械は図書館システムにログインしていません。",
    acs_unavailable="図書館システムに接続できません。しばらくしてからもう一度お試しください。",
    outcome_unknown="図書館システムから応答がありません。手続きが済んだかどうかカウンターでお尋ねください。",
)


@dataclass(frozen=True)
class KioskScreen:
    """The screen of one machine: what is said on it, and in which character set (a codec's name)."""

    messages: ScreenMessages = ScreenMessages()
    encoding: str = "utf-8"


ENGLISH_SCREEN: Final = KioskScreen()

ScreenOf = Callable[[Kiosk], KioskScreen]
"""Says which screen a machine has; before its log-in, too."""


def english_screen(_: Kiosk) -> KioskScreen:
    """Every machine reads English."""
    return ENGLISH_SCREEN
