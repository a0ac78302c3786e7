"""The short way for the usual message: the patron identifier swapped where it stands. Pure.

The usual message is sealed as the specification has it, ``|AYnAZhhhh`` with a right byte sum at its
very end, and names one patron, once, behind a delimiter. Of such a message nothing needs to be taken
apart. Whatever is unusual in the least gets None here and goes the general way, ``codec`` and
``rewrite``; both ways give the same bytes, which a test holds them to.

Bytes are compared and looked for in the quickest way, as counted in instructions of Python 3.11: a piece
by slicing and ``==`` (two thirds of ``startswith``), several bytes by ``find`` (``in`` first takes what
it looks for to be a number, which costs as much again), one byte, which is a number, by ``in`` (a sixth
of ``find``). The tables are plain dictionaries for the same reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sip2_adapter.codec import DIGITS, byte_sum, checksum_value
from sip2_adapter.fields import DELIMITER, FieldId
from sip2_adapter.grammar import MESSAGES, REQUESTS

_AA: Final = FieldId.PATRON_IDENTIFIER.value
_PATRON: Final = DELIMITER + FieldId.PATRON_IDENTIFIER.value
_BLANK_LANGUAGE: Final = b"   "
_LINE_FEED: Final = 10
_TAILS: Final = frozenset(b"|AY%dAZ" % number for number in range(10))

_BODY: Final[Mapping[bytes, int]] = {code: 2 + spec.fixed_length for code, spec in MESSAGES.items()}
"""Where the variable fields begin, by code."""

_FIXED: Final[Mapping[bytes, Mapping[str, slice]]] = {
    code: {name: slice(2 + where.start, 2 + where.stop) for name, where in spec.slices.items()}
    for code, spec in MESSAGES.items()
}
"""Where each fixed field stands, by code and name."""

_REQUESTS: Final[Mapping[bytes, int]] = {
    code: _BODY[code]
    for code, spec in REQUESTS.items()
    # 35 ends the patron's session; Koha may close the connection instead of answering 01.
    if spec.names_patron and MESSAGES[spec.response or b""].names_patron and code not in {b"35", b"01"}
}
"""Where the variable fields of the requests begin that this module knows."""

_ANSWERS: Final[Mapping[bytes, tuple[bytes, int]]] = {
    code: (response, _BODY[response]) for code in _REQUESTS if (response := REQUESTS[code].response)
}
"""By the code of the request: the code of the answer, and where its variable fields begin."""


def patron_of(request: bytes) -> bytes | None:
    """Return the patron identifier of a usual request, None for any other request."""
    begin = request.find(_PATRON) + len(_PATRON)
    identifier = request[begin : request.find(DELIMITER, begin)]
    usual = identifier.isalnum() and _value_about(_PATRON + identifier + DELIMITER, request) is not None
    return identifier if usual else None


def is_usual_answer(answer: bytes, request: bytes) -> bool:
    """Say whether *answer* is the usual one to *request*, a usual one."""
    code, body = _ANSWERS[request[:2]]
    return answer[:2] == code and len(answer) >= body + 10 and _sealed_value(answer, request) is not None


class ExpressSwap:
    """The bytes that change places for one patron, made once in a session."""

    __slots__ = ("_back", "_cardnumber", "_field", "_shown_field", "_there", "_token_field")

    def __init__(self, token: bytes, cardnumber: bytes, shown: bytes) -> None:
        self._cardnumber = cardnumber
        self._token_field = _PATRON + token + DELIMITER
        self._field = _PATRON + cardnumber + DELIMITER
        self._shown_field = _PATRON + shown + DELIMITER
        self._there = byte_sum(token) - byte_sum(cardnumber)
        self._back = byte_sum(cardnumber) - byte_sum(shown)

    @classmethod
    def for_patron(cls, token: bytes, cardnumber: bytes, shown: bytes) -> ExpressSwap | None:
        """Return the swap; None for a card number with letters: Koha does not regard their case."""
        # A number within the token could not be seen to be gone.
        plain = token.isalnum() and cardnumber.isdigit() and cardnumber not in shown
        return cls(token, cardnumber, shown) if plain else None

    def to_acs(self, request: bytes) -> bytes | None:
        """Return a usual *request* with the card number in place of the token; None for any other."""
        value = _value_about(self._token_field, request)
        if value is None:
            return None
        return request[:-4].replace(self._token_field, self._field) + DIGITS[(value + self._there) & 0xFFFF]

    def to_kiosk(self, answer: bytes, request: bytes) -> bytes | None:
        """Return the usual *answer* to *request* with the number replaced; None unless it is in AA alone."""
        code, body = _ANSWERS[request[:2]]
        before, found, behind = answer.partition(self._field)
        if answer[:2] != code or not found or len(before) < body or before.find(_AA, body) >= 0:
            return None
        value = _sealed_value(answer, request)
        if value is None:
            return None
        swapped = before + self._shown_field + behind[:-4] + DIGITS[(value + self._back) & 0xFFFF]
        return swapped if swapped.find(self._cardnumber) < 0 else None


def _value_about(patron_field: bytes, request: bytes) -> int | None:
    """Return the value of AZ of a usual *request* in which *patron_field* stands once, None for another."""
    body = _REQUESTS.get(request[:2])
    if body is None or request.find(patron_field) < body:
        return None
    covered = request[:-4]
    if covered.count(_PATRON) != 1 or covered[body : body + 2] == _AA:
        return None
    if covered[-6:] not in _TAILS or covered[2:5] == _BLANK_LANGUAGE:
        return None
    if _LINE_FEED in covered or 0 in covered:  # Koha drops them, and reads another message
        return None
    value = checksum_value(covered)
    return value if request[-4:] == DIGITS[value] else None


def _sealed_value(answer: bytes, request: bytes) -> int | None:
    """Return the value of AZ of an *answer* that is sealed as the *request* is; None for any other."""
    value = checksum_value(answer[:-4])
    return value if answer[-10:] == request[-10:-4] + DIGITS[value] else None


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
