"""The card's side of vpcd, the virtual reader of vsmartcard, which pcscd loads as a driver.

Messages are a two-byte big-endian length and that many bytes. A message of one byte is the reader
speaking (power, reset, answer-to-reset); any other is a command APDU and wants an answer
(vsmartcard, ``virtualsmartcard/src/vpcd/vpcd.h``).
"""

from __future__ import annotations

import contextlib
import socket
from enum import IntEnum, unique

from jpki.simulator.card import CardTorn, SimulatedCard

DEFAULT_PORT = 0x8C7B


@unique
class Control(IntEnum):
    """Messages of one byte. All but the last expect no answer."""

    POWER_OFF = 0
    POWER_ON = 1
    RESET = 2
    ANSWER_TO_RESET = 4


class VpcdConnection:
    """A card laid on a virtual reader: made by connecting, taken away by closing."""

    def __init__(self, host: str, port: int, timeout: float = 5.0) -> None:
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._socket.settimeout(None)

    def serve(self, card: SimulatedCard) -> None:
        """Let *card* answer until it is torn away, or either side closes the connection."""
        try:
            while (message := self._receive()) is not None:
                answer = _answer(card, message)
                if answer:
                    self._socket.sendall(len(answer).to_bytes(2, "big") + answer)
        except (CardTorn, OSError):
            return
        finally:
            card.power_off()
            self.close()

    def close(self) -> None:
        """Take the card away; may be called from another thread than ``serve``."""
        with contextlib.suppress(OSError):  # the reader closed first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _receive(self) -> bytes | None:
        header = self._receive_exactly(2)
        if header is None:
            return None
        # vpcd sends length and payload in two writes and waits, by Nagle's rule, for our
        # acknowledgement between them. Delayed, that costs 40 ms a message; the option lasts once.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return self._receive_exactly(int.from_bytes(header, "big"))

    def _receive_exactly(self, length: int) -> bytes | None:
        received = b""
        while len(received) < length:
            more = self._socket.recv(length - len(received))
            if not more:
                return None
            received += more
        return received


def _answer(card: SimulatedCard, message: bytes) -> bytes:
    """Return the answer to one message, empty for none: vpcd hangs on an answer of length 0."""
    if len(message) != 1:
        return card.exchange(message)
    match message[0]:
        case Control.POWER_OFF:
            card.power_off()
        case Control.POWER_ON:
            card.power_on()
        case Control.RESET:
            card.reset()
        case Control.ANSWER_TO_RESET:
            return card.atr
    return b""
