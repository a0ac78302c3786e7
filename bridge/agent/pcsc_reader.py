"""A ``CardReader`` over PC/SC. Imported by the command when it starts, for pyscard is an optional part."""

from __future__ import annotations

from contextlib import AbstractContextManager

from bridge.agent.api_client import ReaderStatus
from jpki import pcsc
from jpki.connection import SmartCardConnection
from jpki.errors import NoCard, ReaderError


class PcscReader:
    """The reader called *name*, or any reader on which a card is laid."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._reader_with_card: str | None = None

    def wait_for_card(self, timeout: float) -> None:
        """Wait on the reader, or on all of them."""
        self._reader_with_card = pcsc.wait_for_card(self._name, timeout)

    def status(self) -> ReaderStatus:
        """Ask pcscd which readers there are."""
        try:
            readers = pcsc.list_readers()
        except ReaderError:
            return ReaderStatus.NO_SERVICE
        there = bool(readers) if self._name is None else self._name in readers
        return ReaderStatus.READY if there else ReaderStatus.MISSING

    def connect(self) -> AbstractContextManager[SmartCardConnection]:
        """Connect to the card that was waited for; raises ``NoCard`` where none was."""
        if self._reader_with_card is None:
            raise NoCard
        return pcsc.connect(self._reader_with_card)

    def card_is_there(self) -> bool:
        """Look at the reader whose card was waited for."""
        return self._reader_with_card is not None and not pcsc.wait_for_removal(self._reader_with_card, 0)

    def wait_for_removal(self) -> None:
        """Wait on the reader whose card was served."""
        if self._reader_with_card is not None:
            pcsc.wait_for_removal(self._reader_with_card)
