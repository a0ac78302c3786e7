"""The serial line between the agent and the self-check machine: a pseudo-terminal with two ends."""

from __future__ import annotations

import os
import tty
from collections.abc import Iterator
from contextlib import contextmanager

MOST_OF_A_SCAN = 256
"""Bytes: more than any scanner sends at once."""


class ScannerLine:
    """The line to which the machine believes its barcode scanner is attached.

    *machine* is the machine's end, a descriptor; ``device`` the agent's, a name.
    """

    def __init__(self, machine: int, device: str) -> None:
        self._machine = machine
        self.device = device

    def scanned(self) -> str:
        """Return what the scanner has sent since the last call, "" for nothing."""
        try:
            return os.read(self._machine, MOST_OF_A_SCAN).decode("ascii").strip()
        except BlockingIOError:
            return ""


@contextmanager
def scanner_line() -> Iterator[ScannerLine]:
    """Yield a line for the block."""
    machine, agent = os.openpty()
    try:
        tty.setraw(agent)
        os.set_blocking(machine, False)
        yield ScannerLine(machine, os.ttyname(agent))
    finally:
        os.close(agent)
        os.close(machine)
