"""To what a patron agrees before a card is linked (同意).

A wording has two languages and a version, which each link keeps. The product's own stands in
``consent_wordings``, in a file for each language and version; a version that was once given out is never
changed or taken away, so that what somebody agreed to can be read for as long as the link is kept. A
library may set a wording of its own (``bridge.links.consent_service``).

In a file, and where staff type one, a wording is paragraphs with an empty line between. The first line of
a paragraph is its heading; a paragraph of one line has none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from bridge.errors import ConsentUnfit
from bridge.models import ConsentLanguage, ConsentProblem

STANDARD_VERSION: Final = "2026-11-21.2"
"""Of the product's own wording that is in force where a library has set none."""

REDATED: Mapping[str, str] = MappingProxyType({"2026-11-22": "2026-11-21.2"})
"""Versions by which the same text was known at first: it bore the date of the day after."""

MAXIMUM_LENGTH = 4000
"""Characters of a wording in one language: more does not fit on the application form's page."""

PARAGRAPH_END = re.compile(r"\n(?:[ \t\u3000]*\n)+")


@dataclass(frozen=True)
class ConsentPoint:
    """One thing that the patron agrees to, under its heading on the application form, if it has one."""

    heading: str
    wording: str

    @property
    def paragraph(self) -> str:
        """The point as it was written: the heading, where there is one, in a line of its own."""
        return f"{self.heading}\n{self.wording}" if self.heading else self.wording


@dataclass(frozen=True)
class ConsentWording:
    """A wording in both languages, under the version that links keep."""

    version: str
    texts: Mapping[ConsentLanguage, str]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of both texts, in hex: by it the audit log tells whether one was changed by hand."""
        parts = (f"{language}\0{self.texts[language]}\0" for language in ConsentLanguage)
        return sha256("".join(parts).encode()).hexdigest()

    def points(self, language: str) -> Sequence[ConsentPoint]:
        """Return what is agreed to, in English for ``en`` and in Japanese for any other language."""
        spoken = ConsentLanguage.ENGLISH if language == "en" else ConsentLanguage.JAPANESE
        return points_of(self.texts[spoken])


@dataclass(frozen=True)
class OwnConsent:
    """A wording that a library set: its *revision*-th, counted from 1, in force from ``set_at``."""

    revision: int
    set_at: datetime
    wording: ConsentWording


def points_of(text: str) -> Sequence[ConsentPoint]:
    """Return the points of a text that ``read_text`` returned."""
    points = []
    for paragraph in PARAGRAPH_END.split(text):
        heading, _, wording = paragraph.partition("\n")
        points.append(ConsentPoint(heading, wording) if wording else ConsentPoint("", heading))
    return tuple(points)


def read_text(text: str, language: ConsentLanguage) -> str:
    """Return a text as it is kept: lines ended by LF, no space at their ends, nothing around the whole.

    Raises ``ConsentUnfit``.
    """
    lines = [line.rstrip() for line in text.removeprefix("\ufeff").splitlines()]
    kept = "\n".join(lines).strip()
    if not kept:
        raise ConsentUnfit(language, ConsentProblem.EMPTY)
    if len(kept) > MAXIMUM_LENGTH:
        raise ConsentUnfit(language, ConsentProblem.TOO_LONG)
    if any(unicodedata.category(each) in {"Cc", "Cs"} and each not in "\n\t" for each in kept):
        raise ConsentUnfit(language, ConsentProblem.CONTROL_CHARACTER)
    return kept


def own_version(day: date, revision: int) -> str:
    """Return the version of a library's *revision*-th own wording, set on *day*."""
    return f"{day.isoformat()}-own{revision}"


def standard_wording() -> ConsentWording:
    """Return the product's own wording of today."""
    wording = find_standard(STANDARD_VERSION)
    assert wording is not None  # noqa: S101  # for the type checker
    return wording


@cache
def find_standard(version: str) -> ConsentWording | None:
    """Return a wording of the product's own, of today or of before; None where there was none."""
    dated = REDATED.get(version, version)
    by_name = {each.name: each for each in files("bridge.links").joinpath("consent_wordings").iterdir()}
    found = {language: by_name.get(f"{dated}.{language}.txt") for language in ConsentLanguage}
    texts = {
        language: read_text(file.read_text(encoding="utf-8"), language)
        for language, file in found.items()
        if file is not None
    }
    return ConsentWording(version, texts) if len(texts) == len(ConsentLanguage) else None
