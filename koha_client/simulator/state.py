"""What a simulated Koha knows: patrons, items, loans, holds, and its refusals in Koha's words.

Words and order are those of Koha's SIP server (``C4/SIP/ILS.pm``, ``ILS/Patron.pm``,
``ILS/Transaction/*.pm``). One state serves the REST side (``rest``) and a SIP2 side elsewhere.
Every method may be called from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, time, timedelta
from decimal import Decimal
from itertools import count

from koha_client.simulator.entities import (
    AttributeType,
    Block,
    Branch,
    Category,
    CheckInResult,
    Hold,
    Item,
    Loan,
    LoanResult,
    SimulatedPatron,
)

GREETING = "Greetings from Koha. "
UNKNOWN_PATRON_GREETING = "Invalid cardnumber"
NOTIFY_BORROWER_DEPARTURE_DAYS = 30
"""Koha's preference NotifyBorrowerDeparture: so long before its end a card "will expire"."""

DEFAULT_BRANCHES = (Branch("CPL", "中央図書館"),)


class KohaState:
    """Patrons, items, loans and holds of one simulated Koha.

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
        branches: Iterable[Branch] = DEFAULT_BRANCHES,
        attribute_types: Iterable[AttributeType] = (),
    ) -> None:
        self._categories = {category.category_id: category for category in categories}
        self._patrons = {patron.patron_id: patron for patron in patrons}
        self._items = {item.barcode: item for item in items}
        self._item_ids = {barcode: number for number, barcode in enumerate(self._items, start=1)}
        self._branches = {branch.library_id: branch for branch in branches}
        self._attribute_types = {kind.code: kind for kind in attribute_types}
        self._loans: dict[str, Loan] = {}
        self._holds: list[Hold] = []
        self._numbers = count(1)
        self._clock = clock
        self.failed_login_attempts: int | None = None
        """The preference FailedLoginAttempts; None where it is empty and no account is ever locked."""
        self.welcome_mails: list[int] = []
        """The ids of patrons who were sent a welcome mail."""
        self._updated_at = dict.fromkeys(self._patrons, clock())
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

    def is_locked(self, patron: SimulatedPatron) -> bool:
        """Whether Koha takes no password of a patron any more; a negative count is staff's own lock."""
        limit = self.failed_login_attempts
        return patron.login_attempts < 0 or (bool(limit) and patron.login_attempts >= (limit or 0))

    def check_password(self, patron: SimulatedPatron, password: str) -> bool:
        """Whether it is the password of a patron who is not locked; a wrong one is counted."""
        with self._lock:
            present = self._patrons[patron.patron_id]
            if self.is_locked(present):
                return False
            matches = bool(present.password) and present.password == password
            attempts = 0 if matches else present.login_attempts + 1
            self._patrons[patron.patron_id] = replace(present, login_attempts=attempts)
            return matches

    def put_patron(self, patron: SimulatedPatron) -> None:
        """Add a patron, or replace the one with the same id, as the staff pages would."""
        with self._lock:
            self._patrons[patron.patron_id] = patron
            self._updated_at[patron.patron_id] = self.now()

    def remove_patron(self, patron_id: int) -> None:
        """Delete a patron, as the staff pages do when they delete one or merge two."""
        with self._lock:
            del self._patrons[patron_id]

    def updated_at(self, patron: SimulatedPatron) -> datetime:
        """Return when a patron was last written."""
        return self._updated_at[patron.patron_id]

    def next_patron_id(self) -> int:
        """Return the id for a patron to come."""
        with self._lock:
            return max(self._patrons, default=0) + 1

    def next_number(self) -> int:
        """Return a number that no loan, hold or attribute of this Koha has."""
        return next(self._numbers)

    def writing(self) -> AbstractContextManager[object]:
        """Keep every other thread out of the state while a patron is checked and written."""
        return self._lock

    def categories(self) -> list[Category]:
        """Return all patron categories."""
        return list(self._categories.values())

    def branches(self) -> list[Branch]:
        """Return all libraries."""
        return list(self._branches.values())

    def attribute_type(self, code: str) -> AttributeType | None:
        """Return a type of extended attributes."""
        return self._attribute_types.get(code)

    def items(self) -> list[Item]:
        """Return all items in the order of their ids."""
        return list(self._items.values())

    def item_id(self, barcode: str) -> int:
        """Return Koha's number of an item."""
        return self._item_ids[barcode]

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

    def holds_of(self, patron: SimulatedPatron) -> list[Hold]:
        """Return a patron's holds, oldest first."""
        with self._lock:
            return [hold for hold in self._holds if hold.patron_id == patron.patron_id]

    def queue_of(self, barcode: str) -> list[Hold]:
        """Return the holds on an item, in the order in which they are served."""
        with self._lock:
            return [hold for hold in self._holds if hold.barcode == barcode]

    def place_hold(self, patron: SimulatedPatron | None, barcode: str, pickup_library_id: str) -> Hold | None:
        """Let a patron wait for an item; None where the patron or the item may not, or has it already."""
        with self._lock:
            if patron is None or barcode not in self._items or self.blocks(patron):
                return None
            loan = self._loans.get(barcode)
            has_it = loan is not None and loan.patron_id == patron.patron_id
            if has_it or any(hold.patron_id == patron.patron_id for hold in self.queue_of(barcode)):
                return None
            library_id = pickup_library_id if pickup_library_id in self._branches else patron.library_id
            hold = Hold(self.next_number(), patron.patron_id, barcode, library_id, self.now().date())
            self._holds.append(hold)
            return hold

    def pay(self, patron: SimulatedPatron | None, amount: Decimal) -> bool:
        """Take money for a patron's fines; more than they are becomes credit, as in Koha."""
        with self._lock:
            if patron is None or amount <= 0:
                return False
            self.put_patron(replace(patron, fines=patron.fines - amount))
            return True

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
            self._holds = [
                hold for hold in self._holds if (hold.barcode, hold.patron_id) != (barcode, patron.patron_id)
            ]
            self._loans[barcode] = loan = Loan(
                barcode,
                patron.patron_id,
                self._due_at(patron),
                checkout_id=self.next_number(),
                lent_at=self.now(),
            )
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
            return CheckInResult(
                ok=True,
                item=item,
                patron=self._patrons.get(loan.patron_id),
                held_for=self._put_on_hold_shelf(barcode),
            )

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
            if self.queue_of(barcode):
                return LoanResult("Item unavailable due to outstanding holds", item)
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
        queue = self.queue_of(item.barcode)
        if queue and queue[0].patron_id != patron.patron_id:
            if queue[0].waiting_since is not None:
                return "Item is on hold for another patron."
            return "Item is reserved for another patron upon return."
        if len(self.loans_of(patron)) >= self.category_of(patron).loan_limit:
            # A question for staff, not a bar, while AllowTooManyOverride is on (Koha's default).
            return "Item cannot be issued: TOO_MANY"
        return ""

    def _renew_by_checkout(self, patron: SimulatedPatron, item: Item, loan: Loan) -> LoanResult:
        if loan.renewals >= self.category_of(patron).renewal_limit or self.queue_of(item.barcode):
            return LoanResult("Issue failed : NO_MORE_RENEWALS", item)
        return LoanResult(
            "Item already checked out to you: renewing item.",
            item,
            self._extend(patron, loan),
            renewed=True,
        )

    def _put_on_hold_shelf(self, barcode: str) -> SimulatedPatron | None:
        """Let the first of the queue be served; return that patron."""
        queue = self.queue_of(barcode)
        if not queue:
            return None
        place = self._holds.index(queue[0])
        self._holds[place] = replace(queue[0], waiting_since=self.now().date())
        return self._patrons.get(queue[0].patron_id)

    def _extend(self, patron: SimulatedPatron, loan: Loan) -> Loan:
        longer = replace(loan, due_at=self._due_at(patron), renewals=loan.renewals + 1)
        self._loans[loan.barcode] = longer
        return longer

    def _due_at(self, patron: SimulatedPatron) -> datetime:
        now = self.now()
        day = now.date() + timedelta(days=self.category_of(patron).loan_days)
        return datetime.combine(day, time(23, 59), tzinfo=now.tzinfo)
