"""How the counter page shows a patron: what the desk needs to know, and no loans. Pure, but for the words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_babel import format_date, gettext

from bridge.admin.words import PROBLEMS
from bridge.rules import DenialReason

if TYPE_CHECKING:
    from bridge.models import CardLink
    from bridge.registration import PatronSummary


@dataclass(frozen=True)
class ShownPatron:
    """A patron summary in words. ``may_link`` says whether a card may be linked now."""

    name: str
    patron_number: int
    category: str
    expiry: str
    warnings: tuple[str, ...]
    links: tuple[ShownLink, ...]
    may_link: bool


@dataclass(frozen=True)
class ShownLink:
    """A link in words."""

    link_id: str
    linked_on: str
    valid_until: str


def show_patron(summary: PatronSummary) -> ShownPatron:
    """Return how a patron is shown."""
    patron = summary.patron
    return ShownPatron(
        name=patron.name,
        patron_number=patron.patron_id,
        category=patron.category_id,
        expiry=format_date(patron.expiry_date, "long") if patron.expiry_date else gettext("no end"),
        warnings=tuple(_warnings(summary)),
        links=tuple(show_link(link) for link in summary.open_links),
        may_link=summary.decision.allowed,
    )


def show_link(link: CardLink) -> ShownLink:
    """Return how a link is shown."""
    return ShownLink(link.link_id, format_date(link.linked_at, "long"), format_date(link.not_after, "long"))


def _warnings(summary: PatronSummary) -> list[str]:
    reasons = [summary.decision.denial] if summary.decision.denial else []
    if summary.patron.restricted:
        reasons.append(DenialReason.PATRON_RESTRICTED)
    return [str(PROBLEMS[reason]) for reason in dict.fromkeys(reasons)]
