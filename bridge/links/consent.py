"""To what a patron agrees before a card is linked (同意).

The wording stands with the other words of the admin (``bridge.admin.words.CONSENT``). Whoever changes it
gives it a new version here: a link keeps the version to which its patron agreed.
"""

from __future__ import annotations

from typing import Final

CONSENT_VERSION: Final = "2026-11-22"
