"""One simulated Koha with both of its faces: REST and SIP2 over one state.

``koha_client.simulator`` keeps the patrons, items and loans and speaks REST; ``sip2_adapter.simulator``
speaks SIP2. The two packages do not know each other; here they are joined.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Mapping
from decimal import Decimal
from types import TracebackType
from typing import Self

from koha_client.simulator.entities import Block, Item, LoanResult, SimulatedPatron
from koha_client.simulator.rest import KohaRestServer
from koha_client.simulator.state import KohaState
from koha_client.versions import NEWEST, KohaVersion
from sip2_adapter.simulator.account import Account, Encoding
from sip2_adapter.simulator.acs import SimulatedAcs
from sip2_adapter.simulator.backend import AcsItem, AcsPatron, CheckinOutcome, HoldOutcome, LoanOutcome
from sip2_adapter.simulator.faults import FaultPlan, no_faults

INSTITUTION_ID = "CPL"

AVAILABLE = "03"
CHARGED = "04"
ON_HOLD_SHELF = "08"


class KohaBackend:
    """``LibraryBackend`` over a ``KohaState``: what Koha's SIP server finds in Koha's database."""

    def __init__(self, state: KohaState) -> None:
        self._state = state

    def find_patron(self, patron_identifier: str) -> AcsPatron | None:
        """Return the patron by userid or card number."""
        patron = self._state.find_patron_by_identifier(patron_identifier)
        return None if patron is None else self._show(patron)

    def password_is_right(self, patron_identifier: str, password: str) -> bool:
        """Whether *password* is the patron's."""
        patron = self._state.find_patron_by_identifier(patron_identifier)
        return patron is not None and patron.password == password != ""

    def find_item(self, barcode: str) -> AcsItem | None:
        """Return the item with this barcode."""
        item = self._state.item(barcode)
        return None if item is None else self._show_item(item)

    def check_out(self, patron_identifier: str, barcode: str, *, no_block: bool) -> LoanOutcome:
        """Lend, or renew what the patron has already."""
        patron = self._state.find_patron_by_identifier(patron_identifier)
        return _outcome(self._state.check_out(patron, barcode, no_block=no_block))

    def check_in(self, barcode: str, library_id: str) -> CheckinOutcome:  # one library
        """Take an item back."""
        result = self._state.check_in(barcode)
        borrower = None if result.patron is None else self._show(result.patron)
        held_for = None if result.held_for is None else self._show(result.held_for)
        return CheckinOutcome(result.ok, result.screen_message, borrower, held_for)

    def renew(self, patron_identifier: str, barcode: str) -> LoanOutcome:
        """Renew one loan."""
        patron = self._state.find_patron_by_identifier(patron_identifier)
        return _outcome(self._state.renew(patron, barcode))

    def pay_fee(self, patron_identifier: str, amount: Decimal) -> bool:
        """Take money for fines."""
        return self._state.pay(self._state.find_patron_by_identifier(patron_identifier), amount)

    def place_hold(self, patron_identifier: str, barcode: str, pickup_library_id: str) -> HoldOutcome | None:
        """Put a patron into the queue for an item."""
        patron = self._state.find_patron_by_identifier(patron_identifier)
        hold = self._state.place_hold(patron, barcode, pickup_library_id)
        if hold is None:
            return None
        return HoldOutcome(len(self._state.queue_of(barcode)), hold.pickup_library_id)

    def _show(self, patron: SimulatedPatron) -> AcsPatron:
        blocks = self._state.blocks(patron)
        holds = self._state.holds_of(patron)
        return AcsPatron(
            cardnumber=patron.cardnumber,
            name=patron.name,
            screen_message=self._state.greeting(patron),
            category_id=patron.category_id,
            library_id=patron.library_id,
            expired=Block.EXPIRED in blocks,
            restricted=Block.RESTRICTED in blocks,
            card_lost=Block.CARD_LOST in blocks,
            gone_no_address=Block.GONE_NO_ADDRESS in blocks,
            fees_over_limit=Block.FINES in blocks,
            has_password=patron.password != "",
            fees=patron.fines,
            fee_limit=self._state.category_of(patron).fines_limit,
            overdue_items=tuple(loan.barcode for loan in self._state.overdue_loans_of(patron)),
            charged_items=tuple(loan.barcode for loan in self._state.loans_of(patron)),
            hold_items=tuple(hold.barcode for hold in holds if hold.waiting_since is not None),
            unavailable_hold_items=tuple(hold.barcode for hold in holds if hold.waiting_since is None),
        )

    def _show_item(self, item: Item) -> AcsItem:
        loan = self._state.loan_of_item(item.barcode)
        waits = any(hold.waiting_since is not None for hold in self._state.queue_of(item.barcode))
        return AcsItem(
            barcode=item.barcode,
            title=item.title,
            circulation_status=CHARGED if loan is not None else ON_HOLD_SHELF if waits else AVAILABLE,
            library_id=item.library_id,
            call_number=item.call_number,
            due_at=None if loan is None else loan.due_at,
        )


def _outcome(result: LoanResult) -> LoanOutcome:
    due_at = None if result.loan is None else result.loan.due_at
    return LoanOutcome(due_at, result.renewed, result.screen_message)


class SimulatedKoha:
    """Both servers on loopback, from ``with`` to the end of the block.

    *accounts* are the SIP2 log-ins with their passwords. Port 0 takes a free one. *version* is the
    release whose REST API is played, *faults* what goes wrong in SIP2.
    """

    client_id = "koha-jpki-bridge"

    def __init__(
        self,
        state: KohaState,
        accounts: Mapping[str, str],
        *,
        rest_port: int = 0,
        sip_port: int = 0,
        version: KohaVersion = NEWEST,
        faults: FaultPlan = no_faults,
    ) -> None:
        self.client_secret = secrets.token_urlsafe(24)
        self._rest = KohaRestServer(
            state,
            client_id=self.client_id,
            client_secret=self.client_secret,
            port=rest_port,
            version=version,
        )
        self._acs = SimulatedAcs(
            KohaBackend(state),
            [
                Account(login, password, INSTITUTION_ID, encoding=Encoding.UTF8)
                for login, password in accounts.items()
            ],
            clock=state.now,
            client_timeout=600,  # as in the settings that Koha is shipped with
            faults=faults,
        )
        self._wanted_sip_port = sip_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulated-acs")

    @property
    def rest_url(self) -> str:
        """The address of the REST API."""
        return self._rest.base_url

    @property
    def sip_port(self) -> int:
        """The port of the SIP server."""
        return self._acs.port

    def __enter__(self) -> Self:
        self._rest.start()
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._acs.start(port=self._wanted_sip_port), self._loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._acs.stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._rest.close()
