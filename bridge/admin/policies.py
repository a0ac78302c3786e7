"""A library's rules in plain words: what is so, what follows, and which settings would change it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from flask_babel import gettext, ngettext

from bridge.admin.words import SECOND_FACTOR_POLICIES
from bridge.library_policies import LibraryPolicies
from bridge.rules import OutagePolicy
from bridge.tokens import CheckDigit


@dataclass(frozen=True)
class PolicyInWords:
    """One rule. ``settings`` are the names in the settings file on the server that would change it."""

    title: str
    effect: str
    settings: tuple[str, ...]


def in_words(policies: LibraryPolicies) -> Iterator[PolicyInWords]:
    """Yield every rule of a library, in the language of the page."""
    yield PolicyInWords(
        gettext("PIN"),
        gettext(
            "At each use the card's PIN is asked for and the card signs. Laying the card down alone is never "
            "enough."
        ),
        ("jpki.pin_policy",),
    )
    yield _revocation(policies)
    yield _outage(policies)
    yield _links(policies)
    yield _age(policies)
    yield _retention(policies)
    yield _four_eyes(policies)
    yield _token(policies)
    if policies.linked_category:
        moves = "、".join(f"{one} → {other}" for one, other in policies.linked_category.items())
        yield PolicyInWords(
            gettext("Patron category"),
            gettext(
                "Linking a card moves the patron in Koha (%(moves)s); the end of the last link moves back.",
                moves=moves,
            ),
            ("library.linked_category",),
        )
    yield PolicyInWords(
        gettext("Second factor"), str(SECOND_FACTOR_POLICIES[policies.second_factor]), ("web.second_factor",)
    )
    yield _password(policies)


def _password(policies: LibraryPolicies) -> PolicyInWords:
    if policies.koha_permission is None:
        effect = gettext("Staff have passwords of this system.")
    else:
        effect = gettext(
            "Staff whose account says so sign in with Koha's password, as long as they have the permission "
            "%(permission)s there. Others have passwords of this system.",
            permission=policies.koha_permission,
        )
    return PolicyInWords(gettext("Password of staff"), effect, ("library.koha_sign_in.permission",))


def _revocation(policies: LibraryPolicies) -> PolicyInWords:
    age = _duration(policies.revocation.freshness.maximum_age)
    return PolicyInWords(
        gettext("Revocation"),
        gettext(
            "Before the PIN it is asked whether the certificate was revoked: %(sources)s, in this order. An "
            "answer older than %(age)s counts as none.",
            sources="、".join(source.upper() for source in policies.sources) or gettext("nobody"),
            age=age,
        ),
        (
            "revocation.sources",
            "revocation.maximum_age_minutes",
            "library.revocation.sources",
            "library.revocation.maximum_age_minutes",
        ),
    )


def _outage(policies: LibraryPolicies) -> PolicyInWords:
    if policies.revocation.outage is OutagePolicy.REFUSE:
        effect = gettext("While nobody answers, linked cards are refused. The library card works as before.")
    else:
        effect = gettext(
            "While nobody answers, a linked card is accepted if its certificate was good within the last "
            "%(time)s; each such use is marked for review. New cards are not linked.",
            time=_duration(policies.revocation.last_known_good_limit),
        )
    settings = ("outage_policy", "last_known_good_hours")
    return PolicyInWords(
        gettext("Outage of the revocation source"),
        effect,
        tuple(f"{section}.{name}" for section in ("revocation", "library.revocation") for name in settings),
    )


def _links(policies: LibraryPolicies) -> PolicyInWords:
    most = policies.links.maximum_per_patron
    return PolicyInWords(
        gettext("Cards of one patron"),
        ngettext(
            "A patron has at most %(num)s linked card.", "A patron has at most %(num)s linked cards.", most
        ),
        ("links.maximum_per_patron", "library.links.maximum_per_patron"),
    )


def _age(policies: LibraryPolicies) -> PolicyInWords:
    if policies.links.maximum_age is None:
        effect = gettext("A link lasts until the card's certificate ends.")
    else:
        effect = gettext(
            "A link lasts until the card's certificate ends, at most %(time)s.",
            time=_duration(policies.links.maximum_age),
        )
    return PolicyInWords(
        gettext("How long a link lasts"), effect, ("links.maximum_age_days", "library.links.maximum_age_days")
    )


def _retention(policies: LibraryPolicies) -> PolicyInWords:
    return PolicyInWords(
        gettext("Deletion"),
        gettext(
            "What the card is recognised by is deleted as soon as a link ends, the rest of the link %(time)s "
            "later.",
            time=_duration(policies.links.retention),
        ),
        ("links.retention_days", "library.links.retention_days"),
    )


def _four_eyes(policies: LibraryPolicies) -> PolicyInWords:
    alone = policies.links.ends_without_approval
    return PolicyInWords(
        gettext("Bulk unlinking"),
        ngettext(
            "One member of staff ends at most %(num)s link at once. For more, another one must approve it "
            "within %(time)s.",
            "One member of staff ends at most %(num)s links at once. For more, another one must approve it "
            "within %(time)s.",
            alone,
            time=_duration(policies.links.approval_time),
        ),
        ("links.ends_without_approval", "links.approval_days"),
    )


def _token(policies: LibraryPolicies) -> PolicyInWords:
    tokens = policies.tokens
    checked = tokens.shape.check_digit is not CheckDigit.NONE
    effect = gettext(
        "A self-check machine gets a number of %(length)s digits that begins with %(prefix)s. It is dead "
        "after %(lifetime)s, or after %(idle)s without use.",
        length=tokens.shape.length,
        prefix=tokens.shape.prefix,
        lifetime=_duration(tokens.lifetime),
        idle=_duration(tokens.idle_limit),
    )
    if checked:
        effect = f"{effect} {gettext('Its last digit is a check digit.')}"
    if tokens.shapes:
        effect = f"{effect} {gettext('Single machines have a shape of their own.')}"
    return PolicyInWords(
        gettext("One-time number"),
        effect,
        (
            "tokens.prefix",
            "tokens.length",
            "tokens.check_digit",
            "tokens.lifetime_minutes",
            "tokens.idle_seconds",
            "library.self_check.token_*",
        ),
    )


def _duration(time: timedelta) -> str:
    """Return a length of time in its largest whole unit."""
    seconds = int(time.total_seconds())
    if seconds and seconds % 86400 == 0:
        words = ngettext("%(num)s day", "%(num)s days", seconds // 86400)
    elif seconds and seconds % 3600 == 0:
        words = ngettext("%(num)s hour", "%(num)s hours", seconds // 3600)
    elif seconds and seconds % 60 == 0:
        words = ngettext("%(num)s minute", "%(num)s minutes", seconds // 60)
    else:
        words = ngettext("%(num)s second", "%(num)s seconds", seconds)
    return str(words)
