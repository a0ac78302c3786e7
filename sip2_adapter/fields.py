"""The field identifiers of SIP2 and what each holds. Pure.

Sources: 3M Standard Interchange Protocol 2.00 (field names); 3M extension of 2005 (CR-DA);
Envisionware and Koha for the P* fields.
"""

from __future__ import annotations

from enum import Enum, unique
from typing import Final

DELIMITER: Final = b"|"
"""Ends every variable field; it cannot occur in a value."""

DATE_FORMAT: Final = "%Y%m%d    %H%M%S"
"""A SIP2 date: 18 characters; the four blanks say local time."""

UNKNOWN_LANGUAGE: Final = b"000"
"""Language "unknown". Koha prints a blank language as nothing and so breaks its own fixed header."""


@unique
class FieldId(bytes, Enum):
    """Two-character identifiers of the variable fields."""

    PATRON_IDENTIFIER = b"AA"
    ITEM_IDENTIFIER = b"AB"
    TERMINAL_PASSWORD = b"AC"
    PATRON_PASSWORD = b"AD"
    PERSONAL_NAME = b"AE"
    SCREEN_MESSAGE = b"AF"
    PRINT_LINE = b"AG"
    DUE_DATE = b"AH"
    TITLE_IDENTIFIER = b"AJ"
    BLOCKED_CARD_MESSAGE = b"AL"
    LIBRARY_NAME = b"AM"
    TERMINAL_LOCATION = b"AN"
    INSTITUTION_ID = b"AO"
    CURRENT_LOCATION = b"AP"
    PERMANENT_LOCATION = b"AQ"
    HOLD_ITEMS = b"AS"
    OVERDUE_ITEMS = b"AT"
    CHARGED_ITEMS = b"AU"
    FINE_ITEMS = b"AV"
    SEQUENCE_NUMBER = b"AY"
    CHECKSUM = b"AZ"
    HOME_ADDRESS = b"BD"
    EMAIL_ADDRESS = b"BE"
    HOME_PHONE_NUMBER = b"BF"
    OWNER = b"BG"
    CURRENCY_TYPE = b"BH"
    CANCEL = b"BI"
    TRANSACTION_ID = b"BK"
    VALID_PATRON = b"BL"
    RENEWED_ITEMS = b"BM"
    UNRENEWED_ITEMS = b"BN"
    FEE_ACKNOWLEDGED = b"BO"
    START_ITEM = b"BP"
    END_ITEM = b"BQ"
    QUEUE_POSITION = b"BR"
    PICKUP_LOCATION = b"BS"
    FEE_TYPE = b"BT"
    RECALL_ITEMS = b"BU"
    FEE_AMOUNT = b"BV"
    EXPIRATION_DATE = b"BW"
    SUPPORTED_MESSAGES = b"BX"
    HOLD_TYPE = b"BY"
    HOLD_ITEMS_LIMIT = b"BZ"
    OVERDUE_ITEMS_LIMIT = b"CA"
    CHARGED_ITEMS_LIMIT = b"CB"
    FEE_LIMIT = b"CC"
    UNAVAILABLE_HOLD_ITEMS = b"CD"
    HOLD_QUEUE_LENGTH = b"CF"
    FEE_IDENTIFIER = b"CG"
    ITEM_PROPERTIES = b"CH"
    SECURITY_INHIBIT = b"CI"
    RECALL_DATE = b"CJ"
    MEDIA_TYPE = b"CK"
    SORT_BIN = b"CL"
    HOLD_PICKUP_DATE = b"CM"
    LOGIN_USER_ID = b"CN"
    LOGIN_PASSWORD = b"CO"
    LOCATION_CODE = b"CP"
    VALID_PATRON_PASSWORD = b"CQ"
    # 3M extension of 2005.
    COLLECTION_CODE = b"CR"
    CALL_NUMBER = b"CS"
    DESTINATION_LOCATION = b"CT"
    ALERT_TYPE = b"CV"
    HOLD_PATRON_IDENTIFIER = b"CY"
    HOLD_PATRON_NAME = b"DA"
    # Envisionware, as Koha sends them; PA is the expiry date in Evergreen, an access flag at KohaSuomi.
    PATRON_EXPIRY = b"PA"
    PATRON_BIRTH_DATE = b"PB"
    PATRON_CLASS = b"PC"
    PATRON_INTERNET_PROFILE = b"PI"


SECRET_FIELDS: Final = frozenset(
    {
        FieldId.PATRON_IDENTIFIER,
        FieldId.TERMINAL_PASSWORD,
        FieldId.PATRON_PASSWORD,
        FieldId.PERSONAL_NAME,
        FieldId.HOME_ADDRESS,
        FieldId.EMAIL_ADDRESS,
        FieldId.HOME_PHONE_NUMBER,
        FieldId.LOGIN_USER_ID,
        FieldId.LOGIN_PASSWORD,
        FieldId.HOLD_PATRON_IDENTIFIER,
        FieldId.HOLD_PATRON_NAME,
        FieldId.PATRON_BIRTH_DATE,
    }
)
"""Fields that name a person or open a door: never logged, never printed."""

ITEM_FIELDS: Final = frozenset(
    {
        FieldId.ITEM_IDENTIFIER,
        FieldId.HOLD_ITEMS,
        FieldId.OVERDUE_ITEMS,
        FieldId.CHARGED_ITEMS,
        FieldId.RECALL_ITEMS,
        FieldId.UNAVAILABLE_HOLD_ITEMS,
        FieldId.RENEWED_ITEMS,
        FieldId.UNRENEWED_ITEMS,
    }
)
"""Fields that hold an item's barcode and nothing else."""
