"""How Koha's SIP server reads a line and writes an answer, oddities included. Pure.

Observed on the wire of Koha's own code (C4/SIP/SIPServer.pm, Sip.pm, Sip/MsgType.pm). The product's
codec is not used here on purpose: what it sends must be understood by a reader that is not its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sip2_adapter.fields import DATE_FORMAT
from sip2_adapter.grammar import MESSAGES
from sip2_adapter.simulator.account import Account, Encoding

_EDGES: Final = re.compile(rb"\A *[^A-z0-9]*|[^A-z0-9]+\Z")
_LINE_BREAKS: Final = re.compile(rb"\r?\n")
_RESEND_WITH_CHECKSUM: Final = b"97AZFEF5"


def clean(line: bytes) -> bytes:
    """Return *line* as Koha sees it: bare of everything around it outside ``A``-``z`` and digits.

    So a password that ends a message without AY loses its punctuation.
    """
    return _LINE_BREAKS.sub(b"", _EDGES.sub(b"", line))


def wants_error_detection(line: bytes) -> bool:
    """Whether the machine uses error detection: AY stands nine bytes before the end."""
    return (len(line) > 11 and line[-9:-7] == b"AY") or line == _RESEND_WITH_CHECKSUM


def checksum_is_right(line: bytes) -> bool:
    """Verify the sum of the bytes; upper or lower case hex."""
    try:
        return (sum(line[:-4]) + int(line[-4:], 16)) & 0xFFFF == 0
    except ValueError:
        return False


@dataclass(frozen=True)
class Request:
    """A request as Koha parsed it: fixed fields without trailing blanks, the first of each field."""

    code: str
    fixed: Mapping[str, str]
    fields: Mapping[str, str] = field(repr=False)
    sequence: str = ""

    def text(self, field_id: str) -> str:
        """Return a field's value, empty where it is absent."""
        return self.fields.get(field_id, "")


def parse(line: bytes) -> Request | None:
    """Read a cleaned line; None for a code that is no request.

    Bytes become characters one by one: Koha never decodes what it reads.
    """
    text = line.decode("latin-1")
    spec = MESSAGES.get(line[:2])
    if spec is None:
        return None
    fixed = {name: text[2:][where].rstrip(" ") for name, where in spec.slices.items()}
    fields: dict[str, str] = {}
    for segment in text[2 + spec.fixed_length :].split("|"):
        fields.setdefault(segment[:2], segment[2:])
    sequence = text[-7] if wants_error_detection(line) and line[:2] != b"97" else ""
    return Request(text[:2], fixed, fields, sequence)


class Answer:
    """An answer in the making: fixed text, then fields in Koha's order."""

    def __init__(self, code: str, fixed: str, account: Account, *, protocol_1: bool) -> None:
        self.text = code + fixed
        self._account = account
        known = MESSAGES[code.encode()].protocol_1
        self._known = frozenset(known or ()) if protocol_1 else None

    def add(self, field_id: str, value: str) -> Answer:
        """Add a field, empty or not."""
        account = self._account
        if field_id in account.hide_fields:
            return self
        if account.allow_fields and field_id not in account.allow_fields:
            return self
        if self._known is not None and field_id.encode() not in self._known:
            return self
        return self.add_custom(field_id, value)

    def add_custom(self, field_id: str, value: str) -> Answer:
        """Add a field that ``hide_fields`` does not reach."""
        if field_id == "AF":
            for pattern, replacement in self._account.screen_msg_regex:
                value = re.sub(pattern, replacement, value)
        self.text += field_id + value.replace("\r", " ").replace("|", "&#124;") + "|"
        return self

    def maybe(self, field_id: str, value: str) -> Answer:
        """Add a field unless it is empty; older Koha took "0" for empty, too."""
        if not value or (value == "0" and self._account.drop_zeros):
            return self
        return self.add(field_id, value)


def encode_answer(text: str, sequence: str | None, encoding: Encoding) -> bytes:
    """Return the bytes of an answer, with AY *sequence* and AZ unless it is None."""
    if sequence is None:
        return _to_bytes(text, encoding)
    text += f"AY{sequence}AZ"
    data = _to_bytes(text, encoding)
    wide = encoding == Encoding.NOT_SET and any(ord(character) > 0xFF for character in text)
    # Without an encoding Koha adds up characters and lets Perl write them out as UTF-8.
    total = sum(map(ord, text)) if wide else sum(data)
    return data + b"%04X" % (-total & 0xFFFF)


def _to_bytes(text: str, encoding: Encoding) -> bytes:
    if encoding == Encoding.UTF8:
        return text.encode("utf-8")
    if encoding == Encoding.ASCII:
        return text.encode("ascii", "replace")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8")


def sip_date(moment: datetime) -> str:
    """Return the 18 characters of a date in SIP2."""
    return moment.strftime(DATE_FORMAT)
