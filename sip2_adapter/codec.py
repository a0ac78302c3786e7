"""Frames to messages and back, and the checksum. Pure.

A frame is a message without its terminator. Sources: 3M SIP2 2.00, "Error detection"; what Koha sums
where no encoding is set was observed on the wire.
"""

from __future__ import annotations

import re
from typing import Final
from zlib import adler32

from sip2_adapter.errors import (
    ChecksumMismatch,
    LocalProtocolError,
    MalformedMessage,
    UnknownMessage,
)
from sip2_adapter.fields import DELIMITER, FieldId
from sip2_adapter.grammar import MESSAGES, SC_RESEND
from sip2_adapter.messages import ErrorDetection, Field, Sip2Message

DIGITS: Final = tuple(b"%04X" % value for value in range(0x10000))
"""Every checksum as it is written; a table, because writing one takes longer than summing up a message."""

_ADLER_EXACT: Final = 256
_CHECKSUM: Final = re.compile(rb"AZ([0-9A-Fa-f]{4})([| ]*)\Z")
_SEQUENCE: Final = re.compile(rb"AY([0-9])\Z")
_UNSENDABLE: Final = re.compile(rb"[\r\n\0|]")


def byte_sum(data: bytes) -> int:
    """Return the sum of the bytes, ten times faster than ``sum``."""
    # The low half of Adler-32 is 1 + the sum modulo 65521, which 256 bytes of 255 do not reach.
    if len(data) <= _ADLER_EXACT:
        return (adler32(data) & 0xFFFF) - 1
    return sum(
        (adler32(data[start : start + _ADLER_EXACT]) & 0xFFFF) - 1
        for start in range(0, len(data), _ADLER_EXACT)
    )


def checksum_value(message: bytes) -> int:
    """Return the number that AZ holds for *message*, which runs from the code to ``AZ`` inclusive."""
    if len(message) <= _ADLER_EXACT:
        return (1 - adler32(message)) & 0xFFFF  # as ``byte_sum``, in one step
    return -byte_sum(message) & 0xFFFF


def checksum(message: bytes) -> bytes:
    """Return the four hex digits for *message*, which runs from the code to ``AZ`` inclusive."""
    return DIGITS[checksum_value(message)]


def decode(frame: bytes) -> Sip2Message:
    """Read one frame.

    Raises ``MalformedMessage``, ``UnknownMessage`` or ``ChecksumMismatch``. A checksum is looked for
    at the end of the frame, behind AY or at the place of a field; blanks and delimiters may follow it.
    """
    code = frame[:2]
    spec = MESSAGES.get(code)
    if spec is None:
        if len(code) < 2 or not code.isalnum():
            raise MalformedMessage("a message starts with a two-digit code")
        raise UnknownMessage(code)
    body_start = 2 + spec.fixed_length
    if len(frame) < body_start:
        raise MalformedMessage(f"{len(frame)} bytes, a message {code.decode()} has at least {body_start}")

    body, sequence, received, trailing = _split_error_detection(frame, body_start)
    detection = ErrorDetection.NONE
    if received is not None:
        covered = frame[: len(frame) - len(trailing) - len(received)]
        detection = _verify(covered, received)
    segments = body.split(DELIMITER)
    delimited = segments[-1] == b""
    if delimited:
        segments.pop()
    return Sip2Message(
        code=code,
        fixed=frame[2:body_start],
        fields=tuple([(segment[:2], segment[2:]) for segment in segments]),
        delimited=delimited,
        sequence=sequence,
        checksum=received,
        trailing=trailing,
        error_detection=detection,
    )


def encode(message: Sip2Message) -> bytes:
    """Return the frame of *message* as it stands; ``seal`` first if anything was changed."""
    frame = _body(message, delimited=message.delimited)
    if message.sequence is not None:
        frame += b"AY%d" % message.sequence
    if message.checksum is not None:
        frame += b"AZ" + message.checksum
    return frame + message.trailing


def seal(message: Sip2Message, sequence: int | None) -> Sip2Message:
    """Return *message* with AY *sequence* and the AZ of its bytes; with None, without either."""
    code, fixed, fields = message.code, message.fixed, message.fields
    if sequence is None:
        return Sip2Message(code, fixed, fields, message.delimited)
    # A field that lacks its delimiter would swallow AY: Koha reads AY by place, others do not.
    covered = _body(message, delimited=True) + b"AY%dAZ" % sequence
    return Sip2Message(
        code,
        fixed,
        fields,
        sequence=sequence,
        checksum=checksum(covered),
        error_detection=ErrorDetection.BYTES,
    )


def build(code: bytes, fixed: bytes = b"", fields: tuple[Field, ...] = ()) -> Sip2Message:
    """Return a message of our own.

    Raises ``LocalProtocolError`` if the fixed part has the wrong length or a value holds a
    delimiter, CR, LF or NUL, with which one field could be made to look like several.
    """
    spec = MESSAGES[code]
    if len(fixed) != spec.fixed_length:
        raise LocalProtocolError(f"{spec.name}: {len(fixed)} fixed characters instead of {spec.fixed_length}")
    for field_id, value in fields:
        if _UNSENDABLE.search(value):
            raise LocalProtocolError(f"{spec.name}: {field_id!r} holds a delimiter or a terminator")
    return Sip2Message(code=code, fixed=fixed, fields=tuple(fields))


def text_value(text: str, encoding: str) -> bytes:
    """Return *text* as a value that is safe in any field: no delimiter, no control characters.

    The delimiter becomes ``&#124;``, as Koha writes it; what *encoding* lacks becomes ``?``.
    """
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode(encoding, "replace").replace(DELIMITER, b"&#124;")


RESEND_AFTER_BAD_CHECKSUM: Final = SC_RESEND + b"AZ" + checksum(SC_RESEND + b"AZ")
"""``96AZFEF6``: what an ACS answers to a message whose checksum is wrong."""

ACS_RESEND_REQUEST: Final = b"97AZ" + checksum(b"97AZ")
"""``97AZFEF5``: what a machine sends when an answer's checksum is wrong."""


def _body(message: Sip2Message, *, delimited: bool) -> bytes:
    """Return the message up to AY."""
    segments = [field_id + value for field_id, value in message.fields]
    if delimited:
        segments.append(b"")
    return message.code + message.fixed + DELIMITER.join(segments)


def _split_error_detection(frame: bytes, body_start: int) -> tuple[bytes, int | None, bytes | None, bytes]:
    """Return the variable fields, AY, AZ and what stands behind AZ."""
    at = frame.rfind(FieldId.CHECKSUM)
    found = _CHECKSUM.match(frame, at) if at >= body_start else None
    if found is None:
        return frame[body_start:], None, None, b""
    if at - 3 >= body_start and (sequence := _SEQUENCE.match(frame, at - 3, at)):
        return frame[body_start : at - 3], int(sequence[1]), found[1], found[2]
    if at == body_start or frame[at - 1 : at] == DELIMITER:
        return frame[body_start:at], None, found[1], found[2]
    return frame[body_start:], None, None, b""


def _verify(covered: bytes, received: bytes) -> ErrorDetection:
    value = int(received, 16)
    if (byte_sum(covered) + value) & 0xFFFF == 0:
        return ErrorDetection.BYTES
    if not covered.isascii():
        try:
            code_points = sum(map(ord, covered.decode("utf-8")))
        except UnicodeDecodeError:
            pass
        else:
            if (code_points + value) & 0xFFFF == 0:
                return ErrorDetection.CODE_POINTS
    raise ChecksumMismatch(covered[:2])
