"""The routes of the simulated Koha that are about the library: categories, items, loans, holds, rules."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from koha_client.simulator.entities import Category, Hold, Item, Loan
from koha_client.simulator.exchange import RestExchange
from koha_client.simulator.query import search
from koha_client.simulator.replies import RestReply, bad_request

ITEM_TYPE = "BK"


def list_categories(exchange: RestExchange) -> RestReply:
    """GET /patron_categories, which knows no pages."""
    exchange.refuse_parameters()
    records = [_category_record(category) for category in exchange.state.categories()]
    return RestReply(HTTPStatus.OK, records)


def list_libraries(exchange: RestExchange) -> RestReply:
    """GET /libraries."""
    records = [
        {"library_id": branch.library_id, "name": branch.name, "pickup_location": True, "public": True}
        for branch in exchange.state.branches()
    ]
    return search(exchange.path, exchange.query, records, frozenset({"library_id", "name"}))


def list_items(exchange: RestExchange) -> RestReply:
    """GET /items."""
    records = [_item_record(exchange, item) for item in exchange.state.items()]
    fields = frozenset({"item_id", "external_id", "callnumber", "home_library_id"})
    return search(exchange.path, exchange.query, records, fields)


def list_checkouts(exchange: RestExchange) -> RestReply:
    """GET /checkouts: what is on loan now."""
    records = [
        _checkout_record(exchange, loan)
        for patron in exchange.state.patrons()
        for loan in exchange.state.loans_of(patron)
    ]
    fields = frozenset({"checkout_id", "patron_id", "item_id", "library_id"})
    return search(exchange.path, exchange.query, records, fields)


def list_holds(exchange: RestExchange) -> RestReply:
    """GET /holds."""
    records = [
        _hold_record(exchange, hold)
        for patron in exchange.state.patrons()
        for hold in exchange.state.holds_of(patron)
    ]
    fields = frozenset({"hold_id", "patron_id", "biblio_id", "item_id", "pickup_library_id"})
    return search(exchange.path, exchange.query, records, fields)


def list_circulation_rules(exchange: RestExchange) -> RestReply:
    """GET /circulation_rules: the rules in force for a category, each a text as Koha keeps them."""
    exchange.refuse_parameters(frozenset({"item_type_id", "library_id", "patron_category_id", "rules"}))
    parameters = dict(exchange.query)
    category_id = parameters.get("patron_category_id")
    category = next((each for each in exchange.state.categories() if each.category_id == category_id), None)
    if category_id is not None and category is None:
        raise bad_request("Given patron_category_id does not exist")
    rules = {
        "maxissueqty": "" if category is None else str(category.loan_limit),
        "patron_maxissueqty": "" if category is None else str(category.loan_limit),
        "issuelength": "" if category is None else str(category.loan_days),
        "renewalsallowed": "" if category is None else str(category.renewal_limit),
    }
    wanted = parameters.get("rules", ",".join(rules)).split(",")
    return RestReply(HTTPStatus.OK, {name: rules[name] for name in wanted if name in rules})


def _category_record(category: Category) -> dict[str, Any]:
    return {
        "patron_category_id": category.category_id,
        "name": category.name,
        "category_type": "A",
        "enrolment_period": category.enrolment_months,
        "enrolment_period_date": None,
        "enrolment_fee": float(category.enrolment_fee),
        "can_be_guarantee": category.can_be_guarantee,
        "min_password_length": category.min_password_length,
        "require_strong_password": category.require_strong_password,
    }


def _item_record(exchange: RestExchange, item: Item) -> dict[str, Any]:
    number = exchange.state.item_id(item.barcode)
    return {
        "item_id": number,
        "biblio_id": number,
        "external_id": item.barcode,
        "home_library_id": item.library_id,
        "holding_library_id": item.library_id,
        "callnumber": item.call_number or None,
        "not_for_loan_status": int(item.not_for_loan),
        "item_type_id": ITEM_TYPE,
    }


def _checkout_record(exchange: RestExchange, loan: Loan) -> dict[str, Any]:
    return {
        "checkout_id": loan.checkout_id,
        "patron_id": loan.patron_id,
        "item_id": exchange.state.item_id(loan.barcode),
        "due_date": loan.due_at.isoformat(),
        "library_id": exchange.account_library_id,
        "checkin_date": None,
        "renewals_count": loan.renewals,
        "auto_renew": False,
        "checkout_date": None if loan.lent_at is None else loan.lent_at.isoformat(timespec="seconds"),
        "onsite_checkout": False,
    }


def _hold_record(exchange: RestExchange, hold: Hold) -> dict[str, Any]:
    queue = [each.hold_id for each in exchange.state.queue_of(hold.barcode)]
    number = exchange.state.item_id(hold.barcode)
    waiting = hold.waiting_since
    return {
        "hold_id": hold.hold_id,
        "patron_id": hold.patron_id,
        "hold_date": hold.placed_on.isoformat(),
        "biblio_id": number,
        "item_id": str(number),
        "pickup_library_id": hold.pickup_library_id,
        "priority": 0 if waiting else 1 + queue.index(hold.hold_id),
        "status": "W" if waiting else None,
        "waiting_date": waiting.isoformat() if waiting else None,
        "suspended": False,
        "item_level": True,
    }
