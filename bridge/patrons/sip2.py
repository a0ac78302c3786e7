"""A library system seen over SIP2 alone: ``bridge.ports.PatronDirectory`` by patron information (63/64).

For a library whose host offers no REST API. SIP2 knows a patron by the card number only, so there is no
id that survives a new card; it tells the last valid day only where Koha is set up to send it
(``custom_patron_field``), and cannot change a category. Each question has a connection and a log-in of
its own: nothing is shared between threads, and nothing is left open between two patrons.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from bridge.errors import KohaNotReachable
from bridge.ports import Clock, PatronRecord
from sip2_adapter import ClientTls, FieldId, Sip2Client, Sip2Error, Sip2Message
from sip2_adapter.standing import LibraryCardStanding, judge_library_card

logger = logging.getLogger(__name__)

CARD_LOST: Final = 4
"""Position in the patron status. Koha sets it for a patron without a valid address, too."""

CATEGORY: Final = FieldId.PATRON_CLASS

EXPIRED: Final = frozenset({LibraryCardStanding.EXPIRED, LibraryCardStanding.UNKNOWN})
"""A date of expiry that should be in the answer and cannot be read counts as over."""


@dataclass(frozen=True)
class Sip2Account:
    """Where the SIP2 server is and how the bridge itself logs in; *timeout* in seconds for each answer."""

    host: str
    port: int
    login: str
    timeout: float
    password: str = field(repr=False)
    tls: ClientTls | None = None


class Sip2PatronDirectory:
    """The patrons of one library, by card number. May be asked from several threads.

    *clock* gives the library's local time. *expiry_field* is the field of a 64 in which Koha sends the
    last valid day, None where it sends none.
    """

    def __init__(self, account: Sip2Account, clock: Clock, expiry_field: bytes | None = None) -> None:
        self._account = account
        self._clock = clock
        self._expiry_field = expiry_field

    def find_by_cardnumber(self, cardnumber: str) -> PatronRecord | None:
        """Return the patron with exactly this card number. Raises ``KohaNotReachable``.

        Koha also finds a patron by login, and in any case of letters: what it found is compared.
        """
        if not cardnumber.isascii() or not cardnumber.isprintable() or "|" in cardnumber:
            return None  # no SIP2 message can ask for it
        now = self._clock()
        try:
            answer = asyncio.run(self._ask(cardnumber.encode("ascii"), now))
        except Sip2Error as error:
            logger.warning("SIP2: %s", type(error).__name__)
            raise KohaNotReachable from error
        if answer.value(FieldId.VALID_PATRON) != b"Y":
            return None
        if answer.value(FieldId.PATRON_IDENTIFIER) != cardnumber.encode("ascii"):
            return None
        return self._record(answer, cardnumber, now)

    def get(self, patron_id: int) -> PatronRecord:
        """Raise ``KohaNotReachable``: over SIP2 nobody can be asked for by id."""
        logger.warning("SIP2: a link points to a patron's id, which REST alone can find")
        raise KohaNotReachable("a patron's id needs Koha's REST API")

    async def _ask(self, cardnumber: bytes, now: datetime) -> Sip2Message:
        account = self._account
        async with Sip2Client(account.host, account.port, timeout=account.timeout, tls=account.tls) as client:
            await client.login(account.login.encode(), account.password.encode())
            return await client.patron_information(b"", cardnumber, now)

    def _record(self, answer: Sip2Message, cardnumber: str, now: datetime) -> PatronRecord:
        standing = judge_library_card(answer, now.date, self._expiry_field)
        status = answer.fixed_field("patron_status")
        return PatronRecord(
            patron_id=None,
            category_id=(answer.value(CATEGORY) or b"").decode("utf-8", "replace"),
            expiry_date=None,
            restricted=standing is LibraryCardStanding.EXPIRED_OR_RESTRICTED,
            card_lost=status[CARD_LOST : CARD_LOST + 1] == b"Y",
            cardnumber=cardnumber,
            name=(answer.value(FieldId.PERSONAL_NAME) or b"").decode("utf-8", "replace"),
            expired=standing in EXPIRED,
        )
