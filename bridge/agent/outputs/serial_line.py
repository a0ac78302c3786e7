"""The token sent over a serial line, as a scanner with RS-232C sends it. Edge, over pyserial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bridge.agent.errors import OutputUnavailable, WrongSettings
from bridge.agent.outputs.output import TokenFraming

try:
    import termios

    _REFUSED: tuple[type[Exception], ...] = (OSError, ValueError, termios.error)
except ImportError:  # Windows has none
    _REFUSED = (OSError, ValueError)

BAUD_RATES = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
WRITE_TIMEOUT = 2.0
"""Seconds: a line whose other end holds the flow must not hold the agent."""


@dataclass(frozen=True)
class SerialFrame:
    """How characters go over the line: ``8N1`` and the like. Raises ``WrongSettings``."""

    baud_rate: int = 9600
    data_bits: int = 8
    parity: str = "N"
    stop_bits: int = 1

    def __post_init__(self) -> None:
        if self.baud_rate not in BAUD_RATES:
            raise WrongSettings(f"the baud rate must be one of {', '.join(map(str, BAUD_RATES))}")
        if self.data_bits not in (7, 8) or self.parity not in ("N", "E", "O") or self.stop_bits not in (1, 2):
            raise WrongSettings("the serial line takes 7 or 8 data bits, parity N, E or O, 1 or 2 stop bits")


class SerialOutput:
    """Sends the token over *device* (``/dev/ttyUSB0``, ``COM3``). The line is open only meanwhile."""

    shows_itself = False

    def __init__(self, device: str, frame: SerialFrame, framing: TokenFraming) -> None:
        self._device = device
        self._frame = frame
        self._framing = framing

    def check(self) -> str:
        """Open the line and close it again."""
        self._open().close()
        frame = self._frame
        return (
            f"serial line {self._device} {frame.baud_rate} {frame.data_bits}{frame.parity}{frame.stop_bits}"
        )

    def send(self, token: str) -> None:
        """Send the token and wait until the last character has left."""
        line = self._open()
        try:
            line.write(self._framing.around(token).encode("ascii"))
            line.flush()
        except OSError as error:  # SerialException is one
            raise OutputUnavailable(self._device, type(error).__name__) from None
        finally:
            line.close()

    def wipe(self) -> None:
        """Nothing is left."""

    def _open(self) -> Any:  # pyserial has no types
        try:
            import serial
        except ImportError:
            raise OutputUnavailable(self._device, "pyserial is not installed") from None
        frame = self._frame
        try:
            return serial.Serial(
                self._device,
                frame.baud_rate,
                bytesize=frame.data_bits,
                parity=frame.parity,
                stopbits=frame.stop_bits,
                write_timeout=WRITE_TIMEOUT,
                exclusive=True,
            )
        except _REFUSED as error:
            raise OutputUnavailable(self._device, type(error).__name__) from None
