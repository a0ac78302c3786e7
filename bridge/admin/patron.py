"""How the counter page shows a patron: what the desk needs to know, and no loans. Pure, but for the words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask_babel import format_date, format_decimal, gettext

from bridge.admin.words import IDENTIFIER_KINDS, LINK_END_REASONS, PROBLEMS, words_of
from bridge.models import IdentifierKind, LinkState
from bridge.patrons.category import MovePreview, SideEffect
from bridge.rules import STAFF_SUSPENSIONS, DenialReason, is_near

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from bridge.models import CardLink
    from bridge.ports import CategoryDetails, PatronRecord
    from bridge.registration import PatronSummary
    from bridge.rules import Decision, LinkEnding

KOHA_CIRCULATION = "/cgi-bin/koha/circ/circulation.pl"
"""Koha's page for lending to a patron (Koha, ``circ/circulation.pl``)."""


@dataclass(frozen=True)
class ShownPatron:
    """A patron summary in words. ``may_link`` says whether a card may be linked now.

    ``move`` is the change of category that a link brings, and what else that does; ``notes`` say what
    is not possible for this patron.
    """

    name: str
    cardnumber: str = field(repr=False)
    patron_number: str
    category: str
    expiry: str
    warnings: tuple[str, ...]
    links: tuple[ShownLink, ...]
    may_link: bool
    move: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShownLink:
    """A link in words. ``warning`` says that it rests or ends soon.

    ``as_replaced`` says of a new card that it takes this one's place.
    """

    link_id: str
    linked_on: str
    valid_until: str
    state: LinkState
    warning: str
    may_restore: bool
    as_replaced: str


def show_patron(
    summary: PatronSummary,
    ending_of: Callable[[CardLink], LinkEnding],
    now: datetime,
    preview: MovePreview | None = None,
) -> ShownPatron:
    """Return how a patron is shown; *ending_of* says when a link ends by itself."""
    patron = summary.patron
    return ShownPatron(
        name=patron.name,
        cardnumber=patron.cardnumber,
        patron_number=patron_number(patron),
        category=patron.category_id,
        expiry=_expiry(patron),
        warnings=tuple(_warnings(patron, summary.decision)),
        links=tuple(show_link(link, ending_of(link), now) for link in summary.open_links),
        may_link=summary.decision.allowed,
        move=() if preview is None else tuple(_move(preview)),
        notes=tuple(_notes(summary)),
    )


@dataclass(frozen=True)
class IdentifiedPatron:
    """Whose card it was. ``cardnumber`` is what the library card's barcode gives.

    ``koha_address`` is where Koha's staff interface lends to this patron, None where that is not known.
    """

    name: str
    cardnumber: str = field(repr=False)
    patron_number: str
    expiry: str
    warnings: tuple[str, ...]
    koha_address: str | None


def show_identified(
    patron: PatronRecord, library_card: Decision, koha_staff_url: str | None
) -> IdentifiedPatron:
    """Return how a patron is shown whose card it was; *library_card* says whether that one is in order."""
    return IdentifiedPatron(
        name=patron.name,
        cardnumber=patron.cardnumber,
        patron_number=patron_number(patron),
        expiry=_expiry(patron),
        warnings=tuple(_warnings(patron, library_card)),
        koha_address=_koha_address(patron, koha_staff_url),
    )


def patron_number(patron: PatronRecord) -> str:
    """Return Koha's number of a patron in words."""
    return gettext("not known") if patron.patron_id is None else str(patron.patron_id)


def _koha_address(patron: PatronRecord, koha_staff_url: str | None) -> str | None:
    if koha_staff_url is None or patron.patron_id is None:
        return None
    return f"{koha_staff_url.rstrip('/')}{KOHA_CIRCULATION}?borrowernumber={patron.patron_id}"


def show_link(link: CardLink, ending: LinkEnding, now: datetime) -> ShownLink:
    """Return how a link is shown that ends as *ending* says."""
    linked_on = format_date(link.linked_at, "long")
    return ShownLink(
        link.link_id,
        linked_on,
        format_date(ending.at, "long"),
        link.state,
        _warning(link, ending, now),
        link.suspended_reason in STAFF_SUSPENSIONS,
        gettext("takes the place of the card linked on %(day)s", day=linked_on),
    )


def _warning(link: CardLink, ending: LinkEnding, now: datetime) -> str:
    if link.state is LinkState.SUSPENDED:
        reason = words_of(link.suspended_reason)
        return str(gettext("This link is suspended: %(reason)s.", reason=reason))
    if link.kind is not IdentifierKind.SERIAL_NUMBER:
        return str(
            gettext(
                "Taken over from another system (%(kind)s): link the card once, or no machine recognises it.",
                kind=IDENTIFIER_KINDS[link.kind],
            )
        )
    if is_near(ending, now):
        return str(gettext("This link ends soon: %(reason)s.", reason=LINK_END_REASONS[ending.denial]))
    return ""


def _expiry(patron: PatronRecord) -> str:
    if patron.expiry_date is not None:
        return str(format_date(patron.expiry_date, "long"))
    return str(gettext("no end") if patron.patron_id is not None else gettext("not known"))


def _move(preview: MovePreview) -> list[str]:
    change = gettext(
        "Linking changes the category in Koha: %(before)s → %(after)s",
        before=_category(preview.before),
        after=_category(preview.after),
    )
    fee = "" if preview.enrolment_fee is None else format_decimal(preview.enrolment_fee)
    effects = {
        SideEffect.ENROLMENT_FEE: gettext("Koha may charge the enrolment fee of %(fee)s.", fee=fee),
        SideEffect.GUARANTORS_REMOVED: gettext("Koha removes the patron's guarantors, if there are any."),
        SideEffect.NOT_KNOWN: gettext("Koha does not say whether this charges a fee or removes guarantors."),
        SideEffect.CATEGORY_MISSING: gettext(
            "Koha does not list the new category. Please tell the administrator."
        ),
    }
    return [change, *(effects[effect] for effect in preview.side_effects)]


def _category(category: CategoryDetails) -> str:
    return f"{category.name} ({category.category_id})" if category.name else category.category_id


def _notes(summary: PatronSummary) -> list[str]:
    if summary.patron.patron_id is not None:
        return []
    return [
        gettext(
            "This library is connected over SIP2 alone: the link points to this library card. "
            "A patron who gets a new library card must link again."
        )
    ]


def _warnings(patron: PatronRecord, library_card: Decision) -> list[str]:
    reasons = [library_card.denial] if library_card.denial else []
    if patron.restricted:
        reasons.append(DenialReason.PATRON_RESTRICTED)
    return [str(PROBLEMS[reason]) for reason in dict.fromkeys(reasons)]
