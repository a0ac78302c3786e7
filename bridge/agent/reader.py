"""The reader as the agent sees it, and how a card on it is used.

``bridge.agent.pcsc_reader`` is one over PC/SC.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from bridge.agent.api_client import ReaderStatus
from jpki.card import JpkiSession
from jpki.connection import SmartCardConnection
from jpki.errors import PinAlreadyVerified

Result = TypeVar("Result")

Connect = Callable[[], AbstractContextManager[SmartCardConnection]]
"""Powers the card on the reader and holds it for the block; powers it off at the end."""


class CardReader(Protocol):
    """A place where a card is laid. Every method may raise a ``ReaderError``."""

    def wait_for_card(self, timeout: float) -> None:
        """Return as soon as a card lies there; raises ``NoCard`` after *timeout* seconds."""

    def status(self) -> ReaderStatus:
        """Return how the reader is, without touching a card. Raises nothing."""

    def connect(self) -> AbstractContextManager[SmartCardConnection]:
        """Power the card and hold it exclusively for the block; power it off at the end."""

    def card_is_there(self) -> bool:
        """Return whether the card that is being served still lies there."""

    def wait_for_removal(self) -> None:
        """Return as soon as the card that was served is gone."""


def use_card(
    connect: Connect,
    work: Callable[[JpkiSession], Result],
    before: Callable[[SmartCardConnection], SmartCardConnection] = lambda connection: connection,
) -> Result:
    """Power the card, do *work* with it, power it off, and return what the work gave.

    *before* may read something before the JPKI application is selected; what it returns is used from then on.
    Where the card says that its PIN is verified already, somebody else left it open: it is powered
    off, which makes it forget, and all the work is done again, once. The patron was not asked before,
    because the card says so when it is asked for the attempts. Raises what *work* raises, and
    ``PinAlreadyVerified`` where the card says so again.
    """
    try:
        with connect() as connection:
            return work(JpkiSession(before(connection)))
    except PinAlreadyVerified:
        with connect() as connection:
            return work(JpkiSession(before(connection)))
