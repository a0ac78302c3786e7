"""What the simulated ACS asks of a library: the seam between SIP2's wire and somebody's records.

The ACS knows the protocol, the library knows patrons, items and rules. Its refusals are in Koha's
words (AF) and reach the machine unchanged. Text is ``str``; times are in the library's time zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True)
class AcsPatron:
    """A patron as Koha's SIP server sees one.

    ``screen_message`` is Koha's greeting with whatever it has to say. Each list holds item barcodes,
    except ``fine_items``, which holds lines such as ``Lost item 12.50``. ``overdues_block`` is Koha's
    ``OverduesBlockCirc``: late books deny loans. ``attributes`` are extended patron attributes by code.
    """

    cardnumber: str = field(repr=False)
    name: str = field(repr=False)
    screen_message: str = "Greetings from Koha. "
    category_id: str = ""
    library_id: str = ""
    expired: bool = False
    restricted: bool = False
    card_lost: bool = False
    gone_no_address: bool = False
    fees_over_limit: bool = False
    overdues_block: bool = False
    has_password: bool = True
    fees: Decimal = Decimal(0)
    fee_limit: Decimal = Decimal(5)
    hold_items: tuple[str, ...] = ()
    overdue_items: tuple[str, ...] = ()
    charged_items: tuple[str, ...] = ()
    fine_items: tuple[str, ...] = ()
    unavailable_hold_items: tuple[str, ...] = ()
    home_address: str = field(repr=False, default="")
    email_address: str = field(repr=False, default="")
    home_phone_number: str = field(repr=False, default="")
    birth_date: str = field(repr=False, default="")
    attributes: Mapping[str, str] = field(repr=False, default_factory=dict)

    @property
    def denied(self) -> bool:
        """Whether Koha denies this patron's loans."""
        return (
            self.expired or self.restricted or self.card_lost or self.gone_no_address or self.fees_over_limit
        )


@dataclass(frozen=True)
class AcsItem:
    """An item. ``circulation_status`` is SIP2's: 03 available, 04 charged, 08 on the hold shelf.

    ``on_hold`` says that somebody waits for it.
    """

    barcode: str
    title: str
    circulation_status: str = "03"
    library_id: str = ""
    media_type: str = "001"
    collection: str = ""
    call_number: str = ""
    due_at: datetime | None = None
    rental_fee: Decimal = Decimal(0)
    damaged: bool = False
    on_hold: bool = False


@dataclass(frozen=True)
class LoanOutcome:
    """The end of a checkout or a renewal; ``due_at`` is None where it was refused."""

    due_at: datetime | None
    renewed: bool = False
    screen_message: str = ""


@dataclass(frozen=True)
class CheckinOutcome:
    """The end of a return; ``borrower`` is who had the item, ``held_for`` who waits for it."""

    ok: bool
    screen_message: str = ""
    borrower: AcsPatron | None = None
    held_for: AcsPatron | None = None


@dataclass(frozen=True)
class HoldOutcome:
    """A hold that was placed."""

    queue_position: int
    pickup_library_id: str


class LibraryBackend(Protocol):
    """A library behind the simulated ACS. Patrons are named as machines name them, in AA."""

    def find_patron(self, patron_identifier: str) -> AcsPatron | None:
        """Return the patron by userid, cardnumber or unique attribute, as Koha looks them up."""

    def password_is_right(self, patron_identifier: str, password: str) -> bool:
        """Whether *password* is the patron's."""

    def find_item(self, barcode: str) -> AcsItem | None:
        """Return the item with this barcode."""

    def check_out(self, patron_identifier: str, barcode: str, *, no_block: bool) -> LoanOutcome:
        """Lend, or renew what the patron has already; *no_block* looks at no patron block."""

    def check_in(self, barcode: str, library_id: str) -> CheckinOutcome:
        """Take an item back at a library."""

    def renew(self, patron_identifier: str, barcode: str) -> LoanOutcome:
        """Renew one loan."""

    def pay_fee(self, patron_identifier: str, amount: Decimal) -> bool:
        """Take money; False where it is not accepted."""

    def place_hold(self, patron_identifier: str, barcode: str, pickup_library_id: str) -> HoldOutcome | None:
        """Place a hold; None where it is refused."""
