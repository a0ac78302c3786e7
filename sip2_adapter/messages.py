"""A SIP2 message as a value, and typed views on the ones that are read. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Protocol

from sip2_adapter.fields import SECRET_FIELDS, FieldId
from sip2_adapter.grammar import MESSAGES, MessageSpec

Field = tuple[bytes, bytes]
"""An identifier and its value, both as they stand on the wire."""


class MessageView(Protocol):
    """What may be read of a message, taken apart or not: ``Sip2Message`` and ``express.FrameView``."""

    @property
    def code(self) -> bytes:
        """The two-digit code."""

    def fixed_field(self, name: str) -> bytes:
        """Return the fixed field *name* of the specification."""

    def value(self, field_id: bytes) -> bytes | None:
        """Return the first value of a variable field, None if it is absent."""


@unique
class ErrorDetection(StrEnum):
    """How a message says that it arrived whole."""

    NONE = "none"
    BYTES = "bytes"
    """AZ is the sum of the bytes, as the specification has it."""
    CODE_POINTS = "code_points"
    """AZ is the sum of Unicode code points: Koha without an encoding, sending Japanese."""


@dataclass(frozen=True, slots=True, repr=False)
class Sip2Message:
    """A message, whole: ``encode(decode(frame)) == frame`` for every frame that decodes.

    ``fixed`` is what stands between the code and the first variable field. ``fields`` keep their
    order, repetitions and unknown identifiers; a segment too short for an identifier is kept as an
    identifier of zero or one byte. ``delimited`` is False where the last field lacks its delimiter.
    ``sequence`` and ``checksum`` are AY and AZ as received, ``trailing`` is what a machine put
    behind them. ``error_detection`` says how AZ was found to be right.
    """

    code: bytes
    fixed: bytes = b""
    fields: tuple[Field, ...] = ()
    delimited: bool = True
    sequence: int | None = None
    checksum: bytes | None = None
    trailing: bytes = b""
    error_detection: ErrorDetection = ErrorDetection.NONE

    @property
    def spec(self) -> MessageSpec:
        """The row of the grammar for this code."""
        return MESSAGES[self.code]

    def fixed_field(self, name: str) -> bytes:
        """Return the fixed field *name* of the specification."""
        return self.fixed[self.spec.slices[name]]

    def value(self, field_id: bytes) -> bytes | None:
        """Return the first value of a variable field, None if it is absent. Koha, too, reads the first."""
        for found, value in self.fields:
            if found == field_id:
                return value
        return None

    def values(self, field_id: bytes) -> tuple[bytes, ...]:
        """Return every value of a variable field, in order."""
        return tuple(value for found, value in self.fields if found == field_id)

    def with_fixed(self, fixed: bytes) -> Sip2Message:
        """Return the message with other fixed fields, without AY and AZ: ``codec.seal`` makes new ones."""
        return Sip2Message(self.code, fixed, self.fields, self.delimited)

    def with_fields(self, fields: Iterable[Field]) -> Sip2Message:
        """Return the message with other variable fields, without AY and AZ: see ``codec.seal``."""
        return Sip2Message(self.code, self.fixed, tuple(fields), self.delimited)

    def __repr__(self) -> str:
        """Show which fields there are; values only of those that are nobody's secret."""
        shown = " ".join(
            field_id.decode("ascii", "backslashreplace") + ("=..." if field_id in SECRET_FIELDS else "")
            for field_id, _ in self.fields
        )
        return f"<Sip2Message {self.code.decode('ascii', 'backslashreplace')} {shown}>"


@dataclass(frozen=True)
class LoginRequest:
    """93 Login."""

    login_user_id: bytes
    login_password: bytes = field(repr=False)

    @classmethod
    def of(cls, message: Sip2Message) -> LoginRequest:
        """Read a 93."""
        return cls(
            login_user_id=message.value(FieldId.LOGIN_USER_ID) or b"",
            login_password=message.value(FieldId.LOGIN_PASSWORD) or b"",
        )
