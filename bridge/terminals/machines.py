"""How each self-check machine is served: its language, what it may be shown, which cards it takes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from types import MappingProxyType
from typing import Final

from sip2_adapter.resolver import Kiosk, Refusal
from sip2_adapter.screen import JAPANESE_SCREEN_MESSAGES, KioskScreen, ScreenMessages


@unique
class ScreenLanguage(StrEnum):
    """The languages in which a machine can be spoken to."""

    ENGLISH = "en"
    JAPANESE = "ja"


REFUSAL_TEXTS: Final[Mapping[ScreenLanguage, Mapping[Refusal, str]]] = MappingProxyType(
    {
        ScreenLanguage.ENGLISH: MappingProxyType(
            {
                Refusal.UNKNOWN_TOKEN: "Card not recognised. Please lay your card on the reader again.",
                Refusal.EXPIRED_TOKEN: "Session ended. Please lay your card on the reader again.",
                Refusal.WRONG_TERMINAL: "Please use the machine at which you laid your card.",
                Refusal.GUESSING: "Too many wrong numbers. Please wait a minute.",
                Refusal.NO_LONGER_VALID: "Your card is no longer linked. Please ask at the counter.",
                Refusal.CERTIFICATE_EXPIRED: "Certificate expired. Please ask at the counter.",
                Refusal.REVOCATION_UNKNOWN: "Please lay your card on the reader again.",
                Refusal.LIBRARY_CARD_NOT_VALID: (
                    "Library card expired or restricted. Please ask at the counter."
                ),
                Refusal.PLASTIC_NOT_ACCEPTED: "Please use your My Number Card at this machine.",
                Refusal.UNAVAILABLE: "Cards cannot be read now. Please use your library card.",
            }
        ),
        ScreenLanguage.JAPANESE: MappingProxyType(
            {
                Refusal.UNKNOWN_TOKEN: "番号を確認できません。カードをもう一度かざしてください。",
                Refusal.EXPIRED_TOKEN: "手続きは終了しています。カードをもう一度かざしてください。",
                Refusal.WRONG_TERMINAL: "カードをかざした機械でお手続きください。",
                Refusal.GUESSING: "誤った番号が続きました。1分ほどお待ちください。",
                Refusal.NO_LONGER_VALID: "カードの連携が無効です。カウンターでお尋ねください。",
                Refusal.CERTIFICATE_EXPIRED: "電子証明書の期限切れです。カウンターでお尋ねください。",
                Refusal.REVOCATION_UNKNOWN: "確認のため、カードをもう一度かざしてください。",
                Refusal.LIBRARY_CARD_NOT_VALID: (
                    "利用者カードが期限切れか利用停止中です。カウンターでお尋ねください。"
                ),
                Refusal.PLASTIC_NOT_ACCEPTED: "この機械ではマイナンバーカードをお使いください。",
                Refusal.UNAVAILABLE: "ただいまカードを確認できません。利用者カードをお使いください。",
            }
        ),
    }
)
"""What the patron reads (AF): at most 80 columns. English is ASCII, which every machine can show."""

SCREEN_MESSAGES: Final[Mapping[ScreenLanguage, ScreenMessages]] = MappingProxyType(
    {ScreenLanguage.ENGLISH: ScreenMessages(), ScreenLanguage.JAPANESE: JAPANESE_SCREEN_MESSAGES}
)


@dataclass(frozen=True)
class MachinePolicy:
    """How one self-check machine is served.

    ``character_set`` is a codec's name. Without ``show_token`` the answers carry a mask in its place.
    """

    language: ScreenLanguage = ScreenLanguage.ENGLISH
    character_set: str = "utf-8"
    show_token: bool = True
    plastic_cards: bool = True

    @property
    def screen(self) -> KioskScreen:
        """What the proxy needs to speak to the machine."""
        return KioskScreen(SCREEN_MESSAGES[self.language], self.character_set)

    def text(self, refusal: Refusal) -> str:
        """Return what the patron reads who is refused."""
        return REFUSAL_TEXTS[self.language][refusal]


@dataclass(frozen=True)
class MachinePolicies:
    """The machines of one library: one rule for all, and those that differ by SIP2 log-in.

    ``expiry_field`` is where Koha's patron answers hold the library card's last day, None for nowhere.
    """

    usual: MachinePolicy = MachinePolicy()
    by_login: Mapping[str, MachinePolicy] = field(default_factory=dict)
    expiry_field: bytes | None = None

    def of(self, kiosk: Kiosk) -> MachinePolicy:
        """Return how a machine is served; one that has not logged in yet is served as usual."""
        return self.by_login.get(kiosk.login or "", self.usual)
