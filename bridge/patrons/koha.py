"""Koha as the services see it: patrons, their categories, and staff, over the Koha client."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bridge.errors import CategoryRefused, KohaNotReachable, NoSuchPatron, PatronChanged
from bridge.ports import CategoryDetails, KohaStanding, PatronRecord
from koha_client import (
    KohaClient,
    KohaError,
    KohaForbidden,
    KohaRejected,
    KohaUnauthorized,
    NotOffered,
    Password,
    Patron,
    PatronChangedMeanwhile,
    PatronNotFound,
)

logger = logging.getLogger(__name__)


class KohaPatronDirectory:
    """The patrons and patron categories of one library's Koha."""

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

    def describe(self, category_ids: Sequence[str]) -> Mapping[str, CategoryDetails]:
        """See ``bridge.ports.PatronCategories``. Raises ``KohaNotReachable``."""
        with _translated():
            try:
                categories = self._client.list_categories()
            except (NotOffered, KohaForbidden) as refused:
                logger.info("Koha does not list categories: %s", type(refused).__name__)
                return {}
        return {
            category.category_id: CategoryDetails(
                category.category_id, category.name, category.enrolment_fee, category.can_be_guarantee
            )
            for category in categories
            if category.category_id in category_ids
        }

    def move(self, patron: PatronRecord, category_id: str) -> None:
        """See ``bridge.ports.PatronCategories``."""
        if patron.patron_id is None:
            raise NoSuchPatron
        with _translated():
            try:
                self._client.change_category(patron.patron_id, category_id, patron.version)
            except PatronChangedMeanwhile:
                raise PatronChanged from None
            except PatronNotFound:
                raise NoSuchPatron from None
            except KohaUnauthorized:
                raise
            except KohaRejected as error:
                logger.warning("Koha refused a change of category: %s", type(error).__name__)
                raise CategoryRefused from error


class KohaStaffDirectory:
    """The staff of one library's Koha. *permission* is the one that is asked about, in Koha's words."""

    def __init__(self, client: KohaClient, permission: str) -> None:
        self._client = client
        self._permission = permission

    def standing(self, koha_patron_id: int) -> KohaStanding | None:
        """See ``bridge.ports.KohaStaff``."""
        with _translated():
            try:
                told = self._client.staff_standing(koha_patron_id, self._permission)
            except PatronNotFound:
                return None
        return KohaStanding(told.permitted, told.tries_left, told.userid)

    def is_password_of(self, koha_patron_id: int, userid: str, password: str) -> bool:
        """See ``bridge.ports.KohaStaff``."""
        with _translated():
            return self._client.is_password_of(koha_patron_id, userid, Password(password))


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
        version=patron.updated_on,
    )
