"""The parts of Koha's records that the bridge uses, under Koha's own names. Pure."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from koha_client.errors import MalformedAnswer
from koha_client.records import RecordReader


@dataclass(frozen=True)
class Patron:
    """A patron (利用者) as Koha's REST API shows one.

    ``expiry_date`` is the last valid day of the library card, None if Koha holds none. The name is
    for the librarian's eyes at the counter; it is never stored and never printed.
    ``incorrect_address`` is what Koha's staff pages call "gone no address". ``updated_on`` is Koha's
    text for the moment of the last change, in seconds.
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
    incorrect_address: bool = False

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> Patron:
        """Check and read one patron object; raises ``MalformedAnswer`` naming the first bad field.

        What Koha leaves out or sends in another type is never guessed. Only where Koha's definition
        allows null for "no" or "nothing" is it read so. A patron without a card number has no
        library card to lend on; that too is refused here.
        """
        reader = RecordReader(record, "a patron")
        return cls(
            patron_id=reader.identifier("patron_id"),
            library_id=reader.text("library_id"),
            category_id=reader.text("category_id"),
            expiry_date=reader.nullable_date("expiry_date"),
            restricted=reader.boolean("restricted"),
            patron_card_lost=reader.nullable_boolean("patron_card_lost"),
            cardnumber=reader.text("cardnumber"),
            surname=reader.text_or_none("surname") or "",
            firstname=reader.text_or_none("firstname") or "",
            updated_on=reader.text_or_none("updated_on"),
            incorrect_address=reader.nullable_boolean("incorrect_address"),
        )

    def is_expired(self, today: date) -> bool:
        """Whether the library card is expired on *today*; the day of expiry itself is still valid."""
        return self.expiry_date is not None and today > self.expiry_date


@dataclass(frozen=True)
class StaffStanding:
    """What the bridge's plugin says of one patron who signs in as staff.

    ``permitted`` is about the one permission that was asked for. ``tries_left`` counts the wrong passwords
    that it still takes until Koha locks the account: 0 where it is locked, None where Koha never locks one.
    ``userid`` is None for somebody who cannot sign in to Koha at all.
    """

    patron_id: int
    permitted: bool
    tries_left: int | None
    userid: str | None = field(repr=False)

    @classmethod
    def from_json(cls, record: object) -> StaffStanding:
        """Check and read the plugin's answer; raises ``MalformedAnswer``."""
        reader = RecordReader(record, "a standing of staff")
        return cls(
            patron_id=reader.identifier("patron_id"),
            permitted=reader.boolean("permitted"),
            tries_left=reader.integer_or_none("tries_left"),
            userid=reader.text_or_none("userid"),
        )


@dataclass(frozen=True)
class NewPatron:
    """A patron to be created. *cardnumber* is the library's own number for the new card.

    Koha makes a login of the name where *userid* is empty, which nobody can type where names are
    kanji; give one. *details* are further fields of Koha's patron object.
    """

    surname: str = field(repr=False)
    library_id: str
    category_id: str
    cardnumber: str = field(repr=False)
    userid: str = field(repr=False)
    firstname: str = field(repr=False, default="")
    expiry_date: date | None = None
    details: Mapping[str, object] = field(repr=False, default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """Return the body of the request; what is not given is left to Koha."""
        body: dict[str, object] = {
            **self.details,
            "surname": self.surname,
            "library_id": self.library_id,
            "category_id": self.category_id,
            "cardnumber": self.cardnumber,
            "userid": self.userid,
        }
        if self.firstname:
            body["firstname"] = self.firstname
        if self.expiry_date is not None:
            body["expiry_date"] = self.expiry_date.isoformat()
        return body


@dataclass(frozen=True)
class PatronCategory:
    """A patron category (利用者区分).

    A patron who is moved into it may be charged ``enrolment_fee`` (preference
    FeeOnChangePatronCategory), and loses the guarantors where ``can_be_guarantee`` is false. None is
    what this Koha does not say.
    """

    category_id: str
    name: str
    enrolment_period: int | None = None
    enrolment_period_date: date | None = None
    enrolment_fee: Decimal | None = None
    can_be_guarantee: bool | None = None
    min_password_length: int | None = None
    require_strong_password: bool | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> PatronCategory:
        """Check and read one category object; raises ``MalformedAnswer``."""
        reader = RecordReader(record, "a patron category")
        return cls(
            category_id=reader.text("patron_category_id"),
            name=reader.text_or_none("name") or "",
            enrolment_period=reader.integer_or_none("enrolment_period"),
            enrolment_period_date=reader.date_or_none("enrolment_period_date"),
            enrolment_fee=reader.number_or_none("enrolment_fee"),
            can_be_guarantee=reader.boolean_or_none("can_be_guarantee"),
            min_password_length=reader.integer_or_none("min_password_length"),
            require_strong_password=reader.boolean_or_none("require_strong_password"),
        )

    def expiry_of_enrolment(self, first_day: date) -> date | None:
        """Return the last day of a card that begins on *first_day*; None where the category has no end.

        Koha: a fixed date where there is one, else so many months, shortened to the month's last day.
        """
        if self.enrolment_period_date is not None:
            return self.enrolment_period_date
        if self.enrolment_period is None:
            return None
        years, month = divmod(first_day.month - 1 + self.enrolment_period, 12)
        year = first_day.year + years
        day = min(first_day.day, calendar.monthrange(year, month + 1)[1])
        return date(year, month + 1, day)


@dataclass(frozen=True)
class KohaLibrary:
    """A library (図書館, 分館) of Koha's."""

    library_id: str
    name: str

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> KohaLibrary:
        """Check and read one library object; raises ``MalformedAnswer``."""
        reader = RecordReader(record, "a library")
        return cls(library_id=reader.text("library_id"), name=reader.text("name"))


@dataclass(frozen=True)
class PatronCheckout:
    """An item that a patron has (貸出)."""

    checkout_id: int
    patron_id: int
    item_id: int | None
    due_date: datetime
    library_id: str | None = None
    renewals_count: int = 0

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> PatronCheckout:
        """Check and read one checkout object; raises ``MalformedAnswer``."""
        reader = RecordReader(record, "a checkout")
        return cls(
            checkout_id=reader.identifier("checkout_id"),
            patron_id=reader.identifier("patron_id"),
            item_id=reader.integer_or_none("item_id"),
            due_date=reader.moment("due_date"),
            library_id=reader.text_or_none("library_id"),
            renewals_count=reader.integer_or_none("renewals_count") or 0,
        )


@dataclass(frozen=True)
class PatronHold:
    """A title that a patron waits for (予約); ``waiting_date`` is since when it lies on the hold shelf."""

    hold_id: int
    patron_id: int
    biblio_id: int
    pickup_library_id: str | None = None
    hold_date: date | None = None
    waiting_date: date | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> PatronHold:
        """Check and read one hold object; raises ``MalformedAnswer``."""
        reader = RecordReader(record, "a hold")
        return cls(
            hold_id=reader.identifier("hold_id"),
            patron_id=reader.identifier("patron_id"),
            biblio_id=reader.identifier("biblio_id"),
            pickup_library_id=reader.text_or_none("pickup_library_id"),
            hold_date=reader.date_or_none("hold_date"),
            waiting_date=reader.date_or_none("waiting_date"),
        )


@dataclass(frozen=True)
class ExtendedAttribute:
    """One of a patron's extended attributes; the library makes the types in Koha's staff pages."""

    attribute_type: str
    value: str = field(repr=False)
    extended_attribute_id: int | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> ExtendedAttribute:
        """Check and read one attribute object; raises ``MalformedAnswer``."""
        reader = RecordReader(record, "an extended attribute")
        return cls(
            attribute_type=reader.text("type"),
            value=reader.text_or_none("value") or "",
            extended_attribute_id=reader.integer_or_none("extended_attribute_id"),
        )

    def as_json(self) -> dict[str, object]:
        """Return the body of the request; Koha gives the id."""
        return {"type": self.attribute_type, "value": self.value}


@dataclass(frozen=True)
class CirculationRules:
    """How many items a patron of a category may have; None is "no limit".

    ``patron_maximum`` counts all of a patron's items, ``item_type_maximum`` those of the item type
    that was asked about (all of them where none was named).
    """

    patron_maximum: int | None
    item_type_maximum: int | None

    @property
    def loan_limit(self) -> int | None:
        """The smaller of the two."""
        limits = [limit for limit in (self.patron_maximum, self.item_type_maximum) if limit is not None]
        return min(limits, default=None)

    @classmethod
    def from_json(cls, record: object) -> CirculationRules:
        """Check and read effective rules; raises ``MalformedAnswer``.

        Koha keeps rules as text: the empty text and null are "no limit".
        """
        if isinstance(record, list):  # some releases wrap the one set of rules into a list
            record = record[0] if len(record) == 1 else None
        if not isinstance(record, dict):
            raise MalformedAnswer("the answer is not a set of circulation rules")
        return cls(_limit(record, "patron_maxissueqty"), _limit(record, "maxissueqty"))


CIRCULATION_RULE_NAMES = ("patron_maxissueqty", "maxissueqty")


def _limit(record: Mapping[str, object], name: str) -> int | None:
    value = record.get(name)
    if value in (None, ""):
        return None
    if isinstance(value, bool) or not str(value).isdecimal():
        raise MalformedAnswer(f"the rule {name} is not a number")
    return int(str(value))
