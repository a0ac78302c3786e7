"""The parts of Koha's records that the bridge uses, under Koha's own names. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum, unique

from koha_client.errors import MalformedAnswer


@dataclass(frozen=True)
class Patron:
    """A patron (利用者) as Koha's REST API shows one.

    ``expiry_date`` is the last valid day of the library card, None if Koha holds none. The name is
    for the librarian's eyes at the counter; it is never stored and never printed.
    """

    patron_id: int
    library_id: str
    category_id: str
    expiry_date: date | None
    restricted: bool
    patron_card_lost: bool
    cardnumber: str = field(repr=False)
    surname: str = field(repr=False, default="")
    firstname: str = field(repr=False, default="")
    updated_on: str | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> Patron:
        """Check and read one patron object; raises ``MalformedAnswer`` naming the first bad field.

        What Koha leaves out or sends in another type is never guessed. Only where Koha's definition
        allows null for "no" or "nothing" is it read so. A patron without a card number has no
        library card to lend on; that too is refused here.
        """
        return cls(
            patron_id=_patron_id(record),
            library_id=_text(record, "library_id"),
            category_id=_text(record, "category_id"),
            expiry_date=_date_or_none(record, "expiry_date"),
            restricted=_boolean(record, "restricted"),
            # A nullable column in Koha: null is "never reported lost".
            patron_card_lost=record.get("patron_card_lost", _ABSENT) is not None
            and _boolean(record, "patron_card_lost"),
            cardnumber=_text(record, "cardnumber"),
            surname=_text_or_none(record, "surname") or "",
            firstname=_text_or_none(record, "firstname") or "",
            updated_on=_text_or_none(record, "updated_on"),
        )

    def is_expired(self, today: date) -> bool:
        """Whether the library card is expired on *today*; the day of expiry itself is still valid."""
        return self.expiry_date is not None and today > self.expiry_date


@unique
class HealthState(Enum):
    """What stands between us and Koha's patrons."""

    OK = "ok"
    UNREACHABLE = "unreachable"
    IN_MAINTENANCE = "in_maintenance"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_KOHA = "not_koha"


@dataclass(frozen=True)
class Health:
    """The outcome of a health check; ``missing_permissions`` only where it is ``FORBIDDEN``."""

    state: HealthState
    missing_permissions: tuple[str, ...] = ()


_ABSENT = object()


def _malformed(name: str) -> MalformedAnswer:
    return MalformedAnswer(f"a patron's {name} is missing or of a wrong type")


def _patron_id(record: Mapping[str, object]) -> int:
    value = record.get("patron_id")
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _malformed("patron_id")
    return value


def _text(record: Mapping[str, object], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value:
        raise _malformed(name)
    return value


def _text_or_none(record: Mapping[str, object], name: str) -> str | None:
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        raise _malformed(name)
    return value


def _boolean(record: Mapping[str, object], name: str) -> bool:
    value = record.get(name)
    if not isinstance(value, bool):
        raise _malformed(name)
    return value


def _date_or_none(record: Mapping[str, object], name: str) -> date | None:
    value = record.get(name, _ABSENT)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _malformed(name)
    try:
        return date.fromisoformat(value)
    except ValueError:
        pass
    raise _malformed(name)
