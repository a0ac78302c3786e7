"""What a simulated Koha knows: patrons, items, loans, and its refusals in Koha's words.

Words and order are those of Koha's SIP server (``C4/SIP/ILS.pm``, ``ILS/Patron.pm``,
``ILS/Transaction/*.pm``). One state serves the REST side (``rest``) and a SIP2 side elsewhere.
Every method may be called from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, unique

GREETING = "Greetings from Koha. "
UNKNOWN_PATRON_GREETING = "Invalid cardnumber"
NOTIFY_BORROWER_DEPARTURE_DAYS = 30
"""Koha's preference NotifyBorrowerDeparture: so long before its end a card "will expire"."""


@dataclass(frozen=True)
class Category:
    """A patron category with the circulation rules that Koha keeps for it."""

    category_id: str
    name: str
    loan_limit: int
    loan_days: int = 14
    renewal_limit: int = 1
    fines_limit: Decimal = Decimal(500)


@dataclass(frozen=True)
class SimulatedPatron:
    """A patron as the simulated Koha keeps one. All of them are invented."""

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
    """The outcome of a return; ``patron`` is who had the item."""

    ok: bool
    screen_message: str = ""
    item: Item | None = None
    patron: SimulatedPatron | None = None


class KohaState:
    """Patrons, items and loans of one simulated Koha.

    *clock* returns the present moment in the library's time zone; a card is valid through the whole
    day of its expiry.
    """

    def __init__(
        self,
        categories: Iterable[Category],
        patrons: Iterable[SimulatedPatron],
        items: Iterable[Item],
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._categories = {category.category_id: category for category in categories}
        self._patrons = {patron.patron_id: patron for patron in patrons}
        self._items = {item.barcode: item for item in items}
        self._loans: dict[str, Loan] = {}
        self._clock = clock
        self._lock = threading.RLock()

    def now(self) -> datetime:
        """Return the present moment in the library's time zone."""
        return self._clock()

    def patrons(self) -> list[SimulatedPatron]:
        """Return all patrons in the order of their ids."""
        with self._lock:
            return sorted(self._patrons.values(), key=lambda patron: patron.patron_id)

    def get_patron(self, patron_id: int) -> SimulatedPatron | None:
        """Return the patron with this internal id."""
        with self._lock:
            return self._patrons.get(patron_id)

    def find_patron_by_identifier(self, identifier: str) -> SimulatedPatron | None:
        """Return the patron whose userid, else whose cardnumber, is *identifier* in any case.

        Koha: ``Koha::Patrons->find_by_identifier`` under a case-insensitive collation.
        """
        wanted = identifier.casefold()
        patrons = self.patrons()
        for known in (
            {patron.userid.casefold(): patron for patron in patrons},
            {patron.cardnumber.casefold(): patron for patron in patrons},
        ):
            if wanted in known:
                return known[wanted]
        return None

    def put_patron(self, patron: SimulatedPatron) -> None:
        """Add a patron, or replace the one with the same id, as the staff pages would."""
        with self._lock:
            self._patrons[patron.patron_id] = patron

    def item(self, barcode: str) -> Item | None:
        """Return the item with this barcode."""
        with self._lock:
            return self._items.get(barcode)

    def loan_of_item(self, barcode: str) -> Loan | None:
        """Return the loan on which an item is out."""
        with self._lock:
            return self._loans.get(barcode)

    def loans_of(self, patron: SimulatedPatron) -> list[Loan]:
        """Return a patron's loans, oldest first."""
        with self._lock:
            return [loan for loan in self._loans.values() if loan.patron_id == patron.patron_id]

    def overdue_loans_of(self, patron: SimulatedPatron) -> list[Loan]:
        """Return those of a patron's loans that should be back."""
        now = self.now()
        return [loan for loan in self.loans_of(patron) if loan.due_at < now]

    def category_of(self, patron: SimulatedPatron) -> Category:
        """Return a patron's category."""
        return self._categories[patron.category_id]

    def is_expired(self, patron: SimulatedPatron) -> bool:
        """Whether the card has expired; its last day is still valid."""
        return patron.expiry_date is not None and self.now().date() > patron.expiry_date

    def blocks(self, patron: SimulatedPatron) -> frozenset[Block]:
        """Return everything for which Koha blocks this patron's loans."""
        conditions = {
            Block.RESTRICTED: patron.restriction is not None,
            Block.EXPIRED: self.is_expired(patron),
            Block.CARD_LOST: patron.card_lost,
            Block.GONE_NO_ADDRESS: patron.gone_no_address,
            Block.FINES: patron.fines > self.category_of(patron).fines_limit,
        }
        return frozenset(block for block, holds in conditions.items() if holds)

    def greeting(self, patron: SimulatedPatron | None) -> str:
        """Return AF of a patron's information: note and expiry, then what blocks the patron."""
        if patron is None:
            return UNKNOWN_PATRON_GREETING
        notes = [note for note in (patron.opac_note, self._expiry_sentence(patron)) if note]
        blocks = self.blocks(patron)
        parts = [GREETING + " ".join(notes)]
        if Block.FINES in blocks:
            parts += ["Patron blocked by fines", f"Patron owes {patron.fines:.2f}"]
        if patron.restriction is not None:
            parts.append(patron.restriction)
        if Block.CARD_LOST in blocks:
            parts.append("Borrower's card reported lost.")
        if Block.GONE_NO_ADDRESS in blocks:
            parts.append("Borrower has no valid address.")
        return " -- ".join(parts)

    def check_out(
        self, patron: SimulatedPatron | None, barcode: str, *, no_block: bool = False
    ) -> LoanResult:
        """Lend an item, or renew it where the patron has it already.

        ``no_block`` is SIP2's: the machine lent the item off line, so no patron block is looked at.
        """
        with self._lock:
            item = self._items.get(barcode)
            if patron is None:
                return LoanResult("Invalid Patron", item)
            refusal = "" if no_block else self._patron_refusal(patron)
            if refusal:
                return LoanResult(refusal, item)
            if item is None:
                return LoanResult("Invalid Item")
            loan = self._loans.get(barcode)
            if loan is not None and loan.patron_id == patron.patron_id:
                return self._renew_by_checkout(patron, item, loan)
            refusal = self._item_refusal(patron, item, loan)
            if refusal:
                return LoanResult(refusal, item)
            self._loans[barcode] = loan = Loan(barcode, patron.patron_id, self._due_at(patron))
            return LoanResult(item=item, loan=loan)

    def check_in(self, barcode: str) -> CheckInResult:
        """Take an item back."""
        with self._lock:
            item = self._items.get(barcode)
            if item is None:
                return CheckInResult(ok=False, screen_message="Invalid Item")
            loan = self._loans.pop(barcode, None)
            if loan is None:
                return CheckInResult(ok=False, screen_message="Item not checked out", item=item)
            return CheckInResult(ok=True, item=item, patron=self._patrons[loan.patron_id])

    def renew(self, patron: SimulatedPatron | None, barcode: str) -> LoanResult:
        """Renew a patron's loan of one item."""
        with self._lock:
            item = self._items.get(barcode)
            if patron is None:
                return LoanResult("Invalid Patron", item)
            if self.blocks(patron):
                return LoanResult("Renewals not allowed.", item)
            loan = self._loans.get(barcode)
            if loan is None or loan.patron_id != patron.patron_id:
                return LoanResult(f"Item not checked out to {patron.name}", item)
            if loan.renewals >= self.category_of(patron).renewal_limit:
                return LoanResult("Item has reached maximum renewals", item)
            return LoanResult(item=item, loan=self._extend(patron, loan), renewed=True)

    def _expiry_sentence(self, patron: SimulatedPatron) -> str:
        if patron.expiry_date is None:
            return ""
        days_left = (patron.expiry_date - self.now().date()).days
        if days_left < 0:
            return f"Your account has expired as of {patron.expiry_date.isoformat()}"
        if days_left < NOTIFY_BORROWER_DEPARTURE_DAYS:
            return f"Your card will expire on {patron.expiry_date.isoformat()}"
        return ""

    def _patron_refusal(self, patron: SimulatedPatron) -> str:
        blocks = self.blocks(patron)
        if Block.RESTRICTED in blocks:
            return "Patron debarred"
        if Block.EXPIRED in blocks:
            return f"Patron expired on {patron.expiry_date}"
        if Block.FINES in blocks:
            return "Patron has fines"
        return "Patron blocked" if blocks else ""

    def _item_refusal(self, patron: SimulatedPatron, item: Item, loan: Loan | None) -> str:
        if item.not_for_loan:
            return "Issue failed : NOT_FOR_LOAN"
        if loan is not None:
            return "Item already checked out to another patron.  Please return item for check-in."
        if len(self.loans_of(patron)) >= self.category_of(patron).loan_limit:
            # A question for staff, not a bar, while AllowTooManyOverride is on (Koha's default).
            return "Item cannot be issued: TOO_MANY"
        return ""

    def _renew_by_checkout(self, patron: SimulatedPatron, item: Item, loan: Loan) -> LoanResult:
        if loan.renewals >= self.category_of(patron).renewal_limit:
            return LoanResult("Issue failed : NO_MORE_RENEWALS", item)
        return LoanResult(
            "Item already checked out to you: renewing item.",
            item,
            self._extend(patron, loan),
            renewed=True,
        )

    def _extend(self, patron: SimulatedPatron, loan: Loan) -> Loan:
        longer = replace(loan, due_at=self._due_at(patron), renewals=loan.renewals + 1)
        self._loans[loan.barcode] = longer
        return longer

    def _due_at(self, patron: SimulatedPatron) -> datetime:
        now = self.now()
        day = now.date() + timedelta(days=self.category_of(patron).loan_days)
        return datetime.combine(day, time(23, 59), tzinfo=now.tzinfo)
