"""The agent's loop: ask the bridge what is to be done, wait for a card, serve it, wait until it is gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum, unique

from bridge.agent.api_client import BridgeApi, Ending, Identified, Linked, SessionOpened, TerminalState
from bridge.agent.errors import BridgeCallError, BridgeProblem, OutputUnavailable, WrongSettings
from bridge.agent.outputs import TokenOutput
from bridge.agent.pin import PinPad
from bridge.agent.reader import CardReader
from bridge.agent.screen import ENDING_STEPS, Screen, VisitStep, local_date
from bridge.agent.session import CardRefused, CardVisit, Outcome
from jpki.card_application import CardApplication
from jpki.challenge import ChallengePurpose
from jpki.errors import NoCard, ReaderError

WORK_WAIT = 25
"""Seconds for which the bridge may hold back its answer while there is no work."""

POLL_INTERVAL = 1.0
"""Seconds between two looks at a bridge that does not hold back its answer."""

CARD_WAIT = 5.0
"""Seconds to wait for a card before asking the bridge again whether it is still wanted."""

TROUBLE_PAUSE = 5.0
"""Seconds to leave a reader or a bridge alone that did not answer."""

TOKEN_STAYS = 60.0
"""Seconds after which a token that the machine has not taken is taken away."""

SELF_CHECK = "self_check"
NOT_AUTHENTICATED = "terminal-not-authenticated"


@unique
class ExitCode(IntEnum):
    """How the command ends."""

    DONE = 0
    REFUSED = 1
    WRONG_SETTINGS = 2
    READER_TROUBLE = 3


class Agent:
    """A reader, a patron's screen and PIN pad, and the bridge.

    *output* takes the one-time token to the self-check machine; without it the agent serves counters only.
    *pause* sleeps for that many seconds; *report* tells the bridge, now and then, how reader and output are.
    *card_application* is where the number of the city's application lies, if it is to be read.
    The bridge may hold back its answer for *work_wait* seconds while there is no work.
    """

    def __init__(
        self,
        bridge: BridgeApi,
        reader: CardReader,
        screen: Screen,
        pin_pad: PinPad,
        *,
        output: TokenOutput | None,
        pause: Callable[[float], None],
        report: Callable[[], None] = lambda: None,
        card_application: CardApplication | None = None,
        work_wait: int = WORK_WAIT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bridge = bridge
        self._reader = reader
        self._screen = screen
        self._pin_pad = pin_pad
        self._output = output
        self._pause = pause
        self._report = report
        self._card_application = card_application
        self._work_wait = work_wait
        self._monotonic = monotonic
        self._session_id: str | None = None
        self._wipe_at: float | None = None
        self._last_shown: VisitStep | None = None

    def run_once(self) -> ExitCode:
        """Serve one card and say how it went."""
        try:
            terminal, purpose = self._wait_for_work()
        except (BridgeCallError, ReaderError, WrongSettings) as error:
            return self._conclude(CardRefused(error))
        return self._serve(terminal, purpose)

    def run(self) -> ExitCode:
        """Serve card after card. Returns only where the settings are wrong."""
        while True:
            try:
                terminal, purpose = self._wait_for_work()
            except (BridgeCallError, ReaderError, WrongSettings) as error:
                code, then = self._conclude(CardRefused(error)), self._rest
            else:
                code, then = self._serve(terminal, purpose), self._wait_for_removal
            if code is ExitCode.WRONG_SETTINGS:
                return code
            then()

    def _wait_for_work(self) -> tuple[TerminalState, ChallengePurpose]:
        """Return when the bridge wants a card here and one lies on the reader."""
        self._last_shown = None
        wait = 0
        while True:
            self._wipe_when_due()
            self._report()
            terminal = self._bridge.terminal(wait)
            if terminal.kind == SELF_CHECK and self._output is None:
                raise WrongSettings("a self-check machine needs an output for its token")
            if terminal.purpose is None:
                self._show_once(VisitStep.WAITING_FOR_LIBRARIAN)
                if not terminal.has_waited and (wait or not self._work_wait):
                    self._pause(POLL_INTERVAL)
                wait = self._work_wait
                continue
            wait = 0
            self._show_session(terminal)
            try:
                self._reader.wait_for_card(CARD_WAIT)
            except NoCard:
                continue
            return terminal, terminal.purpose

    def _serve(self, terminal: TerminalState, purpose: ChallengePurpose) -> ExitCode:
        self._wipe()
        visit = CardVisit(
            terminal,
            purpose,
            self._bridge,
            self._screen,
            self._pin_pad,
            card_application=self._card_application,
        )
        return self._conclude(visit.serve(self._reader.connect))

    def _conclude(self, outcome: Outcome) -> ExitCode:
        match outcome:
            case Linked(not_after, ending):
                self._screen.show_step(VisitStep.LINKED, date=local_date(not_after))
                self._warn(ending)
            case Identified():
                self._screen.show_step(VisitStep.IDENTIFIED)
            case SessionOpened(token=token, ending=ending, session_id=session_id):
                try:
                    self._hand_over(token)
                except OutputUnavailable as error:
                    return self._conclude(CardRefused(error))
                self._session_id = session_id  # not before: without its token nobody is at the machine
                self._screen.show_step(VisitStep.SESSION_OPENED)
                self._warn(ending)
            case CardRefused(error):
                self._screen.show_error(error)
        return exit_code(outcome)

    def _hand_over(self, token: str) -> None:
        if self._output is not None:
            self._output.send(token)
            self._wipe_at = self._monotonic() + TOKEN_STAYS

    def _wipe_when_due(self) -> None:
        if self._wipe_at is not None and self._monotonic() >= self._wipe_at:
            self._wipe_at = None
            self._wipe()

    def _wipe(self) -> None:
        """Take away what the last patron's machine has not taken."""
        if self._output is not None:
            self._output.wipe()

    def _warn(self, ending: Ending | None) -> None:
        if ending is not None:
            step = ENDING_STEPS.get(ending.why, VisitStep.LINK_ENDS)
            self._screen.show_step(step, date=local_date(ending.at))

    def _rest(self) -> None:
        self._pause(TROUBLE_PAUSE)

    def _wait_for_removal(self) -> None:
        self._screen.show_step(VisitStep.TAKE_CARD)
        try:
            self._reader.wait_for_removal()
        except ReaderError:
            return  # the next wait for a card meets the same trouble and says so

    def _show_session(self, terminal: TerminalState) -> None:
        """Say that a card may be laid, and whether the last patron is still at the machine."""
        if self._session_id is not None and terminal.open_session_id != self._session_id:
            self._session_id = None
            self._screen.show_step(VisitStep.SESSION_ENDED)
        self._show_once(VisitStep.LAY_CARD if self._session_id is None else VisitStep.SESSION_RUNNING)

    def _show_once(self, step: VisitStep) -> None:
        if step is not self._last_shown:
            self._screen.show_step(step)
            self._last_shown = step


def exit_code(outcome: Outcome) -> ExitCode:
    """Return what a script is told of *outcome*."""
    if not isinstance(outcome, CardRefused):
        return ExitCode.DONE
    error = outcome.error
    if isinstance(error, WrongSettings):
        return ExitCode.WRONG_SETTINGS
    if isinstance(error, BridgeProblem) and error.slug == NOT_AUTHENTICATED:
        return ExitCode.WRONG_SETTINGS
    if isinstance(error, ReaderError | OutputUnavailable):
        return ExitCode.READER_TROUBLE
    return ExitCode.REFUSED
