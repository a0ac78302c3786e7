"""Answers of our own, for when the ACS cannot or must not be asked. Pure.

Each is a valid message of the code that the machine waits for and looks like Koha's own refusal of
the same request (codes, order of the fields, empty ones included), so that no machine meets a shape
it has not seen. The patron identifier is echoed as the machine sent it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from sip2_adapter.codec import build
from sip2_adapter.fields import DATE_FORMAT, UNKNOWN_LANGUAGE, FieldId
from sip2_adapter.messages import Sip2Message

_F = FieldId
_UNSENDABLE: Final = re.compile(rb"[\x00-\x1f]")
_ECHO: Final = object()
"""Marks a field whose value is copied from the request."""

_DENIED_STATUS: Final = b"YYYY" + b" " * 10
_NO_ITEMS: Final = b"0000" * 6

_Layout = tuple[Callable[[bytes, bytes], bytes], tuple[tuple[FieldId, object], ...]]


def _language(request: Sip2Message) -> bytes:
    where = request.spec.slices.get("language")
    language = request.fixed[where] if where else UNKNOWN_LANGUAGE
    return language if language.isdigit() else UNKNOWN_LANGUAGE


_LAYOUTS: Final[Mapping[bytes, _Layout]] = MappingProxyType(
    {
        b"94": (lambda date, language: b"0", ()),
        b"98": (
            # Off-line: nothing is possible, "000" says so once more, three retries.
            lambda date, language: b"NNNNNN" + b"000" + b"003" + date + b"2.00",
            ((_F.INSTITUTION_ID, _ECHO), (_F.SUPPORTED_MESSAGES, b"N" * 16)),
        ),
        b"24": (
            lambda date, language: _DENIED_STATUS + language + date,
            (
                (_F.PERSONAL_NAME, b""),
                (_F.PATRON_IDENTIFIER, _ECHO),
                (_F.VALID_PATRON, b"N"),
                (_F.SCREEN_MESSAGE, None),
                (_F.INSTITUTION_ID, _ECHO),
            ),
        ),
        b"64": (
            lambda date, language: _DENIED_STATUS + language + date + _NO_ITEMS,
            (
                (_F.INSTITUTION_ID, _ECHO),
                (_F.PATRON_IDENTIFIER, _ECHO),
                (_F.PERSONAL_NAME, b""),
                (_F.VALID_PATRON, b"N"),
                (_F.SCREEN_MESSAGE, None),
            ),
        ),
        b"12": (
            lambda date, language: b"0NUN" + date,
            (
                (_F.INSTITUTION_ID, _ECHO),
                (_F.PATRON_IDENTIFIER, _ECHO),
                (_F.ITEM_IDENTIFIER, _ECHO),
                (_F.TITLE_IDENTIFIER, b""),
                (_F.DUE_DATE, b""),
                (_F.SCREEN_MESSAGE, None),
                (_F.VALID_PATRON, b"N"),
            ),
        ),
        b"10": (
            lambda date, language: b"0NUY" + date,
            (
                (_F.INSTITUTION_ID, _ECHO),
                (_F.ITEM_IDENTIFIER, _ECHO),
                (_F.PERMANENT_LOCATION, b""),
                (_F.ALERT_TYPE, b"99"),
                (_F.SCREEN_MESSAGE, None),
            ),
        ),
        b"18": (
            lambda date, language: b"010101" + date,
            (
                (_F.ITEM_IDENTIFIER, _ECHO),
                (_F.TITLE_IDENTIFIER, b""),
                (_F.SCREEN_MESSAGE, None),
            ),
        ),
        b"20": (
            lambda date, language: b"0" + date,
            ((_F.ITEM_IDENTIFIER, _ECHO), (_F.SCREEN_MESSAGE, None)),
        ),
        b"30": (
            lambda date, language: b"0NUN" + date,
            (
                (_F.PATRON_IDENTIFIER, _ECHO),
                (_F.ITEM_IDENTIFIER, _ECHO),
                (_F.TITLE_IDENTIFIER, b""),
                (_F.DUE_DATE, b""),
                (_F.INSTITUTION_ID, _ECHO),
                (_F.SCREEN_MESSAGE, None),
            ),
        ),
        b"66": (
            lambda date, language: b"0" + b"0000" + b"0000" + date,
            ((_F.INSTITUTION_ID, _ECHO), (_F.SCREEN_MESSAGE, None)),
        ),
        b"16": (
            lambda date, language: b"0N" + date,
            (
                (_F.PATRON_IDENTIFIER, _ECHO),
                (_F.INSTITUTION_ID, _ECHO),
                (_F.SCREEN_MESSAGE, None),
            ),
        ),
        b"36": (
            # Koha ends the session of anybody; a machine that reads N would stay in the session.
            lambda date, language: b"Y" + date,
            (
                (_F.INSTITUTION_ID, _ECHO),
                (_F.PATRON_IDENTIFIER, _ECHO),
                (_F.SCREEN_MESSAGE, None),
            ),
        ),
        b"38": (
            lambda date, language: b"N" + date,
            (
                (_F.INSTITUTION_ID, _ECHO),
                (_F.PATRON_IDENTIFIER, _ECHO),
                (_F.SCREEN_MESSAGE, None),
            ),
        ),
        b"26": (
            lambda date, language: _DENIED_STATUS + UNKNOWN_LANGUAGE + date,
            (
                (_F.PATRON_IDENTIFIER, _ECHO),
                (_F.PERSONAL_NAME, b""),
                (_F.VALID_PATRON, b"N"),
                (_F.SCREEN_MESSAGE, None),
                (_F.INSTITUTION_ID, _ECHO),
            ),
        ),
    }
)


def refuse(request: Sip2Message, screen_message: bytes, now: datetime) -> Sip2Message:
    """Return the answer that refuses *request*, with *screen_message* in AF.

    *now* is in the library's time zone; SIP2 dates are local. *screen_message* comes from
    ``codec.text_value``. For 99 this is the off-line status, for 93 the refused log-in.
    """
    response = request.spec.response
    if response is None:
        raise ValueError(f"{request.spec.name} has no answer of its own")
    head, layout = _LAYOUTS[response]
    fields: list[tuple[bytes, bytes]] = []
    for field_id, value in layout:
        if value is _ECHO:
            # A value that cannot be sent, with a control character in it, is no identifier either.
            fields.append((field_id, _UNSENDABLE.sub(b"", request.value(field_id) or b"")))
        elif isinstance(value, bytes):
            fields.append((field_id, value))
        else:
            fields.append((field_id, screen_message))
    date = now.strftime(DATE_FORMAT).encode("ascii")
    return build(response, head(date, _language(request)), tuple(fields))
