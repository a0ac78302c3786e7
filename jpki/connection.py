"""The seam between the card logic and whatever carries the bytes: one method.

``jpki.pcsc`` implements it over PC/SC, ``jpki.simulator`` in the same process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod


class SmartCardConnection(ABC):
    """A powered card, held exclusively, until whoever made the connection lets it go."""

    @abstractmethod
    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        """Send one command APDU; return the response data and the status word (0x0000-0xFFFF).

        Raises a ``ReaderError`` where no answer came (card removed, reader gone). A status word
        that means failure is an answer, not an error of this layer.
        """
