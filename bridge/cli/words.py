"""What an operator reads of a refusal whose error carries no text of its own, or one that leads nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

HINTS: Mapping[str, str] = MappingProxyType(
    {
        "library-not-found": "no such library in the settings; koha-jpki library list names them",
        "librarian-not-found": "no such account; koha-jpki librarian list and plugin staff name them",
        "terminal-not-found": "no such terminal in this library; koha-jpki terminal list names them",
        "link-not-found": "no such link in this library, or it has ended; koha-jpki links list names them",
        "plugin-not-found": "no such Koha in this library; koha-jpki plugin list names them",
        "consent-not-found": "no such version in this library; koha-jpki library consent list names its own",
        "consent-changed": "somebody else changed the wording in the same moment: look at it again",
        "name-taken": "something in this library has this id, log-in name, SIP2 log-in or number already",
        "wrong-role": "--region goes with region_administrator, --library with the other roles",
        "koha-sign-in-off": "the library has no [library.koha_sign_in] in the settings",
        "koha-account-not-found": "nobody has this borrowernumber in the library's Koha",
        "koha-account-taken": "another account here signs in as this borrowernumber",
        "koha-permission-missing": "lacks the permission in Koha that [library.koha_sign_in] asks for",
        "identifier-kind-not-used": "its form is missing in [identifiers] of the settings",
        "koha-not-reachable": "koha-jpki doctor says what is wrong",
        "store-unavailable": "the database is full, in use by another program or away; nothing was done",
    }
)
"""Slug: what is the matter, in the terms of the command line, and where to look."""


def operator_words(slug: str, text: str) -> str:
    """Return the words of a refusal: the error's own *text*, and what helps; never nothing."""
    hint = HINTS.get(slug, "")
    return "; ".join(filter(None, (text, hint))) or _title(slug)


def _title(slug: str) -> str:
    # The API's words need Flask, which a counter PC that reads its settings here does not have.
    from bridge.api.problems import PROBLEMS

    return PROBLEMS[slug].title_en


def refusal_line(slug: str, text: str = "") -> str:
    """Return what people read of a refusal, in one line."""
    return f"{slug}: {operator_words(slug, text)}"
