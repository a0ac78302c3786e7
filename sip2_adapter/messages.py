"""A SIP2 message as a value, and typed views on the ones that are read. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum, unique

from sip2_adapter.fields import SECRET_FIELDS, FieldId
from sip2_adapter.grammar import MESSAGES, MessageSpec

Field = tuple[bytes, bytes]
"""An identifier and its value, both as they stand on the wire."""


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

    def replace_values(self, change: Callable[[bytes, bytes], bytes | None]) -> Sip2Message:
        """Return the message with each value put through ``change(field_id, value)``; None drops the field.

        AY and AZ stay as they were; ``codec.seal`` makes them right.
        """
        changed = tuple(
            (field_id, new) for field_id, value in self.fields if (new := change(field_id, value)) is not None
        )
        return self if changed == self.fields else replace(self, fields=changed)

    def with_fixed(self, fixed: bytes) -> Sip2Message:
        """Return the message with other fixed fields."""
        return replace(self, fixed=fixed)

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
    encrypted: bool = False
    """A non-zero algorithm for user id or password; nobody implements one."""

    @classmethod
    def of(cls, message: Sip2Message) -> LoginRequest:
        """Read a 93."""
        return cls(
            login_user_id=message.value(FieldId.LOGIN_USER_ID) or b"",
            login_password=message.value(FieldId.LOGIN_PASSWORD) or b"",
            encrypted=message.fixed != b"00",
        )


@dataclass(frozen=True)
class PatronInformationRequest:
    """63 Patron Information. ``first`` and ``last`` are the 1-based window of the item list."""

    summary: bytes
    patron_identifier: bytes = field(repr=False)
    patron_password: bytes | None = field(repr=False)
    first: int = 1
    last: int | None = None

    @classmethod
    def of(cls, message: Sip2Message) -> PatronInformationRequest:
        """Read a 63; a window that is no number is no window."""
        first, last = message.value(FieldId.START_ITEM), message.value(FieldId.END_ITEM)
        return cls(
            summary=message.fixed_field("summary"),
            patron_identifier=message.value(FieldId.PATRON_IDENTIFIER) or b"",
            patron_password=message.value(FieldId.PATRON_PASSWORD),
            first=int(first) if first and first.isdigit() else 1,
            last=int(last) if last and last.isdigit() else None,
        )

    @property
    def wanted_list(self) -> int | None:
        """The index of the first Y of the summary: the one list that is asked for."""
        index = self.summary.find(b"Y")
        return None if index < 0 else index


@dataclass(frozen=True)
class CheckoutRequest:
    """11 Checkout. ``no_block`` says that the loan happened off-line and must be taken as it is."""

    item_identifier: bytes
    no_block: bool
    fee_acknowledged: bool
    patron_identifier: bytes = field(repr=False)

    @classmethod
    def of(cls, message: Sip2Message) -> CheckoutRequest:
        """Read an 11."""
        return cls(
            item_identifier=message.value(FieldId.ITEM_IDENTIFIER) or b"",
            no_block=message.fixed_field("no_block") == b"Y",
            fee_acknowledged=message.value(FieldId.FEE_ACKNOWLEDGED) == b"Y",
            patron_identifier=message.value(FieldId.PATRON_IDENTIFIER) or b"",
        )
