"""The routes of the simulated Koha that are about patrons: reading, writing, passwords, attributes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from koha_client.simulator.entities import PatronAttribute, SimulatedPatron
from koha_client.simulator.exchange import RestExchange
from koha_client.simulator.patron_json import (
    attribute_record,
    changed_patron,
    check_patron_body,
    check_references,
    enrolled_patron,
    fields_of,
    patron_record,
)
from koha_client.simulator.query import search
from koha_client.simulator.replies import RestReply, bad_request, invalid, not_found
from koha_client.versions import ALL_BORROWERS, SEE_ALL_LIBRARIES, KohaVersion

DEFAULT_PASSWORD_LENGTH = 8
"""Koha's preference minPasswordLength; RequireStrongPassword is on."""

_STRONG_PASSWORD = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])", re.DOTALL)


def list_patrons(exchange: RestExchange) -> RestReply:
    """GET /patrons."""
    records = [_record(exchange, patron) for patron in exchange.state.patrons() if _sees(exchange, patron)]
    return search(exchange.path, exchange.query, records, fields_of(exchange.version))


def get_patron(exchange: RestExchange) -> RestReply:
    """GET /patrons/{patron_id}."""
    exchange.refuse_parameters()
    return RestReply(HTTPStatus.OK, _record(exchange, _patron(exchange)))


def add_patron(exchange: RestExchange) -> RestReply:
    """POST /patrons."""
    document = check_patron_body(exchange.document, exchange.version)
    with exchange.state.writing():
        check_references(exchange.state, document, patron_id=None)
        patron = enrolled_patron(exchange.state, exchange.state.next_patron_id(), document)
        patron = _with_attributes(exchange, patron, document)
        exchange.state.put_patron(patron)
    overrides = exchange.headers.get("x-koha-override", "").split(",")
    if "welcome_no" not in overrides or not exchange.version.is_at_least(KohaVersion.V23_11):
        exchange.state.welcome_mails.append(patron.patron_id)
    location = {"Location": f"{exchange.path}/{patron.patron_id}"}
    return RestReply(HTTPStatus.CREATED, _record(exchange, patron), location)


def update_patron(exchange: RestExchange) -> RestReply:
    """PUT /patrons/{patron_id}: the columns that are supplied, and no others."""
    patron = _patron(exchange)
    document = check_patron_body(exchange.document, exchange.version)
    with exchange.state.writing():
        check_references(exchange.state, document, patron.patron_id)
        patron = _with_attributes(exchange, changed_patron(_patron(exchange), document), document)
        exchange.state.put_patron(patron)
    return RestReply(HTTPStatus.OK, _record(exchange, patron))


def set_password(exchange: RestExchange) -> RestReply:
    """POST /patrons/{patron_id}/password."""
    patron = _patron(exchange)
    document = exchange.document
    if not isinstance(document, dict):
        raise invalid("/body", "Expected object - got null.")
    for name in ("password", "password_2"):
        if not isinstance(document.get(name), str):
            raise invalid(f"/body/{name}", "Missing property.")
    if document["password"] != document["password_2"]:
        raise bad_request("Passwords don't match")
    _check_password(exchange, patron, document["password"])
    exchange.state.put_patron(replace(patron, password=document["password"]))
    return RestReply(HTTPStatus.OK, "")


def list_attributes(exchange: RestExchange) -> RestReply:
    """GET /patrons/{patron_id}/extended_attributes."""
    records = [attribute_record(attribute) for attribute in _patron(exchange).attributes]
    fields = frozenset({"extended_attribute_id", "type", "value"})
    return search(exchange.path, exchange.query, records, fields)


def add_attribute(exchange: RestExchange) -> RestReply:
    """POST /patrons/{patron_id}/extended_attributes."""
    code, value = _attribute_body(exchange.document)
    with exchange.state.writing():
        patron = _patron(exchange)
        added = _new_attribute(exchange, patron, patron.attributes, code, value)
        exchange.state.put_patron(replace(patron, attributes=(*patron.attributes, added)))
    return RestReply(HTTPStatus.CREATED, attribute_record(added))


def replace_attributes(exchange: RestExchange) -> RestReply:
    """PUT /patrons/{patron_id}/extended_attributes."""
    if not isinstance(exchange.document, list):
        raise invalid("/body", "Expected array - got object.")
    with exchange.state.writing():
        patron = _all_attributes(exchange, _patron(exchange), exchange.document)
        exchange.state.put_patron(patron)
    return RestReply(HTTPStatus.OK, [attribute_record(attribute) for attribute in patron.attributes])


def change_attribute(exchange: RestExchange) -> RestReply:
    """PATCH /patrons/{patron_id}/extended_attributes/{extended_attribute_id}."""
    document = exchange.document
    if not isinstance(document, dict) or not isinstance(document.get("value"), str):
        raise invalid("/body/value", "Expected string - got null.")
    with exchange.state.writing():
        patron = _patron(exchange)
        old = _attribute(exchange, patron)
        others = tuple(attribute for attribute in patron.attributes if attribute is not old)
        _check_attribute(exchange, patron, others, old.code, document["value"])
        new = replace(old, value=document["value"])
        attributes = tuple(new if attribute is old else attribute for attribute in patron.attributes)
        exchange.state.put_patron(replace(patron, attributes=attributes))
    return RestReply(HTTPStatus.OK, attribute_record(new))


def delete_attribute(exchange: RestExchange) -> RestReply:
    """DELETE /patrons/{patron_id}/extended_attributes/{extended_attribute_id}."""
    with exchange.state.writing():
        patron = _patron(exchange)
        old = _attribute(exchange, patron)
        attributes = tuple(attribute for attribute in patron.attributes if attribute is not old)
        exchange.state.put_patron(replace(patron, attributes=attributes))
    return RestReply(HTTPStatus.NO_CONTENT)


def _record(exchange: RestExchange, patron: SimulatedPatron) -> dict[str, Any]:
    record = patron_record(exchange.state, patron, exchange.version)
    if "extended_attributes" in exchange.embeds:
        record["extended_attributes"] = [attribute_record(each) for each in patron.attributes]
    return record


def _sees(exchange: RestExchange, patron: SimulatedPatron) -> bool:
    """Whether the account may see a patron of this library (``search_limited``)."""
    return patron.library_id == exchange.account_library_id or exchange.may(SEE_ALL_LIBRARIES, ALL_BORROWERS)


def _patron(exchange: RestExchange) -> SimulatedPatron:
    patron = exchange.state.get_patron(exchange.identifier("patron_id"))
    if patron is None or not _sees(exchange, patron):
        raise not_found("Patron not found")
    return patron


def _check_password(exchange: RestExchange, patron: SimulatedPatron, password: str) -> None:
    category = exchange.state.category_of(patron)
    length = category.min_password_length or DEFAULT_PASSWORD_LENGTH
    if len(password) < length:
        raise bad_request(f"Password length ({len(password)}) is shorter than required ({length})")
    if password != password.strip():
        raise bad_request("Password contains leading/trailing whitespace character(s)")
    if category.require_strong_password is not False and not _STRONG_PASSWORD.match(password):
        raise bad_request("Password is too weak")


def _attribute_body(document: object) -> tuple[str, str]:
    fields = document if isinstance(document, dict) else {}
    code, value = fields.get("type"), fields.get("value")
    if not isinstance(code, str) or not isinstance(value, str):
        raise invalid("/body/type" if not isinstance(code, str) else "/body/value", "Missing property.")
    return code, value


def _with_attributes(
    exchange: RestExchange, patron: SimulatedPatron, document: Mapping[str, Any]
) -> SimulatedPatron:
    given = document.get("extended_attributes")
    return patron if given is None else _all_attributes(exchange, patron, given)


def _all_attributes(
    exchange: RestExchange, patron: SimulatedPatron, documents: Sequence[object]
) -> SimulatedPatron:
    attributes: tuple[PatronAttribute, ...] = ()
    for document in documents:
        added = _new_attribute(exchange, patron, attributes, *_attribute_body(document))
        attributes = (*attributes, added)
    return replace(patron, attributes=attributes)


def _new_attribute(
    exchange: RestExchange,
    patron: SimulatedPatron,
    others: Sequence[PatronAttribute],
    code: str,
    value: str,
) -> PatronAttribute:
    _check_attribute(exchange, patron, others, code, value)
    return PatronAttribute(exchange.state.next_number(), code, value)


def _check_attribute(
    exchange: RestExchange,
    patron: SimulatedPatron,
    others: Sequence[PatronAttribute],
    code: str,
    value: str,
) -> None:
    """Refuse what the attribute's type forbids beside the patron's *others*."""
    kind = exchange.state.attribute_type(code)
    if kind is None:
        raise bad_request("Tried to use an invalid attribute type", error_code="invalid_attribute_type")
    if not kind.repeatable and any(attribute.code == code for attribute in others):
        raise bad_request(
            "Tried to add more than one non-repeatable attributes", error_code="non_repeatable_attribute"
        )
    elsewhere = (
        attribute
        for other in exchange.state.patrons()
        if other.patron_id != patron.patron_id
        for attribute in other.attributes
    )
    if kind.unique and any((each.code, each.value) == (code, value) for each in elsewhere):
        raise bad_request(
            "Your action breaks a unique constraint on the attribute", error_code="attribute_not_unique"
        )


def _attribute(exchange: RestExchange, patron: SimulatedPatron) -> PatronAttribute:
    wanted = exchange.identifier("extended_attribute_id")
    for attribute in patron.attributes:
        if attribute.attribute_id == wanted:
            return attribute
    raise not_found("Attribute not found")
