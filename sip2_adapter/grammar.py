"""The messages of SIP2 2.00: one table for the parser, the builder, the tests and the documentation.

Source of the rows: 3M Standard Interchange Protocol 2.00, message by message. The fields of the
extension of 2005, and BL and CR where Koha adds them, stand among the optional ones. What protocol
1.00 knows: Koha, C4/SIP/Sip/MsgType.pm. The parser keeps fields that no row names: a row says what a
message is, not what may pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final

from sip2_adapter.fields import FieldId as F


@dataclass(frozen=True)
class Fixed:
    """A fixed field: *width* characters at a fixed place, without identifier or delimiter."""

    name: str
    width: int


@dataclass(frozen=True)
class MessageSpec:
    """One message.

    ``response`` is the code of the answer to a request; None for an answer, and for 97, whose answer
    is whatever came last. ``protocol_1`` names the variable fields in protocol 1.00, None where 1.00
    has no such message.
    """

    code: bytes
    name: str
    response: bytes | None
    fixed: tuple[Fixed, ...] = ()
    required: tuple[F, ...] = ()
    optional: tuple[F, ...] = ()
    protocol_1: frozenset[F] | None = None

    @cached_property
    def fixed_length(self) -> int:
        """Characters between the code and the first variable field."""
        return sum(field.width for field in self.fixed)

    @cached_property
    def slices(self) -> Mapping[str, slice]:
        """Where each fixed field stands, counted from behind the code."""
        places, start = {}, 0
        for field in self.fixed:
            places[field.name] = slice(start, start + field.width)
            start += field.width
        return MappingProxyType(places)

    @property
    def fields(self) -> tuple[F, ...]:
        """The variable fields of the specification: the required ones, then the others."""
        return self.required + self.optional

    @cached_property
    def names_patron(self) -> bool:
        """Whether the message carries a patron identifier (AA)."""
        return F.PATRON_IDENTIFIER in self.fields


_DATE = Fixed("transaction_date", 18)
_LANGUAGE = Fixed("language", 3)
_PATRON_STATUS = Fixed("patron_status", 14)
_NO_BLOCK = Fixed("no_block", 1)
_NB_DUE_DATE = Fixed("nb_due_date", 18)
_OK = Fixed("ok", 1)
_MAGNETIC_MEDIA = Fixed("magnetic_media", 1)
_SCREEN = (F.SCREEN_MESSAGE, F.PRINT_LINE)
_LOAN_ANSWER_FIXED = (_OK, Fixed("renewal_ok", 1), _MAGNETIC_MEDIA, Fixed("desensitize", 1), _DATE)
_LOAN_ANSWER_REQUIRED = (
    F.INSTITUTION_ID,
    F.PATRON_IDENTIFIER,
    F.ITEM_IDENTIFIER,
    F.TITLE_IDENTIFIER,
    F.DUE_DATE,
)
_LOAN_ANSWER_OPTIONAL = (
    F.FEE_TYPE,
    F.SECURITY_INHIBIT,
    F.CURRENCY_TYPE,
    F.FEE_AMOUNT,
    F.MEDIA_TYPE,
    F.ITEM_PROPERTIES,
    F.TRANSACTION_ID,
    *_SCREEN,
)

_ROWS = (
    MessageSpec(
        b"93",
        "Login",
        b"94",
        fixed=(Fixed("uid_algorithm", 1), Fixed("pwd_algorithm", 1)),
        required=(F.LOGIN_USER_ID, F.LOGIN_PASSWORD),
        optional=(F.LOCATION_CODE,),
        protocol_1=frozenset({F.LOGIN_USER_ID, F.LOGIN_PASSWORD, F.LOCATION_CODE}),
    ),
    MessageSpec(b"94", "Login Response", None, fixed=(_OK,), protocol_1=frozenset()),
    MessageSpec(
        b"99",
        "SC Status",
        b"98",
        fixed=(
            Fixed("status_code", 1),
            Fixed("max_print_width", 3),
            Fixed("protocol_version", 4),
        ),
        protocol_1=frozenset(),
    ),
    MessageSpec(
        b"98",
        "ACS Status",
        None,
        fixed=(
            Fixed("online_status", 1),
            Fixed("checkin_ok", 1),
            Fixed("checkout_ok", 1),
            Fixed("acs_renewal_policy", 1),
            Fixed("status_update_ok", 1),
            Fixed("offline_ok", 1),
            Fixed("timeout_period", 3),
            Fixed("retries_allowed", 3),
            Fixed("date_time_sync", 18),
            Fixed("protocol_version", 4),
        ),
        required=(F.INSTITUTION_ID, F.SUPPORTED_MESSAGES),
        optional=(F.LIBRARY_NAME, F.TERMINAL_LOCATION, *_SCREEN),
        protocol_1=frozenset({F.INSTITUTION_ID, F.LIBRARY_NAME, F.TERMINAL_LOCATION, *_SCREEN}),
    ),
    MessageSpec(
        b"23",
        "Patron Status Request",
        b"24",
        fixed=(_LANGUAGE, _DATE),
        required=(
            F.INSTITUTION_ID,
            F.PATRON_IDENTIFIER,
            F.TERMINAL_PASSWORD,
            F.PATRON_PASSWORD,
        ),
        protocol_1=frozenset({F.INSTITUTION_ID, F.PATRON_IDENTIFIER, F.TERMINAL_PASSWORD, F.PATRON_PASSWORD}),
    ),
    MessageSpec(
        b"24",
        "Patron Status Response",
        None,
        fixed=(_PATRON_STATUS, _LANGUAGE, _DATE),
        required=(F.INSTITUTION_ID, F.PATRON_IDENTIFIER, F.PERSONAL_NAME),
        optional=(
            F.VALID_PATRON,
            F.VALID_PATRON_PASSWORD,
            F.CURRENCY_TYPE,
            F.FEE_AMOUNT,
            *_SCREEN,
        ),
        protocol_1=frozenset({F.INSTITUTION_ID, F.PATRON_IDENTIFIER, F.PERSONAL_NAME, *_SCREEN}),
    ),
    MessageSpec(
        b"63",
        "Patron Information",
        b"64",
        fixed=(_LANGUAGE, _DATE, Fixed("summary", 10)),
        required=(F.INSTITUTION_ID, F.PATRON_IDENTIFIER),
        optional=(F.TERMINAL_PASSWORD, F.PATRON_PASSWORD, F.START_ITEM, F.END_ITEM),
    ),
    MessageSpec(
        b"64",
        "Patron Information Response",
        None,
        fixed=(
            _PATRON_STATUS,
            _LANGUAGE,
            _DATE,
            Fixed("hold_items_count", 4),
            Fixed("overdue_items_count", 4),
            Fixed("charged_items_count", 4),
            Fixed("fine_items_count", 4),
            Fixed("recall_items_count", 4),
            Fixed("unavailable_holds_count", 4),
        ),
        required=(F.INSTITUTION_ID, F.PATRON_IDENTIFIER, F.PERSONAL_NAME),
        optional=(
            F.HOLD_ITEMS_LIMIT,
            F.OVERDUE_ITEMS_LIMIT,
            F.CHARGED_ITEMS_LIMIT,
            F.VALID_PATRON,
            F.VALID_PATRON_PASSWORD,
            F.CURRENCY_TYPE,
            F.FEE_AMOUNT,
            F.FEE_LIMIT,
            F.HOLD_ITEMS,
            F.OVERDUE_ITEMS,
            F.CHARGED_ITEMS,
            F.FINE_ITEMS,
            F.RECALL_ITEMS,
            F.UNAVAILABLE_HOLD_ITEMS,
            F.HOME_ADDRESS,
            F.EMAIL_ADDRESS,
            F.HOME_PHONE_NUMBER,
            F.PATRON_EXPIRY,
            F.PATRON_BIRTH_DATE,
            F.PATRON_CLASS,
            F.PATRON_INTERNET_PROFILE,
            *_SCREEN,
        ),
    ),
    MessageSpec(
        b"11",
        "Checkout",
        b"12",
        fixed=(Fixed("sc_renewal_policy", 1), _NO_BLOCK, _DATE, _NB_DUE_DATE),
        required=(
            F.INSTITUTION_ID,
            F.PATRON_IDENTIFIER,
            F.ITEM_IDENTIFIER,
            F.TERMINAL_PASSWORD,
        ),
        optional=(F.ITEM_PROPERTIES, F.PATRON_PASSWORD, F.FEE_ACKNOWLEDGED, F.CANCEL),
        protocol_1=frozenset({F.INSTITUTION_ID, F.PATRON_IDENTIFIER, F.ITEM_IDENTIFIER, F.TERMINAL_PASSWORD}),
    ),
    MessageSpec(
        b"12",
        "Checkout Response",
        None,
        fixed=_LOAN_ANSWER_FIXED,
        required=_LOAN_ANSWER_REQUIRED,
        optional=(F.VALID_PATRON, *_LOAN_ANSWER_OPTIONAL),
        protocol_1=frozenset({*_LOAN_ANSWER_REQUIRED, *_SCREEN}),
    ),
    MessageSpec(
        b"09",
        "Checkin",
        b"10",
        fixed=(_NO_BLOCK, _DATE, Fixed("return_date", 18)),
        required=(
            F.CURRENT_LOCATION,
            F.INSTITUTION_ID,
            F.ITEM_IDENTIFIER,
            F.TERMINAL_PASSWORD,
        ),
        optional=(F.ITEM_PROPERTIES, F.CANCEL),
        protocol_1=frozenset({F.CURRENT_LOCATION, F.INSTITUTION_ID, F.ITEM_IDENTIFIER, F.TERMINAL_PASSWORD}),
    ),
    MessageSpec(
        b"10",
        "Checkin Response",
        None,
        fixed=(_OK, Fixed("resensitize", 1), _MAGNETIC_MEDIA, Fixed("alert", 1), _DATE),
        required=(F.INSTITUTION_ID, F.ITEM_IDENTIFIER, F.PERMANENT_LOCATION),
        optional=(
            F.TITLE_IDENTIFIER,
            F.SORT_BIN,
            F.PATRON_IDENTIFIER,
            F.MEDIA_TYPE,
            F.ITEM_PROPERTIES,
            F.COLLECTION_CODE,
            F.CALL_NUMBER,
            F.DESTINATION_LOCATION,
            F.ALERT_TYPE,
            F.HOLD_PATRON_IDENTIFIER,
            F.HOLD_PATRON_NAME,
            *_SCREEN,
        ),
        protocol_1=frozenset({F.INSTITUTION_ID, F.ITEM_IDENTIFIER, F.PERMANENT_LOCATION, *_SCREEN}),
    ),
    MessageSpec(
        b"17",
        "Item Information",
        b"18",
        fixed=(_DATE,),
        required=(F.INSTITUTION_ID, F.ITEM_IDENTIFIER),
        optional=(F.TERMINAL_PASSWORD,),
    ),
    MessageSpec(
        b"18",
        "Item Information Response",
        None,
        fixed=(
            Fixed("circulation_status", 2),
            Fixed("security_marker", 2),
            Fixed("fee_type", 2),
            _DATE,
        ),
        required=(F.ITEM_IDENTIFIER, F.TITLE_IDENTIFIER),
        optional=(
            F.HOLD_QUEUE_LENGTH,
            F.DUE_DATE,
            F.RECALL_DATE,
            F.HOLD_PICKUP_DATE,
            F.OWNER,
            F.CURRENCY_TYPE,
            F.FEE_AMOUNT,
            F.MEDIA_TYPE,
            F.PERMANENT_LOCATION,
            F.CURRENT_LOCATION,
            F.ITEM_PROPERTIES,
            F.COLLECTION_CODE,
            *_SCREEN,
        ),
    ),
    MessageSpec(
        b"19",
        "Item Status Update",
        b"20",
        fixed=(_DATE,),
        required=(F.INSTITUTION_ID, F.ITEM_IDENTIFIER, F.ITEM_PROPERTIES),
        optional=(F.TERMINAL_PASSWORD, F.PATRON_IDENTIFIER),
    ),
    MessageSpec(
        b"20",
        "Item Status Update Response",
        None,
        fixed=(_OK, _DATE),
        required=(F.ITEM_IDENTIFIER,),
        optional=(F.TITLE_IDENTIFIER, F.ITEM_PROPERTIES, *_SCREEN),
    ),
    MessageSpec(
        b"29",
        "Renew",
        b"30",
        fixed=(Fixed("third_party_allowed", 1), _NO_BLOCK, _DATE, _NB_DUE_DATE),
        required=(F.INSTITUTION_ID, F.PATRON_IDENTIFIER),
        optional=(
            F.PATRON_PASSWORD,
            F.ITEM_IDENTIFIER,
            F.TITLE_IDENTIFIER,
            F.TERMINAL_PASSWORD,
            F.ITEM_PROPERTIES,
            F.FEE_ACKNOWLEDGED,
        ),
    ),
    MessageSpec(
        b"30",
        "Renew Response",
        None,
        fixed=_LOAN_ANSWER_FIXED,
        required=_LOAN_ANSWER_REQUIRED,
        optional=_LOAN_ANSWER_OPTIONAL,
    ),
    MessageSpec(
        b"65",
        "Renew All",
        b"66",
        fixed=(_DATE,),
        required=(F.INSTITUTION_ID, F.PATRON_IDENTIFIER),
        optional=(F.PATRON_PASSWORD, F.TERMINAL_PASSWORD, F.FEE_ACKNOWLEDGED),
    ),
    MessageSpec(
        b"66",
        "Renew All Response",
        None,
        fixed=(_OK, Fixed("renewed_count", 4), Fixed("unrenewed_count", 4), _DATE),
        required=(F.INSTITUTION_ID,),
        optional=(F.RENEWED_ITEMS, F.UNRENEWED_ITEMS, *_SCREEN),
    ),
    MessageSpec(
        b"15",
        "Hold",
        b"16",
        fixed=(Fixed("hold_mode", 1), _DATE),
        required=(F.INSTITUTION_ID, F.PATRON_IDENTIFIER),
        optional=(
            F.EXPIRATION_DATE,
            F.PICKUP_LOCATION,
            F.HOLD_TYPE,
            F.PATRON_PASSWORD,
            F.ITEM_IDENTIFIER,
            F.TITLE_IDENTIFIER,
            F.TERMINAL_PASSWORD,
            F.FEE_ACKNOWLEDGED,
        ),
    ),
    MessageSpec(
        b"16",
        "Hold Response",
        None,
        fixed=(_OK, Fixed("available", 1), _DATE),
        required=(F.INSTITUTION_ID, F.PATRON_IDENTIFIER),
        optional=(
            F.EXPIRATION_DATE,
            F.QUEUE_POSITION,
            F.PICKUP_LOCATION,
            F.ITEM_IDENTIFIER,
            F.TITLE_IDENTIFIER,
            *_SCREEN,
        ),
    ),
    MessageSpec(
        b"35",
        "End Patron Session",
        b"36",
        fixed=(_DATE,),
        required=(F.INSTITUTION_ID, F.PATRON_IDENTIFIER),
        optional=(F.TERMINAL_PASSWORD, F.PATRON_PASSWORD),
    ),
    MessageSpec(
        b"36",
        "End Session Response",
        None,
        fixed=(Fixed("end_session", 1), _DATE),
        required=(F.INSTITUTION_ID, F.PATRON_IDENTIFIER),
        optional=_SCREEN,
    ),
    MessageSpec(
        b"37",
        "Fee Paid",
        b"38",
        fixed=(
            _DATE,
            Fixed("fee_type", 2),
            Fixed("payment_type", 2),
            Fixed("currency_type", 3),
        ),
        required=(F.FEE_AMOUNT, F.INSTITUTION_ID, F.PATRON_IDENTIFIER),
        optional=(
            F.TERMINAL_PASSWORD,
            F.PATRON_PASSWORD,
            F.FEE_IDENTIFIER,
            F.TRANSACTION_ID,
        ),
    ),
    MessageSpec(
        b"38",
        "Fee Paid Response",
        None,
        fixed=(Fixed("payment_accepted", 1), _DATE),
        required=(F.INSTITUTION_ID, F.PATRON_IDENTIFIER),
        optional=(F.TRANSACTION_ID, *_SCREEN),
    ),
    MessageSpec(
        b"25",
        "Patron Enable",
        b"26",
        fixed=(_DATE,),
        required=(F.INSTITUTION_ID, F.PATRON_IDENTIFIER),
        optional=(F.TERMINAL_PASSWORD, F.PATRON_PASSWORD),
    ),
    MessageSpec(
        b"26",
        "Patron Enable Response",
        None,
        fixed=(_PATRON_STATUS, _LANGUAGE, _DATE),
        required=(F.INSTITUTION_ID, F.PATRON_IDENTIFIER, F.PERSONAL_NAME),
        optional=(F.VALID_PATRON, F.VALID_PATRON_PASSWORD, *_SCREEN),
    ),
    MessageSpec(
        b"01",
        "Block Patron",
        b"24",
        fixed=(Fixed("card_retained", 1), _DATE),
        required=(
            F.INSTITUTION_ID,
            F.BLOCKED_CARD_MESSAGE,
            F.PATRON_IDENTIFIER,
            F.TERMINAL_PASSWORD,
        ),
        protocol_1=frozenset(
            {
                F.INSTITUTION_ID,
                F.BLOCKED_CARD_MESSAGE,
                F.PATRON_IDENTIFIER,
                F.TERMINAL_PASSWORD,
            }
        ),
    ),
    MessageSpec(b"97", "Request ACS Resend", None, protocol_1=frozenset()),
    MessageSpec(b"96", "Request SC Resend", None, protocol_1=frozenset()),
)

MESSAGES: Final[Mapping[bytes, MessageSpec]] = MappingProxyType({row.code: row for row in _ROWS})
"""Every message by its code."""

REQUESTS: Final[Mapping[bytes, MessageSpec]] = MappingProxyType(
    {code: spec for code, spec in MESSAGES.items() if spec.response is not None}
)
"""What a self-check machine asks; besides these it may send 97."""

ACS_RESEND: Final = b"97"
"""Request ACS Resend: the machine asks for the last answer again."""

SC_RESEND: Final = b"96"
"""Request SC Resend: the ACS did not understand the request and did not execute it."""
