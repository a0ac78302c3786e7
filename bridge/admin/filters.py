"""The filters of the lists: one field each, in a form that works without scripts.

An empty field filters nothing. What cannot be meant (no day, no number) is told and left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from flask_admin.contrib.sqla.filters import BaseSQLAFilter
from flask_babel import LazyString, format_date, get_timezone, lazy_gettext

from bridge.statistics import month_after

MAXIMUM_PATRON_NUMBER = 2**31 - 1
"""Koha's ``borrowers.borrowernumber`` is a 32-bit integer."""

KEY_DIGITS = 40
"""RFC 5280, 4.2.1.2: a key identifier is the SHA-1 of the key."""

HEX_BEGINNING = re.compile(f"[0-9a-f]{{1,{KEY_DIGITS}}}")

MONTH = lazy_gettext("MMMM y")
"""A pattern of Unicode's CLDR (TR 35)."""


class FieldFilter(BaseSQLAFilter):
    """A filter that an empty field switches off."""

    input_type = "text"
    is_choice = False

    def clean(self, value: str) -> Any:
        """Return the value meant, or None for an empty field. Raises ``ValueError``."""
        return self.parse(value) if value else None

    def apply(self, query: Any, value: Any, alias: Any = None) -> Any:
        """Narrow the query, unless the field is empty."""
        return query if value is None else query.filter(self.condition(value))

    def choices(self) -> list[tuple[str, Any]]:
        """Return the values and words among which to choose; none where the field is filled in freely."""
        return list(self.options or ())

    def operation(self) -> str:
        """Return Flask-Admin's word for the comparison; the field's label says it all."""
        return ""

    def parse(self, value: str) -> Any:
        """Return the value meant by a filled field. Raises ``ValueError``."""
        raise NotImplementedError

    def condition(self, value: Any) -> Any:
        """Return the SQL condition for a value."""
        return self.column == value


class OneOf(FieldFilter):
    """A choice among words."""

    def __init__(self, column: Any, name: LazyString, words: Mapping[str, LazyString]) -> None:
        super().__init__(column, name, options=list(words.items()))
        self._words = words

    def parse(self, value: str) -> str:
        """Accept the words of the table only."""
        if value not in self._words:
            raise ValueError(value)
        return value


class YesOrNo(OneOf):
    """Whether something is so."""

    def __init__(self, column: Any, name: LazyString) -> None:
        super().__init__(column, name, {"1": lazy_gettext("Yes"), "0": lazy_gettext("No")})

    def condition(self, value: str) -> Any:
        """Return the SQL condition for a word of the choice."""
        return self.column.is_(value == "1")


class KeyBeginning(FieldFilter):
    """The beginning of a key identifier of 20 bytes, in hex, as the list shows it."""

    def parse(self, value: str) -> str:
        """Accept digits of hex, full-width ones too."""
        digits = unicodedata.normalize("NFKC", value).strip().lower()
        if HEX_BEGINNING.fullmatch(digits) is None:
            raise ValueError(value)
        return digits

    def condition(self, value: str) -> Any:
        """Return the SQL condition for the digits."""
        first, last = (bytes.fromhex(value.ljust(KEY_DIGITS, digit)) for digit in "0f")
        return self.column.between(first, last)


class OneOfMine(FieldFilter):
    """A choice among what the librarian's own library has: ids, and what each is called."""

    is_choice = True

    def __init__(self, column: Any, name: LazyString, words: Callable[[], Mapping[str, str]]) -> None:
        super().__init__(column, name)
        self._words = words

    def choices(self) -> list[tuple[str, str]]:
        """Return the ids and words of this request."""
        return sorted(self._words().items(), key=lambda choice: choice[1])

    def parse(self, value: str) -> str:
        """Accept the ids of the own library only."""
        if value not in self._words():
            raise ValueError(value)
        return value


class PatronNumber(FieldFilter):
    """Koha's number of a patron, exactly."""

    input_type = "number"

    def parse(self, value: str) -> int:
        """Accept what Koha's column could hold."""
        number = int(value)
        if not 0 < number <= MAXIMUM_PATRON_NUMBER:
            raise ValueError(value)
        return number


class FromDay(FieldFilter):
    """From the beginning of a day, in the time zone of the screen."""

    input_type = "date"

    def parse(self, value: str) -> datetime:
        """Return the first moment of the day."""
        return first_moment(date.fromisoformat(value))

    def condition(self, value: datetime) -> Any:
        """Return the SQL condition for a moment."""
        return self.column >= value


class UntilDay(FieldFilter):
    """To the end of a day, in the time zone of the screen."""

    input_type = "date"

    def parse(self, value: str) -> datetime:
        """Return the first moment of the day after."""
        return first_moment(date.fromisoformat(value) + timedelta(days=1))

    def condition(self, value: datetime) -> Any:
        """Return the SQL condition for a moment."""
        return self.column < value


class InMonth(FieldFilter):
    """One of the next months, in the time zone of the screen: the running one and those after it."""

    def __init__(self, column: Any, name: LazyString, months: int, clock: Callable[[], datetime]) -> None:
        super().__init__(column, name)
        self._months = months
        self._clock = clock

    def choices(self) -> list[tuple[str, str]]:
        """Return the months, the running one first."""
        today = self._clock().astimezone(get_timezone()).date()
        months = (month_after(today, number) for number in range(self._months))
        return [(f"{month:%Y-%m}", str(format_date(month, str(MONTH)))) for month in months]

    def parse(self, value: str) -> date:
        """Accept the months of the choice only."""
        if value not in dict(self.choices()):
            raise ValueError(value)
        return date.fromisoformat(f"{value}-01")

    def condition(self, value: date) -> Any:
        """Return the SQL condition for the first day of a month."""
        following = first_moment(month_after(value, 1))
        return (self.column >= first_moment(value)) & (self.column < following)


class EndsWithin(FieldFilter):
    """Between now and a number of days from now."""

    def __init__(
        self, column: Any, name: LazyString, choices: Mapping[str, LazyString], clock: Callable[[], datetime]
    ) -> None:
        super().__init__(column, name, options=list(choices.items()))
        self._choices = choices
        self._clock = clock

    def parse(self, value: str) -> timedelta:
        """Accept the numbers of days of the table only."""
        if value not in self._choices:
            raise ValueError(value)
        return timedelta(days=int(value))

    def condition(self, value: timedelta) -> Any:
        """Return the SQL condition for a duration."""
        now = self._clock()
        return self.column.between(now, now + value)


def first_moment(day: date) -> datetime:
    """Return midnight at the beginning of *day*, aware."""
    midnight: datetime = get_timezone().localize(datetime.combine(day, time.min))
    return midnight
