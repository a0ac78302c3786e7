"""A number in an application of the city on the card (条例利用, カードAP), read before all else. Pure.

Which application, which file and where the number lies in it is published nowhere; the caller's settings
say it, and without them nothing of this exists. The number can be read by whoever holds the card and is not
signed: it proves nothing, and nothing may be lent or linked on its word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, unique

from jpki.apdu import CommandApdu
from jpki.card import GuardedConnection
from jpki.connection import SmartCardConnection
from jpki.constants import (
    CLA_INTERINDUSTRY,
    FORBIDDEN_APPLICATION_IDS,
    JPKI_APPLICATION_ID,
    SELECT_BY_NAME,
    SELECT_FILE_UNDER_APPLICATION,
    SELECT_WITHOUT_ANSWER,
    Instruction,
)
from jpki.errors import ApduRefused, CardApplicationAbsent, CardError, MalformedCardData
from jpki.status import StatusWord

APPLICATION_ID_LENGTHS = range(5, 17)
"""Bytes of an application identifier (ISO/IEC 7816-4, 8.2.1.2)."""

MAXIMUM_OFFSET = 0x7FFF
"""READ BINARY addresses 15 bits."""

MAXIMUM_NUMBER_LENGTH = 64
"""Bytes. One short READ BINARY, in the reach of every reader."""

_FILLERS = b"\x00\xff "


@unique
class NumberEncoding(StrEnum):
    """How the number is written in its file."""

    ASCII = "ascii"
    BCD = "bcd"  # two digits in a byte, the first in its high half; F fills up


@dataclass(frozen=True)
class CardApplication:
    """Where the number lies: ``length`` bytes from ``offset`` of one file of one application.

    Raises ``ValueError`` for what cannot be, and for an application that no library may touch, a part of
    its identifier, or a longer one: a card may select by either.
    """

    application_id: bytes = field(repr=False)
    file_id: bytes = field(repr=False)
    offset: int = field(repr=False)
    length: int = field(repr=False)
    encoding: NumberEncoding = NumberEncoding.ASCII

    def __post_init__(self) -> None:
        if len(self.application_id) not in APPLICATION_ID_LENGTHS:
            raise ValueError("an application identifier has 5 to 16 bytes")
        for forbidden in FORBIDDEN_APPLICATION_IDS:
            if forbidden.startswith(self.application_id) or self.application_id.startswith(forbidden):
                raise ValueError("this application of the card may not be touched")
        if len(self.file_id) != 2:
            raise ValueError("a file identifier has 2 bytes")
        if not 0 <= self.offset <= MAXIMUM_OFFSET or not 1 <= self.length <= MAXIMUM_NUMBER_LENGTH:
            raise ValueError("the number does not lie where READ BINARY can reach it")

    def decode(self, content: bytes) -> str:
        """Return the number without what fills it up. Raises ``MalformedCardData``."""
        if self.encoding is NumberEncoding.BCD:
            number = content.hex().upper().rstrip("F")
            is_number = number.isdigit()
        else:
            number = content.strip(_FILLERS).decode("ascii", errors="replace")
            is_number = number.isascii() and number.isprintable() and bool(number)
        if not is_number:
            raise MalformedCardData("no number where the settings say that one lies")
        return number


class CardNumberGate(SmartCardConnection):
    """A one-way gate: first the number, then the JPKI application, and no way back until power-off.

    Before the JPKI application is selected, three commands pass beside its SELECT: select the one other
    application, select its one file, read the number; each byte for byte. So no PIN can reach it. From then
    on ``GuardedConnection`` decides, which lets no other application be selected. Raises ``ApduRefused``.
    """

    def __init__(self, connection: SmartCardConnection, application: CardApplication) -> None:
        self._connection = connection
        self._application = application
        self._jpki = GuardedConnection(connection)
        self._at_jpki = False
        self._select_application = _select(SELECT_BY_NAME, application.application_id)
        self._select_file = _select(SELECT_FILE_UNDER_APPLICATION, application.file_id)
        self._read = CommandApdu(
            CLA_INTERINDUSTRY,
            Instruction.READ_BINARY,
            application.offset >> 8,
            application.offset & 0xFF,
            le=application.length,
        ).encode()

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        """Pass *apdu* on if it is on the list of this moment."""
        if self._at_jpki:
            return self._jpki.send_and_receive(apdu)
        if apdu == _SELECT_JPKI:
            data, status_word = self._jpki.send_and_receive(apdu)
            self._at_jpki = status_word == StatusWord.SUCCESS
            return data, status_word
        if apdu not in (self._select_application, self._select_file, self._read):
            raise ApduRefused("not one of the commands by which the number is read")
        return self._connection.send_and_receive(apdu)

    def read_number(self) -> str:
        """Return the number.

        Raises ``CardApplicationAbsent`` where the card has no such application, ``CardError`` where it does
        not give the number without more, ``MalformedCardData``, and ``ApduRefused`` once the JPKI application
        is selected.
        """
        _, status_word = self.send_and_receive(self._select_application)
        if status_word == StatusWord.NO_PRECISE_DIAGNOSIS:  # of the first command after power-on
            _, status_word = self.send_and_receive(self._select_application)
        if status_word != StatusWord.SUCCESS:
            raise CardApplicationAbsent(status_word)
        _, status_word = self.send_and_receive(self._select_file)
        if status_word != StatusWord.SUCCESS:
            raise CardError(status_word)
        content, status_word = self.send_and_receive(self._read)
        if status_word != StatusWord.SUCCESS or len(content) != self._application.length:
            raise CardError(status_word)
        return self._application.decode(content)


def _select(p1: int, identifier: bytes) -> bytes:
    return CommandApdu(CLA_INTERINDUSTRY, Instruction.SELECT, p1, SELECT_WITHOUT_ANSWER, identifier).encode()


_SELECT_JPKI = _select(SELECT_BY_NAME, JPKI_APPLICATION_ID)
