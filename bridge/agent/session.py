"""One card on the reader, from its first byte to the bridge's word.

The order spends nothing needlessly: label → certificate → the bridge's word → tries → PIN → VERIFY → SIGN →
power off → response. A refusal before the PIN leaves the card's counter alone. VERIFY is sent at most
once: after a wrong PIN the patron is told the tries left, and lays the card again to try again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from bridge.agent.api_client import BridgeApi, Identified, Linked, ProgressStep, SessionOpened, TerminalState
from bridge.agent.errors import AgentError, BridgeCallError, PinTooLate
from bridge.agent.pin import PinPad, ask_pin, require_spare_attempt
from bridge.agent.reader import Connect, use_card
from bridge.agent.screen import Screen, VisitStep
from jpki.card import JpkiSession
from jpki.card_application import CardApplication, CardNumberGate
from jpki.challenge import ChallengePurpose, check_message
from jpki.connection import SmartCardConnection
from jpki.errors import (
    CardApplicationAbsent,
    CardRemoved,
    InvalidPinError,
    JpkiError,
    MalformedChallenge,
    PinBlockedError,
)

REPORTS: tuple[tuple[type[JpkiError], ProgressStep], ...] = (
    (InvalidPinError, ProgressStep.PIN_WRONG),
    (PinBlockedError, ProgressStep.PIN_BLOCKED),
    (CardRemoved, ProgressStep.CARD_REMOVED),
)
"""The step that the bridge is told for what went wrong here; anything else is ``GIVEN_UP``."""


@dataclass(frozen=True)
class CardRefused:
    """The card was not accepted, and *error* says why."""

    error: JpkiError | AgentError


Outcome = Linked | Identified | SessionOpened | CardRefused


@dataclass(frozen=True)
class SignedChallenge:
    """What the card gave for the bridge's challenge."""

    challenge_id: str
    certificate: bytes = field(repr=False)
    signature: bytes = field(repr=False)


class CardVisit:
    """A patron's card at one terminal. Serves one card, once."""

    def __init__(
        self,
        terminal: TerminalState,
        purpose: ChallengePurpose,
        bridge: BridgeApi,
        screen: Screen,
        pin_pad: PinPad,
        *,
        card_application: CardApplication | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terminal = terminal
        self._purpose = purpose
        self._bridge = bridge
        self._screen = screen
        self._pin_pad = pin_pad
        self._card_application = card_application
        self._card_number: str | None = None
        self._monotonic = monotonic
        self._challenge_id: str | None = None

    def serve(self, connect: Connect) -> Outcome:
        """Identify the card and return the bridge's word. Whatever goes wrong is ``CardRefused``, not raised.

        The card is powered off before the response is sent: it must not wait for the network.
        """
        try:
            signed = use_card(connect, self._sign, self._read_card_number)
        except BridgeCallError as error:  # the bridge has refused: it need not be told
            return CardRefused(error)
        except (JpkiError, AgentError) as error:
            self._report(error)
            return CardRefused(error)
        self._screen.show_step(VisitStep.SENDING)
        try:
            return self._bridge.respond(
                signed.challenge_id, signed.certificate, signed.signature, self._card_number
            )
        except BridgeCallError as error:
            return CardRefused(error)

    def _read_card_number(self, connection: SmartCardConnection) -> SmartCardConnection:
        """Read the number of the city's application, where the library asks for it and the card has one."""
        self._card_number = None  # of a card that was laid before
        application = self._card_application
        wanted = self._terminal.reads_card_number and self._purpose is ChallengePurpose.LINK
        if application is None or not wanted:
            return connection
        gate = CardNumberGate(connection, application)
        with suppress(CardApplicationAbsent):  # whoever has no such number is linked without one
            self._card_number = gate.read_number()
        return gate

    def _sign(self, card: JpkiSession) -> SignedChallenge:
        self._screen.show_step(VisitStep.READING)
        certificate = card.read_certificate()
        self._screen.show_step(VisitStep.CHECKING)
        asked_at = self._monotonic()
        challenge = self._bridge.begin(self._purpose, certificate, self._card_number)
        self._challenge_id = challenge.challenge_id
        purpose = check_message(
            challenge.message,
            library_id=self._terminal.library_id,
            terminal_id=self._terminal.terminal_id,
            certificate_der=certificate,
        )
        if purpose is not self._purpose:
            raise MalformedChallenge("the message is for another purpose")
        attempts = card.attempts_remaining()
        require_spare_attempt(attempts)
        self._screen.show_step(VisitStep.ATTEMPTS_REMAINING, attempts_remaining=attempts)
        if self._purpose is not ChallengePurpose.BORROW:  # at a self-check machine nobody watches
            # A request that is over meanwhile is refused here, before the PIN.
            self._bridge.progress(challenge.challenge_id, ProgressStep.PIN_REQUESTED, attempts)
        lifetime = challenge.lifetime.total_seconds()
        pin = ask_pin(self._pin_pad, self._screen, lambda: asked_at + lifetime - self._monotonic())
        # A card left on the reader: whoever types now may be somebody else, and a try would be wasted.
        if self._monotonic() - asked_at >= lifetime:
            raise PinTooLate
        card.verify_pin(pin)
        self._screen.show_step(VisitStep.SIGNING)
        signature = card.sign(challenge.message)
        return SignedChallenge(challenge.challenge_id, certificate, signature)

    def _report(self, error: JpkiError | AgentError) -> None:
        if self._challenge_id is None:
            return
        step = next((step for kind, step in REPORTS if isinstance(error, kind)), ProgressStep.GIVEN_UP)
        attempts_remaining = getattr(error, "attempts_remaining", None)
        # The report is for the librarian's page and the audit log; whether it arrives changes nothing here.
        with suppress(BridgeCallError):
            self._bridge.progress(self._challenge_id, step, attempts_remaining)
