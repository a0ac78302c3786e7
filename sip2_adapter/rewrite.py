"""Putting the card number in where a machine sent a token, and taking it out of the answer. Pure.

Everything else of a message stays as it was, byte for byte. Where patron identifiers stand in
requests and answers was observed on Koha's wire: 10 names patrons whom the request did not name.
"""

from __future__ import annotations

import re
from typing import Final

from sip2_adapter.fields import ITEM_FIELDS, UNKNOWN_LANGUAGE, FieldId
from sip2_adapter.messages import Sip2Message

_CHECKIN_RESPONSE: Final = b"10"
_NAMES_A_PATRON: Final = frozenset(
    {FieldId.PATRON_IDENTIFIER, FieldId.HOLD_PATRON_IDENTIFIER, FieldId.HOLD_PATRON_NAME}
)
_BLANK_LANGUAGE: Final = b"   "


def patron_identifier(message: Sip2Message) -> bytes | None:
    """Return whom a request names, without padding; None where it names nobody."""
    if not message.spec.names_patron:
        return None
    return (message.value(FieldId.PATRON_IDENTIFIER) or b"").strip() or None


def is_ambiguous(frame: bytes, request: Sip2Message) -> bool:
    """Whether Koha may read *request* otherwise than we do: two patrons in it, or a byte that Koha drops."""
    identifiers = set(request.values(FieldId.PATRON_IDENTIFIER))
    return len(identifiers) > 1 or b"\n" in frame or b"\0" in frame


def put_patron_identifier(request: Sip2Message, cardnumber: bytes) -> Sip2Message:
    """Return *request* with *cardnumber* as its patron identifier (AA), wherever it stands."""
    return request.with_fields(
        (field_id, cardnumber if field_id == FieldId.PATRON_IDENTIFIER else value)
        for field_id, value in request.fields
    )


def restore_patron_identifier(answer: Sip2Message, cardnumber: bytes, token: bytes) -> Sip2Message:
    """Return *answer* with *token* wherever it held *cardnumber*, in AA as in any text.

    Item barcodes are left alone, even one that looks like the card number. The comparison ignores
    case, as Koha's own does. An answer without the card number is returned as it is.
    """
    wanted = cardnumber.lower()
    fields = list(answer.fields)
    changed = False
    for place, (field_id, value) in enumerate(fields):
        if wanted in value.lower() and field_id not in ITEM_FIELDS:
            fields[place] = (field_id, _replace_number(value, cardnumber, token))
            changed = True
    return answer.with_fields(fields) if changed else answer


def _replace_number(value: bytes, cardnumber: bytes, token: bytes) -> bytes:
    if len(value) == len(cardnumber):
        return token
    # A number that goes on is another one: a short card number stands in dates and prices.
    pattern = (
        _not_within(cardnumber[:1], b"?<!") + re.escape(cardnumber) + _not_within(cardnumber[-1:], b"?!")
    )
    return re.sub(pattern, lambda _: token, value, flags=re.IGNORECASE)


def _not_within(end: bytes, where: bytes) -> bytes:
    """Return the pattern for "no more digits", or "no more letters", beyond one *end* of a number."""
    more = rb"\d" if end.isdigit() else rb"[A-Za-z]" if end.isalpha() else b""
    return b"(" + where + more + b")" if more else b""


def drop_other_patrons(answer: Sip2Message, cardnumber: bytes | None) -> Sip2Message:
    """Return *answer* without the patrons that a 10 names and the request did not.

    Koha answers a return with its last borrower (AA) and, for a hold, whose it is (CY, DA). Only
    *cardnumber*, the patron at the machine, may stay. Other messages are returned as they are.
    """
    if answer.code != _CHECKIN_RESPONSE:
        return answer
    kept = tuple(
        (field_id, value)
        for field_id, value in answer.fields
        if field_id not in _NAMES_A_PATRON or value == cardnumber
    )
    return answer if kept == answer.fields else answer.with_fields(kept)


def names_another_patron(answer: Sip2Message, cardnumber: bytes) -> bool:
    """Whether *answer*, to a request for *cardnumber*, is about somebody else."""
    if answer.code == _CHECKIN_RESPONSE or not answer.spec.names_patron:
        return False
    answered = answer.value(FieldId.PATRON_IDENTIFIER)
    return answered is not None and answered.strip().lower() != cardnumber.lower()


def fill_language(request: Sip2Message) -> Sip2Message:
    """Return *request* with a blank language replaced by ``000``: Koha would print it as nothing."""
    where = request.spec.slices.get("language")
    if where is None or request.fixed[where] != _BLANK_LANGUAGE:
        return request
    # The language is the first fixed field of 23 and 63, the two requests that have one.
    return request.with_fixed(UNKNOWN_LANGUAGE + request.fixed[where.stop :])
