"""Reads the fields of Koha's JSON objects; what is missing or of a wrong type is never guessed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal

from koha_client.errors import MalformedAnswer

_ABSENT = object()


class RecordReader:
    """One JSON object of Koha's; *kind* names it in errors, as in "a patron".

    Every method raises ``MalformedAnswer`` with the name of the field, never with its value.
    """

    def __init__(self, record: object, kind: str) -> None:
        if not isinstance(record, Mapping):
            raise MalformedAnswer(f"the answer is not {kind}")
        self._record: Mapping[str, object] = record
        self._kind = kind

    def identifier(self, name: str) -> int:
        """Return one of Koha's numbers for things: an integer from 1."""
        value = self.integer(name)
        if value < 1:
            raise self._malformed(name)
        return value

    def integer(self, name: str) -> int:
        """Return an integer."""
        value = self._record.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._malformed(name)
        return value

    def integer_or_none(self, name: str) -> int | None:
        """Return an integer; None for null and where there is none."""
        return None if self._record.get(name) is None else self.integer(name)

    def number_or_none(self, name: str) -> Decimal | None:
        """Return a number; None for null and where there is none."""
        value = self._record.get(name)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._malformed(name)
        return Decimal(str(value))

    def text(self, name: str) -> str:
        """Return a text that is not empty."""
        value = self._record.get(name)
        if not isinstance(value, str) or not value:
            raise self._malformed(name)
        return value

    def text_or_none(self, name: str) -> str | None:
        """Return a text; None for null and where there is none."""
        value = self._record.get(name)
        if value is not None and not isinstance(value, str):
            raise self._malformed(name)
        return value

    def boolean(self, name: str) -> bool:
        """Return true or false."""
        value = self._record.get(name)
        if not isinstance(value, bool):
            raise self._malformed(name)
        return value

    def nullable_boolean(self, name: str) -> bool:
        """Return true or false, and false for null: a nullable column of Koha's that was never set."""
        return self._record.get(name, _ABSENT) is not None and self.boolean(name)

    def boolean_or_none(self, name: str) -> bool | None:
        """Return true or false; None for null and where there is none."""
        return None if self._record.get(name) is None else self.boolean(name)

    def nullable_date(self, name: str) -> date | None:
        """Return a date; None for null, but not where there is none."""
        return None if self._record.get(name, _ABSENT) is None else self._date(name)

    def date_or_none(self, name: str) -> date | None:
        """Return a date; None for null and where there is none."""
        return None if self._record.get(name) is None else self._date(name)

    def moment(self, name: str) -> datetime:
        """Return a moment with its offset from UTC."""
        text = self.text(name)
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            value = None
        if value is None or value.utcoffset() is None:
            raise self._malformed(name)
        return value

    def _date(self, name: str) -> date:
        value = self._record.get(name)
        if not isinstance(value, str):
            raise self._malformed(name)
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass  # raised below, so that the value does not travel on as the cause
        raise self._malformed(name)

    def _malformed(self, name: str) -> MalformedAnswer:
        return MalformedAnswer(f"{self._kind}'s {name} is missing or of a wrong type")
