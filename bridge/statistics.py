"""How much a library's linked cards are used: counted from its audit log, and told without a patron in it.

What is given out is rounded: see ``published``. Days are those of the library's time zone. The numbers of a
day that is over are kept, because they change no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum, unique
from types import MappingProxyType

from bridge.environment import Environment, Library
from bridge.errors import NotAllowed, StoreUnavailable
from bridge.models import AuditTag, Librarian, Permission
from bridge.ports import EventCount
from jpki.crl_index import CrlHead
from jpki.errors import CrlIndexDamaged

SMALLEST_SHOWN = 5
"""Fewer than so many are not told, and all else is rounded down to a multiple of it."""

LONGEST_PERIOD = timedelta(days=366)

SETTLED_AFTER = timedelta(hours=1)
"""After its end nothing is written into a day any more: no transaction lasts so long."""

TROUBLE_REMEMBERED = timedelta(hours=24)

RENEWAL_MONTHS = 4
"""The running month and the next three, in which a city renews what ends then."""

PIN_BLOCKED = "pin-blocked"


@unique
class Measure(StrEnum):
    """What is counted."""

    LINKS_MADE = "links_made"
    LINKS_ENDED = "links_ended"
    USES_SELF_CHECK = "uses_self_check"
    USES_COUNTER = "uses_counter"
    REFUSALS = "refusals"
    WRONG_PINS = "wrong_pins"


MEASURES: Mapping[AuditTag, Measure] = MappingProxyType(
    {
        AuditTag.LINK_CREATED: Measure.LINKS_MADE,
        AuditTag.LINK_ENDED: Measure.LINKS_ENDED,
        AuditTag.SESSION_OPENED: Measure.USES_SELF_CHECK,
        AuditTag.PATRON_IDENTIFIED: Measure.USES_COUNTER,
        AuditTag.LINK_REFUSED: Measure.REFUSALS,
        AuditTag.SESSION_DENIED: Measure.REFUSALS,
        AuditTag.IDENTIFICATION_REFUSED: Measure.REFUSALS,
        AuditTag.PIN_WRONG: Measure.WRONG_PINS,
    }
)
"""Event of the audit log: as what it counts."""

REFUSALS = frozenset(tag for tag, measure in MEASURES.items() if measure is Measure.REFUSALS)
USES = frozenset({Measure.USES_SELF_CHECK, Measure.USES_COUNTER})

Published = int | None
"""A number that may be told: 0 or a multiple of ``SMALLEST_SHOWN``; None for fewer than that."""


def published(count: int) -> Published:
    """Return a number as it may be told.

    From 1 to 4 it is not told. All others are rounded down to a multiple of five, totals and parts each by
    themselves: so the difference of any two numbers says nothing of fewer than five people.
    """
    if 0 < count < SMALLEST_SHOWN:
        return None
    return count - count % SMALLEST_SHOWN


def share_of(part: Published, other: Published) -> int | None:
    """Return the percentage that *part* is of both; None where either is not told, or both are nothing."""
    if part is None or other is None or not part + other:
        return None
    return round(100 * part / (part + other))


@dataclass(frozen=True)
class PeriodNumbers:
    """A library's numbers from *first* to *last*, both included.

    ``uses_by_terminal`` is by terminal id, ``refusals_by_reason`` by slug; both the largest first.
    """

    first: date
    last: date
    links_made: Published
    links_ended: Published
    uses: Published
    uses_self_check: Published
    uses_counter: Published
    uses_by_terminal: Mapping[str, Published]
    refusals: Published
    refusals_by_reason: Mapping[str, Published]
    pin_blocks: Published
    wrong_pins: Published

    @property
    def self_check_share(self) -> int | None:
        """The percentage of uses that were at a self-check machine."""
        return share_of(self.uses_self_check, self.uses_counter)


@unique
class Party(StrEnum):
    """Whom the bridge asks."""

    KOHA = "koha"
    REVOCATION = "revocation"


PROOF: Mapping[Party, tuple[AuditTag, ...]] = MappingProxyType(
    {
        Party.KOHA: (
            AuditTag.LINK_REQUESTED,
            AuditTag.PATRON_LOOKED_UP,
            AuditTag.PATRON_IDENTIFIED,
            AuditTag.SESSION_OPENED,
        ),
        Party.REVOCATION: (AuditTag.LINK_CREATED, AuditTag.PATRON_IDENTIFIED, AuditTag.SESSION_OPENED),
    }
)
"""What cannot have happened unless the party answered."""

TROUBLE: Mapping[Party, str] = MappingProxyType(
    {Party.KOHA: "koha-not-reachable", Party.REVOCATION: "revocation-unknown"}
)
"""The refusal by which it shows that a party did not answer, or with nothing of use."""


@dataclass(frozen=True)
class Condition:
    """When a party last answered in the daily work, and when it last did not, within a day."""

    party: Party
    answered_at: datetime | None
    failed_at: datetime | None

    @property
    def is_well(self) -> bool:
        """Whether the last that is known of it is an answer, or at least no failure."""
        if self.failed_at is None:
            return True
        return self.answered_at is not None and self.answered_at > self.failed_at


@dataclass(frozen=True)
class RevocationLists:
    """The CRLs in force; ``damaged`` where one cannot be read. ``swept_at`` is when a sweep last ended."""

    heads: Sequence[CrlHead]
    damaged: bool
    swept_at: datetime | None


class StatisticsService:
    """All is of the librarian's own library; raises ``NotAllowed`` where the role sees no records."""

    def __init__(self, environment: Environment, crl_heads: Callable[[], Sequence[CrlHead]]) -> None:
        self._environment = environment
        self._crl_heads = crl_heads

    def today(self, librarian: Librarian) -> date:
        """Return the day that it is in the library."""
        return self._library(librarian).today(self._environment.clock())

    def numbers(self, librarian: Librarian, first: date, last: date) -> PeriodNumbers:
        """Return the numbers of a period. Raises ``ValueError`` where it is no ``possible_period``."""
        library = self._library(librarian)
        if not possible_period(first, last):
            raise ValueError(first, last)
        last = min(last, library.today(self._environment.clock()))
        counts = [count for day in self._days(library, first, last) for count in day]
        return _numbers(first, last, counts)

    def renewals(self, librarian: Librarian) -> Mapping[date, Published]:
        """Return by month, as its first day, how many open links' certificates end from now on."""
        library = self._library(librarian)
        now = self._environment.clock()
        months = [month_after(library.today(now), number) for number in range(RENEWAL_MONTHS + 1)]
        bounds = [now, *(_midnight(library, month) for month in months[1:])]
        with self._environment.store.reading() as transaction:
            return {
                month: published(transaction.count_links_ending(library.library_id, begin, end))
                for month, begin, end in zip(months, bounds, bounds[1:], strict=False)
            }

    def conditions(self, librarian: Librarian) -> Sequence[Condition]:
        """Return how Koha and the sources of revocation information are, by what the audit log says."""
        library_id = self._library(librarian).library_id
        since = self._environment.clock() - TROUBLE_REMEMBERED
        with self._environment.store.reading() as transaction:
            failures = transaction.last_refusals(library_id, REFUSALS, since)
            return [
                Condition(
                    party,
                    transaction.last_event_at(library_id, PROOF[party]),
                    failures.get(TROUBLE[party]),
                )
                for party in Party
            ]

    def revocation_lists(self, librarian: Librarian) -> RevocationLists:
        """Return the CRLs in force, and when a sweep last ended."""
        self._library(librarian)
        with self._environment.store.reading() as transaction:
            swept_at = transaction.last_sweep_ended_at()
        try:
            return RevocationLists(self._crl_heads(), damaged=False, swept_at=swept_at)
        except CrlIndexDamaged:
            return RevocationLists((), damaged=True, swept_at=swept_at)

    def _library(self, librarian: Librarian) -> Library:
        if not librarian.role.may(Permission.SEE_RECORDS):
            raise NotAllowed
        return self._environment.library(librarian.library_id)

    def _days(self, library: Library, first: date, last: date) -> Sequence[Sequence[EventCount]]:
        """Return the counts of each day; those of days that are over are kept for the next time."""
        store, library_id = self._environment.store, library.library_id
        settled = library.today(self._environment.clock() - SETTLED_AFTER)
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        with store.reading() as transaction:
            known = dict(transaction.counted_days(library_id, first, last))
            counted = {
                day: transaction.count_events(
                    library_id, MEASURES, _midnight(library, day), _midnight(library, day + timedelta(days=1))
                )
                for day in days
                if day not in known
            }
        if over := {day: counts for day, counts in counted.items() if day < settled}:
            # They can be counted again: a database that takes nothing in just now spoils no page.
            with suppress(StoreUnavailable), store.transaction() as transaction:
                transaction.keep_counted_days(library_id, over)
        return [(known | counted)[day] for day in days]


def possible_period(first: date, last: date) -> bool:
    """Whether a period does not run backwards and is not longer than a leap year."""
    return timedelta() <= last - first < LONGEST_PERIOD


def month_after(day: date, number: int) -> date:
    """Return the first day of the month that comes *number* months after that of *day*."""
    years, month = divmod(day.month - 1 + number, 12)
    return date(day.year + years, month + 1, 1)


def _midnight(library: Library, day: date) -> datetime:
    return datetime.combine(day, time.min, library.time_zone)


def _numbers(first: date, last: date, counts: Sequence[EventCount]) -> PeriodNumbers:
    totals: Counter[Measure] = Counter()
    terminals: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for count in counts:
        measure = MEASURES[count.tag]
        totals[measure] += count.times
        if measure in USES:
            terminals[count.terminal_id] += count.times
        if measure is Measure.REFUSALS:
            reasons[count.problem] += count.times
    return PeriodNumbers(
        first=first,
        last=last,
        links_made=published(totals[Measure.LINKS_MADE]),
        links_ended=published(totals[Measure.LINKS_ENDED]),
        uses=published(sum(totals[measure] for measure in USES)),
        uses_self_check=published(totals[Measure.USES_SELF_CHECK]),
        uses_counter=published(totals[Measure.USES_COUNTER]),
        uses_by_terminal=_published(terminals),
        refusals=published(totals[Measure.REFUSALS]),
        refusals_by_reason=_published(reasons),
        pin_blocks=published(reasons[PIN_BLOCKED]),
        wrong_pins=published(totals[Measure.WRONG_PINS]),
    )


def _published(counts: Counter[str]) -> Mapping[str, Published]:
    """Return the counts as they may be told, the largest first; those that are told alike by their names.

    The order of what is told alike must not say which was more.
    """
    told = {name: published(count) for name, count in counts.items() if count}
    return dict(sorted(told.items(), key=lambda each: (-(each[1] or 0), each[0])))
