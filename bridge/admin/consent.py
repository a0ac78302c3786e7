"""A wording of the consent, for the pages that show it word for word."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.admin.words import CONSENT_LANGUAGES
from bridge.links.consent import ConsentPoint, ConsentWording


def texts_of(wording: ConsentWording) -> Sequence[tuple[str, str, Sequence[ConsentPoint]]]:
    """Return for each language its code, its name in the language of the page, and what is agreed to."""
    return [(code, str(words), wording.points(code)) for code, words in CONSENT_LANGUAGES.items()]
