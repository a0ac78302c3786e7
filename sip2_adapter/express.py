"""The short way for the usual message: the patron identifier swapped where it stands. Pure.

The usual message is sealed as the specification has it, ``|AYnAZhhhh`` with a right byte sum at its
very end, and names one patron, once, behind a delimiter. Of such a message nothing needs to be taken
apart. Whatever is unusual in the least gets None here and goes the general way, ``codec`` and
``rewrite``; both ways give the same bytes, which a test holds them to.

Bytes are looked for with ``find``: ``in`` first takes what it looks for to be a number, which costs as
much again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sip2_adapter.codec import DIGITS, byte_sum
from sip2_adapter.fields import DELIMITER, FieldId
from sip2_adapter.grammar import MESSAGES, REQUESTS

_PATRON: Final = DELIMITER + FieldId.PATRON_IDENTIFIER.value
_BLANK_LANGUAGE: Final = b"   "
_TAILS: Final = frozenset(b"|AY%dAZ" % number for number in range(10))

_BODY: Final[Mapping[bytes, int]] = MappingProxyType(
    {code: 2 + spec.fixed_length for code, spec in MESSAGES.items()}
)
"""Where the variable fields begin, by code."""

_FIXED: Final[Mapping[bytes, Mapping[str, slice]]] = MappingProxyType(
    {
        code: {name: slice(2 + where.start, 2 + where.stop) for name, where in spec.slices.items()}
        for code, spec in MESSAGES.items()
    }
)
"""Where each fixed field stands, by code and name."""

_REQUESTS: Final[Mapping[bytes, int]] = MappingProxyType(
    {
        code: _BODY[code]
        for code, spec in REQUESTS.items()
        # 35 ends the patron's session; Koha may close the connection instead of answering 01.
        if spec.names_patron and MESSAGES[spec.response or b""].names_patron and code not in {b"35", b"01"}
    }
)
"""Where the variable fields of the requests begin that this module knows."""

_ANSWERS: Final[Mapping[bytes, tuple[bytes, int]]] = MappingProxyType(
    {code: (response, _BODY[response] + 10) for code in _REQUESTS if (response := REQUESTS[code].response)}
)
"""By the code of the request: the code of the answer, and how short one can be."""


def read_request(frame: bytes) -> tuple[int, int, int] | None:
    """Return where the patron identifier of a usual request begins and ends, and the value of its AZ.

    None for any other request.
    """
    body = _REQUESTS.get(frame[:2])
    if body is None or frame[-10:-4] not in _TAILS or frame[2:5] == _BLANK_LANGUAGE:
        return None
    begin = frame.find(_PATRON, body) + 3
    if begin < body or frame.startswith(b"AA", body):
        return None
    end = frame.index(DELIMITER, begin)
    if not frame[begin:end].isalnum() or frame.find(_PATRON, end) > 0:
        return None
    if frame.find(b"\n") >= 0 or frame.find(b"\0") >= 0:  # Koha drops them, and reads another message
        return None
    value = -byte_sum(frame[:-4]) & 0xFFFF
    return (begin, end, value) if frame.endswith(DIGITS[value]) else None


def read_answer(frame: bytes, request: bytes) -> int | None:
    """Return the value of AZ of the usual answer to *request*, a usual one; None for any other."""
    code, shortest = _ANSWERS[request[:2]]
    if frame[:2] != code or len(frame) < shortest:
        return None
    value = -byte_sum(frame[:-4]) & 0xFFFF
    return value if frame.endswith(request[-10:-4] + DIGITS[value]) else None


class ExpressSwap:
    """The bytes that change places for one patron, made once in a session."""

    __slots__ = ("_back", "_cardnumber", "_field", "_shown_field", "_there")

    def __init__(self, token: bytes, cardnumber: bytes, shown: bytes) -> None:
        self._cardnumber = cardnumber
        self._field = _PATRON + cardnumber + DELIMITER
        self._shown_field = _PATRON + shown + DELIMITER
        self._there = byte_sum(token) - byte_sum(cardnumber)
        self._back = byte_sum(cardnumber) - byte_sum(shown)

    @classmethod
    def for_patron(cls, token: bytes, cardnumber: bytes, shown: bytes) -> ExpressSwap | None:
        """Return the swap; None for a card number with letters: Koha does not regard their case."""
        # A number within the token could not be seen to be gone.
        plain = cardnumber.isdigit() and cardnumber not in shown
        return cls(token, cardnumber, shown) if plain else None

    def to_acs(self, request: bytes, begin: int, end: int, value: int) -> bytes:
        """Return *request* with the card number where ``read_request`` found the token."""
        digits = DIGITS[(value + self._there) & 0xFFFF]
        return request[:begin] + self._cardnumber + request[end:-4] + digits

    def to_kiosk(self, answer: bytes, value: int) -> bytes | None:
        """Return a usual *answer*, AZ of *value*, with the number replaced; None unless it is in AA alone."""
        body = _BODY[answer[:2]]
        begin = answer.find(_PATRON, body)
        if not answer.startswith(self._field, begin) or answer.startswith(b"AA", body):
            return None
        rest = answer[begin + len(self._field) : -4]
        swapped = answer[:begin] + self._shown_field + rest + DIGITS[(value + self._back) & 0xFFFF]
        return swapped if swapped.find(self._cardnumber) < 0 else None


class FrameView:
    """A usual answer, read field by field where somebody asks: see ``messages.MessageView``."""

    __slots__ = ("_frame", "code")

    def __init__(self, frame: bytes) -> None:
        self._frame = frame
        self.code = frame[:2]

    def fixed_field(self, name: str) -> bytes:
        """Return the fixed field *name* of the specification."""
        return self._frame[_FIXED[self.code][name]]

    def value(self, field_id: bytes) -> bytes | None:
        """Return the first value of a variable field, None if it is absent."""
        frame, end = self._frame, len(self._frame) - 9
        begin = _BODY[self.code]
        if not frame.startswith(field_id, begin):
            begin = frame.find(DELIMITER + field_id, begin, end) + 1
            if begin == 0:
                return None
        return frame[begin + 2 : frame.index(DELIMITER, begin)]
