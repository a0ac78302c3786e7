"""Koha's answer to each request: layouts, order of fields and texts as observed on its wire. Pure.

Source: C4/SIP/Sip/MsgType.pm and C4/SIP/ILS/*.pm, read and run. Whoever calls ``HANDLERS`` closes the
connection on ``ConnectionDies``: Koha's handler throws there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Final

from sip2_adapter.simulator.account import Account, Policy
from sip2_adapter.simulator.backend import (
    AcsItem,
    AcsPatron,
    CheckinOutcome,
    LibraryBackend,
    LoanOutcome,
)
from sip2_adapter.simulator.wire import Answer, Request, sip_date

_DENIED: Final = "YYYY".ljust(14)
_NOTHING_WRONG: Final = " " * 14
_SUPPORTED_MESSAGES: Final = "YYYYYYYYYYYNYYYY"
_AD_REMARK: Final = " -- Invalid password"
_RENTAL: Final = "06"
_ON_HOLD: Final = "Item is on hold, please return to circulation desk"
_CURRENCY: Final = "USD"
"""Hard coded in Koha's checkout and renewal."""

# The lists that 63 can ask for, by the place of the Y in its summary; Koha never fills BU.
_LISTS: Final = ("AS", "AT", "AU", "AV", "BU", "CD")


class ConnectionDies(Exception):
    """Koha's handler throws: the connection closes without an answer."""


@dataclass(frozen=True)
class Context:
    """What a handler needs besides the request."""

    library: LibraryBackend
    account: Account
    policy: Policy
    now: datetime
    protocol_1: bool = False

    @property
    def date(self) -> str:
        """The moment, as SIP2 writes it."""
        return sip_date(self.now)

    def answer(self, code: str, fixed: str) -> Answer:
        """Start an answer."""
        return Answer(code, fixed, self.account, protocol_1=self.protocol_1)


Handler = Callable[[Request, Context], Answer]


def _patron_status(patron: AcsPatron | None, account: Account) -> str:
    if patron is None:
        return _DENIED
    flags = list(_DENIED if patron.denied else _NOTHING_WRONG)
    if patron.overdues_block:
        flags[0] = "Y"
        flags[6] = "Y" if account.overdues_block_checkout else flags[6]
    if patron.card_lost or patron.gone_no_address:
        flags[4] = "Y"
    if patron.fees_over_limit:
        flags[10] = flags[11] = "Y"
    return "".join(flags)


def _flag(value: object) -> str:
    return "Y" if value else "N"


def _amount(value: Decimal) -> str:
    # As Perl prints a number: no trailing zeros.
    return format(value.normalize(), "f")


def _count(items: tuple[str, ...]) -> str:
    return f"{len(items):04d}" if len(items) <= 9999 else " " * 4


def _due(moment: datetime | None) -> str:
    return sip_date(moment) if moment else ""


def sc_status(request: Request, context: Context) -> Answer:
    """99: what Koha can do. Any renewal policy that is a non-empty string counts as yes."""
    policy = context.policy
    answer = context.answer(
        "98",
        "Y"
        + _flag(policy.checkin)
        + _flag(policy.checkout)
        + _flag(policy.renewal)
        + _flag(policy.status_update)
        + _flag(policy.offline)
        + f"{policy.timeout:03d}{policy.retries:03d}{context.date}"
        + ("1.00" if context.protocol_1 else "2.00"),
    )
    return answer.add("AO", context.account.institution).add("BX", _SUPPORTED_MESSAGES)


def patron_status(request: Request, context: Context) -> Answer:
    """23: AO last, and CQ always: N for an empty password."""
    identifier = request.text("AA")
    patron = context.library.find_patron(identifier)
    answer = context.answer(
        "24", _patron_status(patron, context.account) + request.fixed["language"] + context.date
    )
    if patron is None:
        answer.add("AE", "").add("AA", identifier).add("BL", "N").add("AF", "Invalid cardnumber")
        return answer.add("AO", request.text("AO"))
    password = request.text("AD")
    right = bool(password) and context.library.password_is_right(identifier, password)
    answer.add("AE", _shown_name(patron, context)).add("AA", patron.cardnumber).add("BL", "Y")
    answer.add("CQ", _flag(right)).maybe("BH", context.policy.currency).maybe("BV", _amount(patron.fees))
    answer.maybe("AF", patron.screen_message + (_AD_REMARK if password and not right else ""))
    _add_account_fields(answer, patron, context)
    return answer.add("AO", request.text("AO"))


def patron_information(request: Request, context: Context) -> Answer:
    """63: AO is the account's institution; CQ only where a password was sent."""
    identifier = request.text("AA")
    patron = context.library.find_patron(identifier)
    if patron is None:
        answer = context.answer("64", _DENIED + request.fixed["language"] + context.date + "0000" * 6)
        answer.add("AO", context.account.institution).add("AA", identifier).add("AE", "")
        return answer.add("BL", "N").add("AF", "Invalid cardnumber")
    shown_fine = context.account.av_field_template or str
    lists = (
        patron.hold_items,
        patron.overdue_items,
        patron.charged_items,
        tuple(map(shown_fine, patron.fine_items)),
        (),
        patron.unavailable_hold_items,
    )
    answer = context.answer(
        "64",
        _patron_status(patron, context.account)
        + (request.fixed["language"] or "000")
        + context.date
        + "".join(map(_count, lists)),
    )
    answer.add("AO", context.account.institution).add("AA", patron.cardnumber)
    answer.add("AE", _shown_name(patron, context)).add("BL", "Y")
    screen_message = patron.screen_message
    if "AD" in request.fields:
        right = _password_accepted(identifier, request.text("AD"), patron, context)
        answer.add("CQ", _flag(right))
        screen_message += "" if right else _AD_REMARK
    answer.maybe("BH", context.policy.currency).maybe("BV", _amount(patron.fees))
    answer.add("CC", _amount(patron.fee_limit))
    _add_list(answer, request, lists)
    answer.maybe("BD", patron.home_address).maybe("BE", patron.email_address)
    answer.maybe("BF", patron.home_phone_number).maybe("PB", patron.birth_date)
    answer.maybe("PC", patron.category_id)
    barred = patron.expired or patron.restricted or patron.card_lost or patron.fees_over_limit
    answer.add("PI", _flag(not barred))
    answer.maybe("AF", screen_message)
    _add_account_fields(answer, patron, context)
    return answer


def _password_accepted(identifier: str, password: str, patron: AcsPatron, context: Context) -> bool:
    if password:
        return context.library.password_is_right(identifier, password)
    return context.account.allow_empty_passwords or not patron.has_password


def _add_list(answer: Answer, request: Request, lists: tuple[tuple[str, ...], ...]) -> None:
    index = request.fixed["summary"].find("Y")
    if not 0 <= index < len(lists):
        return
    first, last = request.text("BP"), request.text("BQ")
    start = int(first) - 1 if first.isdigit() and int(first) else 0
    end = int(last) if last.isdigit() else None
    for value in lists[index][start:end]:
        answer.add(_LISTS[index], value)


def _add_account_fields(answer: Answer, patron: AcsPatron, context: Context) -> None:
    if context.account.send_patron_home_library_in_af:
        answer.maybe("AF", patron.library_id)
    for field_id, value in context.account.custom_patron_fields:
        answer.add_custom(field_id, value(patron))
    for field_id, code in context.account.patron_attributes:
        if code in patron.attributes:
            answer.add_custom(field_id, patron.attributes[code])


def _shown_name(patron: AcsPatron, context: Context) -> str:
    template = context.account.ae_field_template
    return patron.name if template is None else template(patron)


def _add_item_fields(answer: Answer, item: AcsItem | None, context: Context) -> None:
    if item:
        for field_id, value in context.account.item_fields:
            answer.add_custom(field_id, value(item))


def checkout(request: Request, context: Context) -> Answer:
    """11: AA is echoed; the password is not looked at; a refusal says BL and never CQ."""
    identifier, barcode = request.text("AA"), request.text("AB")
    item = context.library.find_item(barcode)
    patron = context.library.find_patron(identifier)
    if item and item.rental_fee and patron and request.text("BO") != "Y":
        outcome = LoanOutcome(None)
    else:
        outcome = context.library.check_out(identifier, barcode, no_block=request.fixed["no_block"] == "Y")
    ok = outcome.due_at is not None
    head = f"1{_flag(outcome.renewed)}NY" if ok else "0NUN"
    answer = context.answer("12", head + context.date)
    answer.add("AO", context.account.institution).add("AA", identifier).add("AB", barcode)
    answer.add("AJ", item.title if item else "").add("AH", _due(outcome.due_at))
    answer.maybe("AF", outcome.screen_message)
    if ok and item:
        answer.maybe("CK", item.media_type)
    elif not ok:
        answer.add("BL", _flag(patron))
    _add_item_fields(answer, item, context)
    _add_rental_fee(answer, item)
    return answer


def _add_rental_fee(answer: Answer, item: AcsItem | None) -> None:
    if item and item.rental_fee:
        answer.add("BV", _amount(item.rental_fee)).add("BH", _CURRENCY).add("BT", _RENTAL)


def checkin(request: Request, context: Context) -> Answer:
    """09: names the borrower (AA), and who waits for the item (CY, DA), though nobody asked."""
    barcode = request.text("AB")
    item = context.library.find_item(barcode)
    if item and item.on_hold and context.account.holds_block_checkin:
        outcome = CheckinOutcome(ok=False, screen_message=_ON_HOLD)
    else:
        outcome = context.library.check_in(barcode, request.text("AP") or context.account.institution)
    ok, screen_message = outcome.ok, outcome.screen_message
    if item and not ok and context.account.checked_in_ok:
        ok, screen_message = True, ""
    refused_for_a_hold = outcome.screen_message == _ON_HOLD
    held = outcome.held_for is not None
    alert_type = "99" if refused_for_a_hold else _alert_type(item, ok=ok, held=held, context=context)
    alert = bool(alert_type) if context.account.cv_triggers_alert else (not ok or held)
    head = ("1" if ok else "0") + ("Y" if item else "N") + ("N" if item else "U") + _flag(alert)
    answer = context.answer("10", head + context.date)
    answer.add("AO", request.text("AO")).add("AB", barcode)
    answer.add("AQ", item.library_id if item else "")
    if item:
        answer.maybe("AJ", item.title)
        if outcome.borrower:
            answer.add("AA", outcome.borrower.cardnumber)
        _add_item_fields(answer, item, context)
        answer.maybe("CK", item.media_type).maybe("CS", item.call_number)
    if outcome.held_for:
        answer.add("CY", outcome.held_for.cardnumber).add("CT", context.account.institution)
        shown = context.account.da_field_template
        answer.add("DA", shown(outcome.held_for) if shown else outcome.held_for.name)
    elif context.account.ct_always_send:
        answer.add("CT", "")
    answer.maybe("CR", item.collection if item else "").maybe("CV", alert_type)
    return answer.maybe("AF", screen_message)


def _alert_type(item: AcsItem | None, *, ok: bool, held: bool, context: Context) -> str:
    if item is None:
        return "99"
    if held:
        return "01"
    return "00" if ok and context.account.cv_send_00_on_success else ""


def item_information(request: Request, context: Context) -> Answer:
    """17: no AO in the answer."""
    barcode = request.text("AB")
    item = context.library.find_item(barcode)
    if item is None:
        return context.answer("18", "010101" + context.date).add("AB", barcode).add("AJ", "")
    answer = context.answer("18", item.circulation_status + "0201" + context.date)
    if item.damaged:
        answer.add("AF", "Item is damaged")
    answer.add("AB", barcode).add("AJ", item.title).maybe("CK", item.media_type)
    answer.maybe("AQ", item.library_id).maybe("CR", item.collection)
    if item.rental_fee:
        answer.add("BH", _CURRENCY).add("BV", _amount(item.rental_fee))
    answer.maybe("BG", item.library_id).maybe("AH", _due(item.due_at))
    _add_item_fields(answer, item, context)
    return answer


def item_status_update(request: Request, context: Context) -> Answer:
    """19: an unknown item kills the connection."""
    item = context.library.find_item(request.text("AB"))
    if item is None:
        raise ConnectionDies
    answer = context.answer("20", "1" + context.date).add("AB", item.barcode)
    return answer.add("AJ", item.title).maybe("CH", request.text("CH"))


def renew(request: Request, context: Context) -> Answer:
    """29: AO stands behind the item; AA is the card number where the patron exists."""
    identifier, barcode = request.text("AA"), request.text("AB")
    patron = context.library.find_patron(identifier)
    item = context.library.find_item(barcode)
    outcome = context.library.renew(identifier, barcode)
    ok = outcome.due_at is not None
    answer = context.answer("30", ("1YNN" if ok else "0NUN") + context.date)
    answer.add("AA", patron.cardnumber if patron else identifier).add("AB", barcode)
    answer.add("AJ", item.title if item else "").add("AH", _due(outcome.due_at))
    if ok and item:
        answer.add("CK", item.media_type)
        _add_rental_fee(answer, item)
    return answer.add("AO", context.account.institution).maybe("AF", outcome.screen_message)


def renew_all(request: Request, context: Context) -> Answer:
    """65: every loan of a patron who may renew."""
    identifier = request.text("AA")
    patron = context.library.find_patron(identifier)
    if patron is None or patron.denied:
        answer = context.answer("66", "0" + "0000" + "0000" + context.date)
        answer.add("AO", context.account.institution)
        return answer.add("AF", "Renewals not allowed.") if patron else answer
    renewed: list[str] = []
    unrenewed: list[str] = []
    for barcode in patron.charged_items:
        done = context.library.renew(identifier, barcode).due_at is not None
        (renewed if done else unrenewed).append(barcode)
    counts = f"{len(renewed):04d}{len(unrenewed):04d}"
    answer = context.answer("66", "1" + counts + context.date)
    answer.add("AO", context.account.institution)
    for barcode in renewed:
        answer.add("BM", barcode)
    for barcode in unrenewed:
        answer.add("BN", barcode)
    return answer


def hold(request: Request, context: Context) -> Answer:
    """15: a title identifier is taken for a barcode; a refusal gives no reason."""
    identifier = request.text("AA")
    patron = context.library.find_patron(identifier)
    item = context.library.find_item(request.text("AB") or request.text("AJ"))
    pickup = request.text("BS") or context.account.institution
    outcome = context.library.place_hold(identifier, item.barcode, pickup) if item else None
    answer = context.answer("16", ("1" if outcome else "0") + "N" + context.date)
    answer.add("AA", patron.cardnumber if patron else identifier)
    if outcome and item:
        answer.add("BR", str(outcome.queue_position)).add("BS", outcome.pickup_library_id)
        answer.add("AB", item.barcode).add("AJ", item.title)
    return answer.add("AO", context.account.institution)


def end_patron_session(request: Request, context: Context) -> Answer:
    """35: always yes, even for nobody."""
    answer = context.answer("36", "Y" + context.date).add("AO", context.account.institution)
    return answer.add("AA", request.text("AA")).add("AF", "Thank you!")


def fee_paid(request: Request, context: Context) -> Answer:
    """37: AO and AA are echoed."""
    try:
        amount = Decimal(request.text("BV"))
    except InvalidOperation:
        amount = Decimal("NaN")
    accepted = amount.is_finite() and context.library.pay_fee(request.text("AA"), amount)
    answer = context.answer("38", _flag(accepted) + context.date)
    answer.add("AO", request.text("AO")).add("AA", request.text("AA"))
    return answer.maybe("BK", request.text("BK"))


def patron_enable(request: Request, context: Context) -> Answer:
    """25: not implemented in Koha, which says so; no name in AE."""
    identifier = request.text("AA")
    patron = context.library.find_patron(identifier)
    answer = context.answer("26", _patron_status(patron, context.account) + "000" + context.date)
    shown = _shown_name(patron, context) if patron and context.account.ae_field_template else ""
    answer.add("AA", patron.cardnumber if patron else identifier).add("AE", shown)
    if patron and "AD" in request.fields:
        right = context.library.password_is_right(identifier, request.text("AD"))
        answer.add("CQ", _flag(right))
    answer.add("BL", _flag(patron)).add("AF", "Enable feature not implemented.")
    return answer.add("AO", request.text("AO"))


def block_patron(request: Request, context: Context) -> Answer:
    """01: not implemented in Koha; an unknown patron kills the connection."""
    patron = context.library.find_patron(request.text("AA"))
    if patron is None:
        raise ConnectionDies
    answer = context.answer("24", _DENIED + "000" + context.date)
    answer.add("AE", patron.name).add("AA", patron.cardnumber).add("BL", "Y")
    return answer.add("AF", "Block feature not implemented").add("AO", request.text("AO"))


HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType(
    {
        "99": sc_status,
        "23": patron_status,
        "63": patron_information,
        "11": checkout,
        "09": checkin,
        "17": item_information,
        "19": item_status_update,
        "29": renew,
        "65": renew_all,
        "15": hold,
        "35": end_patron_session,
        "37": fee_paid,
        "25": patron_enable,
        "01": block_patron,
    }
)
"""The handler of each request; 93, 96 and 97 belong to the connection."""
