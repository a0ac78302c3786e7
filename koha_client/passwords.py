"""Passwords of patrons: masked, and checked against Koha's rules before one is set. Pure.

Source: ``Koha::AuthUtils`` and the preferences minPasswordLength and RequireStrongPassword, which a
category may override. Plugins of the library's may refuse more; then Koha says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, unique

from koha_client.errors import KohaError
from koha_client.models import PatronCategory

SHORTEST_PASSWORD = 3
"""Koha's floor, whatever the preference says."""

_STRONG = tuple(map(re.compile, ("[a-z]", "[A-Z]", "[0-9]")))


@dataclass(frozen=True)
class Password:
    """What somebody typed as the password of a patron. It cannot print itself."""

    value: str = field(repr=False)


@unique
class PasswordFault(Enum):
    """Why a password is refused."""

    TOO_SHORT = "too short"
    SURROUNDED_BY_BLANKS = "it begins or ends with a blank"
    TOO_WEAK = "it needs a small letter, a capital letter and a digit"
    REFUSED_BY_KOHA = "Koha refuses it"


class PasswordRefused(KohaError):
    """A password that Koha does not take; the password is not in the text."""

    def __init__(self, fault: PasswordFault) -> None:
        super().__init__(f"the password is refused: {fault.value}")
        self.fault = fault


@dataclass(frozen=True)
class PasswordRules:
    """A library's rules. The defaults are those of Koha's preferences."""

    minimum_length: int = 8
    strong: bool = True

    def for_category(self, category: PatronCategory) -> PasswordRules:
        """Return these rules with what *category* says differently."""
        length, strong = category.min_password_length, category.require_strong_password
        return PasswordRules(
            self.minimum_length if length is None else length, self.strong if strong is None else strong
        )

    def check(self, password: str) -> None:
        """Raise ``PasswordRefused`` where Koha would refuse *password*."""
        if password != password.strip():
            raise PasswordRefused(PasswordFault.SURROUNDED_BY_BLANKS)
        if len(password) < max(self.minimum_length, SHORTEST_PASSWORD):
            raise PasswordRefused(PasswordFault.TOO_SHORT)
        if self.strong and not all(pattern.search(password) for pattern in _STRONG):
            raise PasswordRefused(PasswordFault.TOO_WEAK)
