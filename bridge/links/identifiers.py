"""Kinds of identifier that come from elsewhere, and when a text is one. Pure.

====================  =====================================================================  ==============
kind                  what it is                                                             source
====================  =====================================================================  ==============
``SERIAL_NUMBER``     serial number (発行番号) of the certificate, with its issuer; read      RFC 5280,
                      and proven by ourselves, never imported and never given out            4.1.2.2
``PPID``              pseudonym that the platform of 地方公共団体 gives one system for a      Digital Agency,
                      person; another system gets another                                    MyKey platform
``MYKEY_ID``          MyKeyID (マイキーID), which a person made on the MyKey platform         J-LIS leaflets
``CARD_AP_NUMBER``    number in a card application of the city (条例利用, カードAP)           J-LIS, under NDA
====================  =====================================================================  ==============

What the last three look like is published nowhere that could be cited. So the settings say it, and a kind
whose form nobody has stated takes nothing in.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique

from bridge.models import IdentifierKind

MAXIMUM_IDENTIFIER_LENGTH = 128
"""Characters. Far above what any of the kinds can be, and below what could hurt."""

IMPORTED_KINDS = (IdentifierKind.PPID, IdentifierKind.MYKEY_ID, IdentifierKind.CARD_AP_NUMBER)


@unique
class IdentifierProblem(StrEnum):
    """Why a text is not an identifier of a kind."""

    EMPTY = "identifier-empty"
    NOT_OF_THIS_FORM = "identifier-not-of-this-form"


@dataclass(frozen=True)
class ForeignIdentifier:
    """An identifier of one of the ``IMPORTED_KINDS``, in the one way it is written."""

    kind: IdentifierKind
    value: str = field(repr=False)


@dataclass(frozen=True)
class IdentifierForms:
    """By kind the form that the settings state; a kind without one is not used."""

    patterns: Mapping[IdentifierKind, re.Pattern[str]]

    def is_stated(self, kind: IdentifierKind) -> bool:
        """Whether the settings state what this kind looks like."""
        return kind in self.patterns

    def read(self, kind: IdentifierKind, text: str) -> ForeignIdentifier | IdentifierProblem:
        """Return the identifier that *text* writes, or what is wrong with it.

        Full-width letters and digits count as half-width ones (Unicode NFKC) and blanks around it are
        dropped; small and capital letters differ. *kind* must be stated.
        """
        value = unicodedata.normalize("NFKC", text).strip()
        if not value:
            return IdentifierProblem.EMPTY
        if len(value) > MAXIMUM_IDENTIFIER_LENGTH or not self.patterns[kind].fullmatch(value):
            return IdentifierProblem.NOT_OF_THIS_FORM
        return ForeignIdentifier(kind, value)
