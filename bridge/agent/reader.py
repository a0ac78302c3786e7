"""The reader as the agent sees it; ``bridge.agent.pcsc_reader`` is one over PC/SC."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from jpki.connection import SmartCardConnection


class CardReader(Protocol):
    """A place where a card is laid. Every method may raise a ``ReaderError``."""

    def wait_for_card(self, timeout: float) -> None:
        """Return as soon as a card lies there; raises ``NoCard`` after *timeout* seconds."""

    def connect(self) -> AbstractContextManager[SmartCardConnection]:
        """Power the card and hold it exclusively for the block; power it off at the end."""

    def wait_for_removal(self) -> None:
        """Return as soon as the card that was served is gone."""
