"""The client of Koha's REST API: patrons, and what the bridge needs to know around them.

Koha knows no optimistic locking: the last writer wins. So a patron is read again right before it is
written, the body holds no more than Koha demands and what changes, and nothing is written where the
patron is not as the caller knew it. What remains is the moment between that read and the write.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import TypeVar

from requests.auth import AuthBase

from koha_client.errors import (
    BadRequest,
    CardnumberRefused,
    Conflict,
    KohaError,
    KohaRejected,
    KohaUnavailable,
    MalformedAnswer,
    NotOffered,
    PatronChangedMeanwhile,
    PatronNotFound,
    PluginMissing,
    RecordNotFound,
    Retry,
    SeveralPatrons,
)
from koha_client.health import Ability, Health, HealthState, health_for_error
from koha_client.models import (
    CIRCULATION_RULE_NAMES,
    CirculationRules,
    ExtendedAttribute,
    KohaLibrary,
    NewPatron,
    Patron,
    PatronCategory,
    PatronCheckout,
    PatronHold,
    StaffStanding,
)
from koha_client.passwords import Password, PasswordFault, PasswordRefused, PasswordRules
from koha_client.transport import HttpAnswer, Transport
from koha_client.versions import CIRCULATE, OLDEST, Route

logger = logging.getLogger(__name__)

MAXIMUM_CARDNUMBER_LENGTH = 32
"""Characters of Koha's column ``borrowers.cardnumber``."""

REQUIRED_FIELDS = ("surname", "library_id", "category_id")
"""What every write of a patron must hold."""

READ_ONLY_FIELDS = frozenset(
    {
        "patron_id",
        "expired",
        "restricted",
        "anonymized",
        "updated_on",
        "_strings",
        "checkouts_count",
        "overdues_count",
        "account_balance",
        "library",
    }
)
"""What Koha shows of a patron and does not take back: read-only fields and embedded ones."""

_PAGE_SIZE = 100
_NO_PATRON = 0
"""Koha numbers its patrons from 1."""

_OF_NOBODY = MappingProxyType({"patron_id": str(_NO_PATRON), "_match": "exact"})


def _permission_query(permission: str) -> dict[str, str]:
    module, _, name = permission.partition(":")
    return {"module": module, "permission": name}


_WRITE_PROBES: Mapping[Ability, tuple[Route, Mapping[str, str]]] = MappingProxyType(
    {
        Ability.CHANGE_PATRONS: (Route.UPDATE_PATRON, dict.fromkeys(REQUIRED_FIELDS, "-")),
        Ability.SET_PASSWORDS: (Route.SET_PASSWORD, {"password": "", "password_2": ""}),
        Ability.CHECK_PASSWORDS: (Route.CHECK_PASSWORD, {"password": ""}),  # of nobody: no try is spent
    }
)
"""Requests about nobody: Koha looks at the permission first, and then finds no such patron."""

_READ_PROBES: Mapping[Ability, tuple[Route, Mapping[str, str]]] = MappingProxyType(
    {
        Ability.FIND_PATRONS: (Route.LIST_PATRONS, {"q": f'{{"patron_id": {_NO_PATRON}}}'}),
        Ability.READ_ATTRIBUTES: (Route.LIST_ATTRIBUTES, {}),
        Ability.LIST_CATEGORIES: (Route.LIST_CATEGORIES, {}),
        Ability.LIST_LIBRARIES: (Route.LIST_LIBRARIES, {"_per_page": "1"}),
        Ability.SEE_CHECKOUTS: (Route.LIST_CHECKOUTS, _OF_NOBODY),
        Ability.SEE_HOLDS: (Route.LIST_HOLDS, _OF_NOBODY),
        Ability.SEE_CIRCULATION_RULES: (
            Route.LIST_CIRCULATION_RULES,
            {"rules": CIRCULATION_RULE_NAMES[0]},
        ),
        Ability.SEE_STAFF_PERMISSIONS: (Route.GET_STAFF_STANDING, _permission_query(CIRCULATE)),
    }
)


_Record = TypeVar("_Record")


class KohaClient:
    """One Koha, seen through the account that *auth* stands for. Safe to share among threads.

    *base_url* is the address of the API itself, such as ``https://koha.example.jp/api/v1``.

    Every method but the checks of health raises ``KohaUnavailable`` where there is no usable answer
    and ``KohaRejected`` where Koha refuses; ``NotOffered`` where this Koha is too old for it. A
    patron that the account may not see looks absent: give it the permission
    ``view_borrower_infos_from_any_libraries``.

    ``expected_updated_on`` is ``Patron.updated_on`` as the caller read it. Where the patron was
    changed since, by whomever, ``PatronChangedMeanwhile`` is raised and nothing is written.
    """

    def __init__(self, base_url: str, auth: AuthBase, transport: Transport) -> None:
        self._base_url = base_url
        self._auth = auth
        self._transport = transport

    # --- Patrons -----------------------------------------------------------------------------------

    def find_patron_by_cardnumber(self, cardnumber: str) -> Patron | None:
        """Return the one patron with exactly this card number, None if there is none.

        Koha's own comparison knows neither case nor width, so that the number found is compared
        again here. Raises ``SeveralPatrons``.
        """
        if not cardnumber:
            return None
        # The bare parameter ``cardnumber`` would match any number that contains it.
        query = {"q": json.dumps({"cardnumber": cardnumber}), "_per_page": "2"}
        records = _list_of_records(self._call(Route.LIST_PATRONS, params=query))
        patrons = [Patron.from_json(record) for record in records]
        if len(patrons) > 1:
            raise SeveralPatrons
        return next((patron for patron in patrons if patron.cardnumber == cardnumber), None)

    def get_patron(self, patron_id: int) -> Patron:
        """Return a patron. Raises ``PatronNotFound``, also for one that was deleted or merged away."""
        return _same_patron(self._get_record(patron_id), patron_id)

    def create_patron(self, new: NewPatron, *, is_no_duplicate: bool = False) -> Patron:
        """Create a patron with a disabled password; no welcome mail is sent.

        Where the answer is lost, the patron is looked up by card number instead of created again.
        ``is_no_duplicate`` says that a librarian has compared name and date of birth: newer releases
        refuse a likely duplicate otherwise. Raises ``Conflict`` for a card number that somebody
        has, ``UnknownReference``, ``CardnumberRefused``, ``BadRequest`` for a login that somebody has.
        """
        _check_cardnumber(new.cardnumber)
        if self.find_patron_by_cardnumber(new.cardnumber) is not None:
            raise Conflict("cardnumber")
        headers = {"x-koha-override": "welcome_no"}
        if is_no_duplicate:
            headers["x-confirm-not-duplicate"] = "1"
        try:
            answer = self._call(Route.ADD_PATRON, document=_writable(new.as_json()), headers=headers)
            return Patron.from_json(_record(answer))
        except KohaUnavailable as unavailable:
            if unavailable.retry is not Retry.IF_IDEMPOTENT:
                raise
            lost = unavailable
        created = self.find_patron_by_cardnumber(new.cardnumber)
        if created is None:
            raise lost
        return created

    def update_patron(
        self, patron_id: int, changes: Mapping[str, object], expected_updated_on: str | None
    ) -> Patron:
        """Write *changes*, fields of Koha's patron object, and return the patron as it is then.

        Fields that Koha does not take back are left out, so that a record of Koha's may be given.
        Raises ``PatronChangedMeanwhile``, ``PatronNotFound``, ``Conflict``, ``UnknownReference``,
        ``BadRequest``.
        """
        return self._update(patron_id, expected_updated_on, lambda record: changes)

    def change_category(self, patron_id: int, category_id: str, expected_updated_on: str | None) -> Patron:
        """Move a patron into another category (利用者区分).

        Koha may charge the category's enrolment fee and remove guarantors, see ``PatronCategory``;
        the expiry date stays. Raises as ``update_patron``; ``UnknownReference`` for a category that
        does not exist.
        """
        return self.update_patron(patron_id, {"category_id": category_id}, expected_updated_on)

    def extend_expiry(self, patron_id: int, expiry_date: date, expected_updated_on: str | None) -> Patron:
        """Make *expiry_date* the last valid day of the library card. Raises as ``update_patron``."""
        return self.update_patron(patron_id, {"expiry_date": expiry_date.isoformat()}, expected_updated_on)

    def change_cardnumber(self, patron_id: int, cardnumber: str, expected_updated_on: str | None) -> Patron:
        """Give a patron a new library card; the old number stops at once, also for machines.

        The new card is not lost, and a login that was the old number becomes the new one. Raises as
        ``update_patron``, and ``CardnumberRefused``.
        """
        _check_cardnumber(cardnumber)

        def changes(record: Mapping[str, object]) -> Mapping[str, object]:
            login = {"userid": cardnumber} if record.get("userid") == record.get("cardnumber") else {}
            return {"cardnumber": cardnumber, "patron_card_lost": False, **login}

        return self._update(patron_id, expected_updated_on, changes)

    def set_password(self, patron_id: int, password: str, rules: PasswordRules) -> None:
        """Set the patron's OPAC password; the second step after ``create_patron``.

        Raises ``PasswordRefused``, before anything is sent where *rules* say so.
        """
        rules.check(password)
        document = {"password": password, "password_2": password}
        try:
            self._call(Route.SET_PASSWORD, document=document, patron_id=patron_id)
        except BadRequest:
            pass  # raised below: Koha's words may repeat the password
        else:
            return
        raise PasswordRefused(PasswordFault.REFUSED_BY_KOHA)

    # --- Extended attributes -----------------------------------------------------------------------

    def list_extended_attributes(self, patron_id: int) -> list[ExtendedAttribute]:
        """Return a patron's extended attributes. Raises ``PatronNotFound``."""
        return list(self._pages(Route.LIST_ATTRIBUTES, ExtendedAttribute.from_json, {}, patron_id=patron_id))

    def add_extended_attribute(self, patron_id: int, attribute: ExtendedAttribute) -> ExtendedAttribute:
        """Add an attribute; return it with its id.

        Raises ``BadRequest`` or ``Conflict`` with Koha's ``error_code``, such as
        ``invalid_attribute_type`` or ``attribute_not_unique``.
        """
        answer = self._call(Route.ADD_ATTRIBUTE, document=attribute.as_json(), patron_id=patron_id)
        return ExtendedAttribute.from_json(_record(answer))

    def replace_extended_attributes(
        self, patron_id: int, attributes: Sequence[ExtendedAttribute]
    ) -> list[ExtendedAttribute]:
        """Let *attributes* be all that the patron has. Raises as ``add_extended_attribute``."""
        document = [attribute.as_json() for attribute in attributes]
        answer = self._call(Route.REPLACE_ATTRIBUTES, document=document, patron_id=patron_id)
        return [ExtendedAttribute.from_json(record) for record in _list_of_records(answer)]

    def change_extended_attribute(
        self, patron_id: int, extended_attribute_id: int, value: str
    ) -> ExtendedAttribute:
        """Give an attribute another value. Raises ``RecordNotFound``, and as the others."""
        answer = self._call(
            Route.CHANGE_ATTRIBUTE,
            document={"value": value},
            patron_id=patron_id,
            extended_attribute_id=extended_attribute_id,
        )
        return ExtendedAttribute.from_json(_record(answer))

    def delete_extended_attribute(self, patron_id: int, extended_attribute_id: int) -> None:
        """Remove an attribute. Raises ``RecordNotFound``."""
        self._call(Route.DELETE_ATTRIBUTE, patron_id=patron_id, extended_attribute_id=extended_attribute_id)

    # --- What is around the patrons ----------------------------------------------------------------

    def list_categories(self) -> list[PatronCategory]:
        """Return all patron categories. Raises ``NotOffered`` before Koha 24.05."""
        records = _list_of_records(self._call(Route.LIST_CATEGORIES))  # the route knows no pages
        return [PatronCategory.from_json(record) for record in records]

    def list_libraries(self) -> list[KohaLibrary]:
        """Return all libraries."""
        return list(self._pages(Route.LIST_LIBRARIES, KohaLibrary.from_json, {}))

    def checkouts_of(self, patron_id: int) -> list[PatronCheckout]:
        """Return what a patron has on loan now."""
        checkouts = list(self._pages(Route.LIST_CHECKOUTS, PatronCheckout.from_json, _of_patron(patron_id)))
        if any(checkout.patron_id != patron_id for checkout in checkouts):
            raise MalformedAnswer("the answer holds another patron's checkout")
        return checkouts

    def holds_of(self, patron_id: int) -> list[PatronHold]:
        """Return what a patron waits for now."""
        holds = list(self._pages(Route.LIST_HOLDS, PatronHold.from_json, _of_patron(patron_id)))
        if any(hold.patron_id != patron_id for hold in holds):
            raise MalformedAnswer("the answer holds another patron's hold")
        return holds

    def circulation_rules(
        self, *, category_id: str, library_id: str, item_type_id: str | None = None
    ) -> CirculationRules:
        """Return how much a category may borrow. Raises ``NotOffered`` before Koha 24.11."""
        params = {
            "patron_category_id": category_id,
            "library_id": library_id,
            "rules": ",".join(CIRCULATION_RULE_NAMES),
        }
        if item_type_id is not None:
            params["item_type_id"] = item_type_id
        return CirculationRules.from_json(self._call(Route.LIST_CIRCULATION_RULES, params=params).json())

    # --- Staff -------------------------------------------------------------------------------------

    def staff_standing(self, patron_id: int, permission: str) -> StaffStanding:
        """Return what somebody may do in Koha, by the bridge's plugin, as Koha's own routes do not tell it.

        *permission* is Koha's, such as ``circulate:circulate_remaining_permissions``. Raises
        ``PatronNotFound``, ``PluginMissing``.
        """
        answer = self._call(
            Route.GET_STAFF_STANDING, params=_permission_query(permission), patron_id=patron_id
        )
        standing = StaffStanding.from_json(answer.json())
        if standing.patron_id != patron_id:
            raise MalformedAnswer("the answer is another patron")
        return standing

    def is_password_of(self, patron_id: int, userid: str, password: Password) -> bool:
        """Return whether this is the password of the patron who signs in as *userid*.

        A wrong one counts towards Koha's ``FailedLoginAttempts``; it is sent once, whatever happens. An
        answer about another patron is a no: before Bug 36575 was mended Koha could name the wrong one, and
        a userid may be somebody else's card number.
        """
        document = {"userid": userid, "password": password.value}
        try:
            answer = _record(self._call(Route.CHECK_PASSWORD, document=document))
        except BadRequest:
            return False
        return answer.get("patron_id") == patron_id

    # --- Health ------------------------------------------------------------------------------------

    def check_health(self) -> Health:
        """Say whether Koha answers, knows us and lets us search patrons. Reads no patron."""
        return self.check_ability(Ability.FIND_PATRONS)

    def check_ability(self, ability: Ability) -> Health:
        """Say whether this Koha lets us do *ability*, and if not, what is missing. Changes nothing."""
        try:
            if ability in _WRITE_PROBES:
                route, document = _WRITE_PROBES[ability]
                self._call(route, document=document, patron_id=_NO_PATRON)
            else:
                route, params = _READ_PROBES[ability]
                self._call(route, params=params, patron_id=_NO_PATRON).json()
        except (RecordNotFound, BadRequest) as answer:
            # Nobody there, or Koha has looked at the content: so the permission was there before.
            if ability is Ability.FIND_PATRONS:
                return health_for_error(ability, answer)
        except KohaError as error:
            return health_for_error(ability, error)
        return Health(HealthState.OK, ability=ability)

    # --- How it is done ----------------------------------------------------------------------------

    def _get_record(self, patron_id: int) -> dict[str, object]:
        return _record(self._call(Route.GET_PATRON, patron_id=patron_id))

    def _update(
        self,
        patron_id: int,
        expected_updated_on: str | None,
        changes: Callable[[Mapping[str, object]], Mapping[str, object]],
    ) -> Patron:
        record = self._get_record(patron_id)
        if _same_patron(record, patron_id).updated_on != expected_updated_on:
            raise PatronChangedMeanwhile
        document = {name: record.get(name) for name in REQUIRED_FIELDS} | _writable(changes(record))
        answer = self._call(Route.UPDATE_PATRON, document=document, patron_id=patron_id)
        if not answer.body:  # 204: Koha found nothing to change
            return self.get_patron(patron_id)
        return _same_patron(_record(answer), patron_id)

    def _pages(
        self,
        route: Route,
        read: Callable[[dict[str, object]], _Record],
        params: Mapping[str, str],
        patron_id: int = _NO_PATRON,
    ) -> Iterator[_Record]:
        """Yield the records of a list, page by page, as many as Koha says that there are."""
        seen, page, total = 0, 1, 1
        while seen < total:
            paging = {"_page": str(page), "_per_page": str(_PAGE_SIZE)}
            answer = self._call(route, params={**params, **paging}, patron_id=patron_id)
            records = _list_of_records(answer)
            if answer.total_count is None or (not records and seen < answer.total_count):
                raise MalformedAnswer("the list is shorter than Koha says, or Koha does not say")
            yield from map(read, records)
            seen, page, total = seen + len(records), page + 1, answer.total_count

    def _call(
        self,
        route: Route,
        *,
        params: Mapping[str, str] | None = None,
        document: object = None,
        headers: Mapping[str, str] | None = None,
        **ids: int,
    ) -> HttpAnswer:
        url = self._base_url + route.path.format(**ids)
        try:
            answer = self._transport.request(
                route.method, url, self._auth, params=params, document=document, headers=headers
            )
        except KohaRejected as rejected:
            is_about_the_route = rejected.status in (404, 405) and not isinstance(rejected, PatronNotFound)
            if not is_about_the_route or (route.first_version is OLDEST and not route.of_plugin):
                raise
            status = rejected.status
        else:
            logger.debug("%s %s: %d", route.method, route.path, answer.status)
            return answer
        if route.of_plugin:
            raise PluginMissing(status)
        raise NotOffered(status, route.first_version.value)


def _record(answer: HttpAnswer) -> dict[str, object]:
    record = answer.json()
    if not isinstance(record, dict):
        raise MalformedAnswer("the answer is not a record")
    return record


def _list_of_records(answer: HttpAnswer) -> list[dict[str, object]]:
    records = answer.json()
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise MalformedAnswer("the answer is not a list of records")
    return records


def _same_patron(record: Mapping[str, object], patron_id: int) -> Patron:
    patron = Patron.from_json(record)
    if patron.patron_id != patron_id:
        raise MalformedAnswer("the answer is another patron")
    return patron


def _writable(changes: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in changes.items() if name not in READ_ONLY_FIELDS}


def _of_patron(patron_id: int) -> dict[str, str]:
    # Without _match, 5 would find the patrons 5, 15 and 51: Koha's parameters match what contains them.
    return {"patron_id": str(patron_id), "_match": "exact"}


def _check_cardnumber(cardnumber: str) -> None:
    if not cardnumber or cardnumber != cardnumber.strip() or len(cardnumber) > MAXIMUM_CARDNUMBER_LENGTH:
        raise CardnumberRefused
