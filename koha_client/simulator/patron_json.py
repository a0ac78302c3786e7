"""Koha's patron object: its fields with their types, its validation, and the way from and to a patron.

The table holds the fields that the bridge and its tests speak of, not all that Koha has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from koha_client.models import PatronCategory
from koha_client.simulator.entities import PatronAttribute, SimulatedPatron
from koha_client.simulator.replies import RestRefusal, bad_request, invalid, refusal
from koha_client.simulator.state import KohaState
from koha_client.versions import OLDEST, KohaVersion

REQUIRED = ("surname", "library_id", "category_id")


@dataclass(frozen=True)
class _Field:
    kind: str = "string"
    nullable: bool = True
    read_only: bool = False
    first_version: KohaVersion = OLDEST
    default: object = None


_TEXT, _DATE = _Field(), _Field("date")

FIELDS: Mapping[str, _Field] = MappingProxyType(
    {
        "patron_id": _Field("integer", nullable=False, read_only=True),
        "cardnumber": _TEXT,
        "surname": _TEXT,
        "firstname": _TEXT,
        "preferred_name": _Field(first_version=KohaVersion.V24_11),
        "middle_name": _TEXT,
        "title": _TEXT,
        "other_name": _TEXT,
        "userid": _TEXT,
        "street_number": _TEXT,
        "address": _TEXT,
        "address2": _TEXT,
        "city": _TEXT,
        "state": _TEXT,
        "postal_code": _TEXT,
        "country": _TEXT,
        "email": _TEXT,
        "phone": _TEXT,
        "mobile": _TEXT,
        "secondary_email": _TEXT,
        "secondary_phone": _TEXT,
        "date_of_birth": _DATE,
        "library_id": _Field(nullable=False),
        "category_id": _Field(nullable=False),
        "date_enrolled": _DATE,
        "expiry_date": _DATE,
        "incorrect_address": _Field("boolean"),
        "patron_card_lost": _Field("boolean"),
        "expired": _Field("boolean", nullable=False, read_only=True, first_version=KohaVersion.V24_11),
        "restricted": _Field("boolean", nullable=False, read_only=True),
        "staff_notes": _TEXT,
        "opac_notes": _TEXT,
        "autorenew_checkouts": _Field("boolean", nullable=False, default=True),
        "privacy": _Field("integer", nullable=False, default=1),
        "privacy_guarantor_checkouts": _Field("integer", nullable=False, default=0),
        "privacy_guarantor_fines": _Field("boolean", nullable=False, default=False),
        "check_previous_checkout": _Field(nullable=False, default="inherit"),
        "updated_on": _Field(nullable=False),
        "last_seen": _TEXT,
        "lang": _Field(nullable=False, default="default"),
        "login_attempts": _Field("integer", default=0),
        "anonymized": _Field("boolean", nullable=False, read_only=True, default=False),
        "protected": _Field("boolean", nullable=False, first_version=KohaVersion.V23_11, default=False),
    }
)

_TYPES: Mapping[str, type] = MappingProxyType({"string": str, "date": str, "integer": int, "boolean": bool})

_ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "cardnumber": "cardnumber",
        "surname": "surname",
        "firstname": "firstname",
        "userid": "userid",
        "library_id": "library_id",
        "category_id": "category_id",
        "expiry_date": "expiry_date",
        "patron_card_lost": "card_lost",
        "incorrect_address": "gone_no_address",
        "opac_notes": "opac_note",
    }
)
"""Koha's fields that mean something here, and where the simulated patron keeps them."""

_COMPUTED: Mapping[str, Callable[[KohaState, SimulatedPatron], object]] = MappingProxyType(
    {
        "patron_id": lambda state, patron: patron.patron_id,
        "expired": lambda state, patron: state.is_expired(patron),
        "login_attempts": lambda state, patron: patron.login_attempts,
        "restricted": lambda state, patron: patron.restriction is not None,
        "updated_on": lambda state, patron: state.updated_at(patron).isoformat(timespec="seconds"),
    }
)


class PatronsRefused(Exception):
    """A list of patrons to begin with is not what Koha would take."""


def fields_of(version: KohaVersion) -> frozenset[str]:
    """Return the names of the fields that a release has."""
    return frozenset(name for name, field in FIELDS.items() if version.is_at_least(field.first_version))


def patron_record(state: KohaState, patron: SimulatedPatron, version: KohaVersion) -> dict[str, Any]:
    """Return a patron as Koha's definition of the object has it; nulls are kept as Koha does."""
    known = fields_of(version)
    return {name: _value(state, patron, name) for name in FIELDS if name in known}


def check_patron_body(document: object, version: KohaVersion) -> dict[str, Any]:
    """Return the body of a write where the specification allows it; raises its validator's 400."""
    if not isinstance(document, dict):
        raise invalid("/body", "Expected object - got null.")
    for name in REQUIRED:
        if name not in document:
            raise invalid(f"/body/{name}", "Missing property.")
    unknown = sorted(document.keys() - fields_of(version) - {"extended_attributes"})
    if unknown:
        raise invalid("/body", f"Properties not allowed: {', '.join(unknown)}.")
    for name, value in document.items():
        if name in FIELDS:
            _check_value(name, FIELDS[name], value)
    return document


def changed_patron(patron: SimulatedPatron, document: Mapping[str, Any]) -> SimulatedPatron:
    """Return *patron* with the columns that *document* supplies; the others stay."""
    changes: dict[str, Any] = {}
    details = dict(patron.details)
    for name, value in document.items():
        if name == "expiry_date":
            changes[name] = None if value is None else date.fromisoformat(value)
        elif name in _ATTRIBUTES:
            empty = False if FIELDS[name].kind == "boolean" else ""
            changes[_ATTRIBUTES[name]] = empty if value is None else value
        elif name in FIELDS:
            details[name] = value
    return replace(patron, **changes, details=details)


def enrolled_patron(state: KohaState, patron_id: int, document: Mapping[str, Any]) -> SimulatedPatron:
    """Return a new patron with Koha's defaults for what *document* leaves out; the password is disabled."""
    today = state.now().date()
    months = next(
        category.enrolment_months
        for category in state.categories()
        if category.category_id == document["category_id"]
    )
    blank = SimulatedPatron(
        patron_id=patron_id,
        cardnumber=str(patron_id),  # preference autoMemberNum
        userid="",
        surname="",
        firstname="",
        category_id="",
        expiry_date=PatronCategory("", "", enrolment_period=months).expiry_of_enrolment(today),
        details={"date_enrolled": today.isoformat()},
    )
    patron = changed_patron(blank, document)
    return patron if patron.userid else replace(patron, userid=f"{patron.firstname}.{patron.surname}")


def add_patrons(state: KohaState, records: object, version: KohaVersion) -> int:
    """Add patrons from a list of Koha's patron objects, as a REST client writes them; return how many.

    Raises ``PatronsRefused`` with the place of the first record that Koha would refuse.
    """
    if not isinstance(records, list):
        raise PatronsRefused("the patrons are not a list of Koha's patron objects")
    for place, record in enumerate(records, start=1):
        try:
            document = check_patron_body(record, version)
            check_references(state, document, patron_id=None)
        except RestRefusal as refused:
            raise PatronsRefused(f"patron {place}: {refused.reply.body}") from None
        state.put_patron(enrolled_patron(state, state.next_patron_id(), document))
    return len(records)


def check_references(state: KohaState, document: Mapping[str, Any], patron_id: int | None) -> None:
    """Refuse a category or library that does not exist, and a number or login that somebody has."""
    known = {
        "category_id": {category.category_id for category in state.categories()},
        "library_id": {branch.library_id for branch in state.branches()},
    }
    for name, values in known.items():
        if document[name] not in values:
            raise bad_request(f"Given {name} does not exist")
    others = [patron for patron in state.patrons() if patron.patron_id != patron_id]
    cardnumber, userid = document.get("cardnumber"), document.get("userid")
    if cardnumber and any(patron.cardnumber.casefold() == cardnumber.casefold() for patron in others):
        raise refusal(HTTPStatus.CONFLICT, "Duplicate ID", conflict="borrowers.cardnumber")
    if userid and any(patron.userid.casefold() == userid.casefold() for patron in others):
        raise bad_request(f"Problem with {userid}")


def attribute_record(attribute: PatronAttribute) -> dict[str, Any]:
    """Return an extended attribute as Koha's definition of the object has it."""
    return {
        "extended_attribute_id": attribute.attribute_id,
        "type": attribute.code,
        "value": attribute.value,
    }


def _value(state: KohaState, patron: SimulatedPatron, name: str) -> object:
    if name in _COMPUTED:
        return _COMPUTED[name](state, patron)
    if name in _ATTRIBUTES:
        value = getattr(patron, _ATTRIBUTES[name])
        return value.isoformat() if isinstance(value, date) else None if value == "" else value
    return patron.details.get(name, FIELDS[name].default)


def _check_value(name: str, field: _Field, value: object) -> None:
    if field.read_only:
        raise invalid(f"/body/{name}", "Read-only.")
    if value is None and field.nullable:
        return
    kind = _TYPES[field.kind]
    if type(value) is not kind:
        expected = "string" if kind is str else field.kind
        raise invalid(f"/body/{name}", f"Expected {expected} - got {_json_type(value)}.")
    if field.kind == "date" and isinstance(value, str):
        _check_date(name, value)


def _check_date(name: str, value: str) -> None:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise invalid(f"/body/{name}", "Does not match date format.") from None


def _json_type(value: object) -> str:
    names: Mapping[type, str] = {
        bool: "boolean",
        int: "number",
        float: "number",
        str: "string",
        list: "array",
        dict: "object",
    }
    return names.get(type(value), "null")
