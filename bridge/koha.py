"""Koha as the services see it: ``bridge.ports.PatronDirectory`` over the Koha client."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.errors import KohaNotReachable, NoSuchPatron
from bridge.ports import PatronRecord
from koha_client import KohaClient, KohaError, Patron, PatronNotFound

logger = logging.getLogger(__name__)


class KohaPatronDirectory:
    """The patrons of one library's Koha."""

    def __init__(self, client: KohaClient) -> None:
        self._client = client

    def find_by_cardnumber(self, cardnumber: str) -> PatronRecord | None:
        """Return the one patron with exactly this card number. Raises ``KohaNotReachable``."""
        with _translated():
            patron = self._client.find_patron_by_cardnumber(cardnumber)
        return None if patron is None else _record(patron)

    def get(self, patron_id: int) -> PatronRecord:
        """Return a patron. Raises ``NoSuchPatron``, ``KohaNotReachable``."""
        with _translated():
            return _record(self._client.get_patron(patron_id))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PatronNotFound:
        raise NoSuchPatron from None
    except KohaError as error:
        logger.warning("Koha: %s", type(error).__name__)
        raise KohaNotReachable from error


def _record(patron: Patron) -> PatronRecord:
    return PatronRecord(
        patron_id=patron.patron_id,
        category_id=patron.category_id,
        expiry_date=patron.expiry_date,
        restricted=patron.restricted,
        card_lost=patron.patron_card_lost,
        cardnumber=patron.cardnumber,
        name=" ".join(part for part in (patron.surname, patron.firstname) if part),
    )
