"""Command APDUs of ISO/IEC 7816-4 in short form. Pure.

Extended form is left out on purpose: the card refuses it for some commands, and cheap readers for
all. A PIN inside a command cannot be printed.
"""

from __future__ import annotations

from dataclasses import dataclass

from jpki.constants import Instruction

MAXIMUM_DATA = 255
MAXIMUM_EXPECTED = 256

_SECRET_DATA = frozenset({Instruction.VERIFY, Instruction.CHANGE_REFERENCE_DATA})


@dataclass(frozen=True, repr=False)
class CommandApdu:
    """One command to the card.

    ``data`` is 0-255 bytes; ``le`` is how many bytes are expected back, 1-256, or None for none.
    Raises ``ValueError`` where a part does not fit the short form.
    """

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes = b""
    le: int | None = None

    def __post_init__(self) -> None:
        if not all(0 <= byte <= 0xFF for byte in (self.cla, self.ins, self.p1, self.p2)):
            raise ValueError("CLA, INS, P1 and P2 are one byte each")
        if len(self.data) > MAXIMUM_DATA:
            raise ValueError(f"{len(self.data)} bytes of data do not fit a short APDU")
        if self.le is not None and not 1 <= self.le <= MAXIMUM_EXPECTED:
            raise ValueError(f"Le {self.le} does not fit a short APDU")

    def encode(self) -> bytes:
        """Return the bytes to send: header, Lc and data if any, Le if any (00 means 256)."""
        encoded = bytes((self.cla, self.ins, self.p1, self.p2))
        if self.data:
            encoded += bytes((len(self.data),)) + self.data
        if self.le is not None:
            encoded += bytes((self.le % 256,))
        return encoded

    @classmethod
    def decode(cls, encoded: bytes) -> CommandApdu:
        """Return the command that ``encode`` would write as *encoded*.

        Raises ``ValueError`` where the bytes are no short APDU. The message does not repeat them.
        """
        if len(encoded) < 4:
            raise ValueError("shorter than a header")
        cla, ins, p1, p2, *_ = encoded
        body = encoded[4:]
        if len(body) <= 1:
            return cls(cla, ins, p1, p2, le=_expected(body))
        data, rest = body[1 : 1 + body[0]], body[1 + body[0] :]
        if not data or len(data) != body[0] or len(rest) > 1:
            raise ValueError("Lc does not fit the length")
        return cls(cla, ins, p1, p2, data, le=_expected(rest))

    def __repr__(self) -> str:
        text = f"CommandApdu {self.cla:02X} {self.ins:02X} {self.p1:02X} {self.p2:02X}"
        if self.data:
            shown = "**" if self.ins in _SECRET_DATA else self.data.hex().upper()
            text += f" data={shown}"
        if self.le is not None:
            text += f" le={self.le}"
        return f"<{text}>"


def _expected(le_field: bytes) -> int | None:
    """Return Le from its field of no byte or one, where 00 means 256."""
    return (le_field[0] or MAXIMUM_EXPECTED) if le_field else None
