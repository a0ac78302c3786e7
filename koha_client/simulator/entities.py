"""The records of a simulated Koha: people, items, loans and holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, unique


@dataclass(frozen=True)
class Category:
    """A patron category with the circulation rules that Koha keeps for it."""

    category_id: str
    name: str
    loan_limit: int
    loan_days: int = 14
    renewal_limit: int = 1
    fines_limit: Decimal = Decimal(500)
    enrolment_months: int = 24
    enrolment_fee: Decimal = Decimal(0)
    can_be_guarantee: bool = False
    min_password_length: int | None = None
    require_strong_password: bool | None = None


@dataclass(frozen=True)
class Branch:
    """A library of the simulated Koha's (its tables say branch)."""

    library_id: str
    name: str


@dataclass(frozen=True)
class AttributeType:
    """A type of extended attributes, as the library makes them in the staff pages."""

    code: str
    unique: bool = False
    repeatable: bool = False


@dataclass(frozen=True)
class PatronAttribute:
    """One extended attribute of a patron."""

    attribute_id: int
    code: str
    value: str = field(repr=False)


@dataclass(frozen=True)
class SimulatedPatron:
    """A patron as the simulated Koha keeps one. All of them are invented.

    *details* are the fields of Koha's patron object that have no meaning here. ``permissions`` are those of
    a member of staff, such as ``circulate:1``; ``login_attempts`` counts wrong passwords in a row.
    """

    patron_id: int
    cardnumber: str
    userid: str
    surname: str
    firstname: str
    category_id: str
    expiry_date: date | None
    library_id: str = "CPL"
    password: str = field(repr=False, default="")
    restriction: str | None = None
    card_lost: bool = False
    gone_no_address: bool = False
    fines: Decimal = Decimal(0)
    opac_note: str = ""
    attributes: tuple[PatronAttribute, ...] = ()
    permissions: frozenset[str] = frozenset()
    login_attempts: int = 0
    details: Mapping[str, object] = field(repr=False, default_factory=dict)

    @property
    def name(self) -> str:
        """The name as Koha's SIP server puts it into AE: first name, then surname."""
        return f"{self.firstname} {self.surname}"


@dataclass(frozen=True)
class Item:
    """One copy of a title."""

    barcode: str
    title: str
    library_id: str = "CPL"
    call_number: str = ""
    not_for_loan: bool = False


@dataclass(frozen=True)
class Loan:
    """An item that a patron has (貸出). It is due at the end of a day, as in Koha."""

    barcode: str
    patron_id: int
    due_at: datetime
    renewals: int = 0
    checkout_id: int = 0
    lent_at: datetime | None = None


@dataclass(frozen=True)
class Hold:
    """A patron's place in the queue for an item (予約).

    ``waiting_since`` is the day from which the item lies on the hold shelf for the patron.
    """

    hold_id: int
    patron_id: int
    barcode: str
    pickup_library_id: str
    placed_on: date
    waiting_since: date | None = None


@unique
class Block(Enum):
    """Why Koha blocks a patron."""

    RESTRICTED = "restricted"
    EXPIRED = "expired"
    CARD_LOST = "card_lost"
    GONE_NO_ADDRESS = "gone_no_address"
    FINES = "fines"


@dataclass(frozen=True)
class LoanResult:
    """The outcome of a checkout or a renewal.

    ``screen_message`` is Koha's AF, empty where it says nothing; ``item`` is None for an unknown
    barcode, ``loan`` where it was refused.
    """

    screen_message: str = ""
    item: Item | None = None
    loan: Loan | None = None
    renewed: bool = False

    @property
    def ok(self) -> bool:
        """Whether the patron has the item now."""
        return self.loan is not None


@dataclass(frozen=True)
class CheckInResult:
    """The outcome of a return; ``patron`` is who had the item, ``held_for`` who waits for it now."""

    ok: bool
    screen_message: str = ""
    item: Item | None = None
    patron: SimulatedPatron | None = None
    held_for: SimulatedPatron | None = None
