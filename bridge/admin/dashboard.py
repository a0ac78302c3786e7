"""The dashboard and the report of a period: numbers without a patron in them, and how all parts are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flask import redirect, request, url_for
from flask_admin import expose
from flask_babel import (
    format_date,
    format_datetime,
    format_decimal,
    format_timedelta,
    gettext,
    lazy_gettext,
)

from bridge.admin.base import StaffView, may, signed_in_librarian
from bridge.admin.charts import Bar, bar_chart
from bridge.admin.csv_file import csv_response
from bridge.admin.filters import MONTH
from bridge.admin.forms import PeriodForm
from bridge.admin.list_page import DATE_AND_TIME
from bridge.admin.terminal_state import describe_sighting
from bridge.admin.words import FIGURES, HEALTH, PARTIES, PROBLEMS, REVOCATION_SOURCES, TERMINAL_KINDS, Figure
from bridge.errors import BridgeError
from bridge.models import OutputState, Permission, ReaderState
from bridge.statistics import SMALLEST_SHOWN, PeriodNumbers, Published

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue
    from markupsafe import Markup

    from bridge.models import Terminal
    from bridge.services import Services
    from bridge.statistics import Condition, RevocationLists, StatisticsService

DAYS_SHOWN = 30

SENTENCE_END = re.compile(r"(?<=。)|(?<=\.) ")
"""Of a problem's words the first sentence is the reason, the next ones are advice."""

SEEN_LATELY = timedelta(hours=1)
"""A terminal that was not seen for longer is switched off, or away: nobody can tell which."""


@dataclass(frozen=True)
class ShownRow:
    """One line of a table: ``label`` is its number or month, which the chart shows too."""

    label: str
    words: str
    count: str


@dataclass(frozen=True)
class ShownTable:
    """A table and its chart."""

    rows: Sequence[ShownRow]
    chart: Markup


class DashboardView(StaffView):
    """How much the linked cards are used, and whether everything works."""

    def __init__(self, services: Services) -> None:
        super().__init__(name=lazy_gettext("Dashboard"), endpoint="dashboard", url="dashboard")
        self.services = services

    @property
    def _statistics(self) -> StatisticsService:
        return self.services.statistics

    def is_accessible(self) -> bool:
        """Keep everybody away who sees no records: numbers come from them."""
        return may(Permission.SEE_RECORDS)

    def render(self, template: str, **values: Any) -> str:
        """Add the words for the numbers."""
        return super().render(template, figure_words=FIGURES, health=HEALTH, **values)

    @expose("/")
    def index(self) -> ResponseReturnValue:
        """Show today, the last days, and how Koha, the sources of revocation and the terminals are."""
        librarian, now = signed_in_librarian(), self.services.clock()
        today = self._statistics.today(librarian)
        recent = self._statistics.numbers(librarian, today - timedelta(days=DAYS_SHOWN - 1), today)
        terminals = self.services.staff.terminals(librarian.library_id)
        return self.render(
            "bridge/dashboard.html",
            today=figures(self._statistics.numbers(librarian, today, today)),
            day=today,
            days=DAYS_SHOWN,
            share=percent(recent.self_check_share),
            uses=uses_table(recent, terminals),
            refusals=refusals_table(recent),
            renewals=renewals_table(self._statistics.renewals(librarian)),
            conditions=[
                (PARTIES[each.party], each.is_well, describe_condition(each))
                for each in self._statistics.conditions(librarian)
            ],
            lists=describe_lists(self._statistics.revocation_lists(librarian), now),
            terminals=[
                (
                    gettext("%(name)s (%(kind)s)", name=each.name, kind=TERMINAL_KINDS[each.kind]),
                    is_terminal_well(each, now),
                    describe_sighting(each.last_seen_at, each.report, now),
                )
                for each in terminals
                if each.active
            ],
        )

    @expose("/report")
    def report(self) -> ResponseReturnValue:
        """Show the numbers of a period with what each means, to be printed on A4."""
        form = self._form()
        numbers = self._numbers(form)
        return self.render(
            "bridge/report.html",
            form=form,
            numbers=numbers,
            figures=None if numbers is None else figures(numbers),
            share=None if numbers is None else percent(numbers.self_check_share),
            uses=None if numbers is None else uses_table(numbers, self._terminals()),
            refusals=None if numbers is None else refusals_table(numbers),
            made_at=format_datetime(self.services.clock(), str(DATE_AND_TIME)),
            file_query=request.query_string.decode("ascii", "replace"),
        )

    @expose("/report.csv")
    def report_file(self) -> ResponseReturnValue:
        """Return the same as a file; where there is no such period, the page that says so."""
        form = self._form()
        numbers = self._numbers(form)
        if numbers is None:
            first, last = (request.args.get(name, "") for name in ("first", "last"))
            return redirect(url_for("dashboard.report", first=first, last=last))
        name = f"report-{numbers.first.isoformat()}-{numbers.last.isoformat()}"
        return csv_response(name, self._file_rows(numbers))

    def _form(self) -> PeriodForm:
        """Return the form as it was filled in; of one that was not, last month."""
        this_month = self._statistics.today(signed_in_librarian()).replace(day=1)
        last = this_month - timedelta(days=1)
        return PeriodForm(request.args or None, data={"first": last.replace(day=1), "last": last})

    def _numbers(self, form: PeriodForm) -> PeriodNumbers | None:
        if not form.validate():
            return None
        return self._statistics.numbers(signed_in_librarian(), form.first.data, form.last.data)

    def _terminals(self) -> Sequence[Terminal]:
        return self.services.staff.terminals(signed_in_librarian().library_id)

    def _file_rows(self, numbers: PeriodNumbers) -> Iterator[Sequence[str]]:
        library = self.services.library_names[signed_in_librarian().library_id]
        yield [gettext("Library"), library]
        yield [gettext("Period"), numbers.first.isoformat(), numbers.last.isoformat()]
        yield [gettext("Figure"), gettext("Value"), gettext("What it counts")]
        for figure, count in figures(numbers).items():
            yield [str(FIGURES[figure].name), count, str(FIGURES[figure].meaning)]
        share = FIGURES[Figure.SELF_CHECK_SHARE]
        yield [str(share.name), percent(numbers.self_check_share), str(share.meaning)]
        for heading, table in (
            (gettext("Uses by terminal"), uses_table(numbers, self._terminals())),
            (gettext("Refusals by reason"), refusals_table(numbers)),
        ):
            yield []
            yield [heading]
            for row in table.rows:
                yield [row.words, row.count]


def count_words(count: Published) -> str:
    """Return a number as it is told: small ones as ``fewer than 5``."""
    if count is None:
        return str(gettext("fewer than %(number)s", number=SMALLEST_SHOWN))
    return str(format_decimal(count))


def percent(share: int | None) -> str:
    """Return a share in words; one that cannot be told is a dash."""
    return "–" if share is None else f"{share}%"


def figures(numbers: PeriodNumbers) -> Mapping[Figure, str]:
    """Return the single numbers of a period, in words."""
    return {
        Figure.LINKS_MADE: count_words(numbers.links_made),
        Figure.LINKS_ENDED: count_words(numbers.links_ended),
        Figure.USES: count_words(numbers.uses),
        Figure.USES_SELF_CHECK: count_words(numbers.uses_self_check),
        Figure.USES_COUNTER: count_words(numbers.uses_counter),
        Figure.REFUSALS: count_words(numbers.refusals),
        Figure.PIN_BLOCKS: count_words(numbers.pin_blocks),
        Figure.WRONG_PINS: count_words(numbers.wrong_pins),
    }


def uses_table(numbers: PeriodNumbers, terminals: Sequence[Terminal]) -> ShownTable:
    """Return the uses by terminal, under the name that the terminal has now."""
    names = {terminal.terminal_id: terminal.name for terminal in terminals}
    return _numbered([(names.get(each, each), count) for each, count in numbers.uses_by_terminal.items()])


def refusals_table(numbers: PeriodNumbers) -> ShownTable:
    """Return the refusals by reason, in words; what a patron can do about one is no part of a count."""
    return _numbered(
        [
            (SENTENCE_END.split(str(PROBLEMS.get(reason, PROBLEMS[BridgeError.slug])), maxsplit=1)[0], count)
            for reason, count in numbers.refusals_by_reason.items()
        ]
    )


def renewals_table(renewals: Mapping[date, Published]) -> ShownTable:
    """Return the renewals that are due, by month."""
    months = {month: str(format_date(month, str(MONTH))) for month in renewals}
    return _table([(months[month], months[month], count) for month, count in renewals.items()])


def describe_condition(condition: Condition) -> str:
    """Return when somebody last answered, and when not."""
    parts = []
    if condition.failed_at is not None:
        moment = format_datetime(condition.failed_at, str(DATE_AND_TIME))
        parts.append(gettext("Last did not answer: %(moment)s.", moment=moment))
    if condition.answered_at is not None:
        moment = format_datetime(condition.answered_at, str(DATE_AND_TIME))
        parts.append(gettext("Last answered: %(moment)s.", moment=moment))
    return " ".join(parts) or str(gettext("Not asked yet."))


def is_terminal_well(terminal: Terminal, now: datetime) -> bool | None:
    """Return whether the reader program there is as it should be; None where it was not seen lately."""
    report, seen = terminal.report, terminal.last_seen_at
    if report is None or seen is None or now - seen > SEEN_LATELY:
        return None
    return report.reader is ReaderState.READY and report.output is not OutputState.UNAVAILABLE


def describe_lists(lists: RevocationLists, now: datetime) -> Sequence[tuple[str, bool, str]]:
    """Return name, whether all is well, and age: of each CRL in force, and of the last sweep."""
    crl = str(REVOCATION_SOURCES["crl"])
    shown = [
        (
            crl,
            head.next_update >= now,
            gettext(
                "Number %(number)s, %(age)s old. The next is due: %(moment)s.",
                number=head.number,
                age=format_timedelta(now - head.this_update),
                moment=format_datetime(head.next_update, str(DATE_AND_TIME)),
            ),
        )
        for head in lists.heads
    ]
    if lists.damaged:
        shown.append((crl, False, gettext("It cannot be read. Please tell the administrator.")))
    if lists.swept_at is not None:
        moment = format_datetime(lists.swept_at, str(DATE_AND_TIME))
        shown.append((gettext("Check of all links"), True, gettext("Last ended: %(moment)s.", moment=moment)))
    return shown


def _numbered(counts: Sequence[tuple[str, Published]]) -> ShownTable:
    return _table([(str(number), words, count) for number, (words, count) in enumerate(counts, start=1)])


def _table(rows: Sequence[tuple[str, str, Published]]) -> ShownTable:
    shown = [ShownRow(label, words, count_words(count)) for label, words, count in rows]
    bars = [Bar(row.label, count, row.count) for row, (_, _, count) in zip(shown, rows, strict=True)]
    return ShownTable(shown, bar_chart(bars))
