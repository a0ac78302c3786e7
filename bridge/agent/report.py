"""Telling the bridge how reader and output are: when that changes, and every half minute."""

from __future__ import annotations

from collections.abc import Callable

from bridge.agent.api_client import BridgeApi, OutputStatus, ReaderStatus
from bridge.agent.errors import AgentError, BridgeCallError
from bridge.agent.outputs import TokenOutput
from bridge.agent.reader import CardReader

REPORT_EVERY = 30.0
"""Seconds; the bridge takes a terminal that says nothing for longer for one that is off."""


class StateReporter:
    """Tells for one agent. The output is looked at once: a look may plug a keyboard in."""

    def __init__(
        self,
        bridge: BridgeApi,
        reader: CardReader,
        output: TokenOutput | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._bridge = bridge
        self._reader = reader
        self._monotonic = monotonic
        self._output = _status_of(output)
        self._told: tuple[ReaderStatus, float] | None = None

    def tell(self) -> None:
        """Tell if it is time to. What does not arrive is told again with the next call."""
        reader, now = self._reader.status(), self._monotonic()
        if self._told is not None and self._told[0] is reader and now < self._told[1] + REPORT_EVERY:
            return
        try:
            self._bridge.report_state(reader, self._output)
        except BridgeCallError:
            return
        self._told = (reader, now)


def _status_of(output: TokenOutput | None) -> OutputStatus:
    if output is None:
        return OutputStatus.NONE
    try:
        output.check()
    except AgentError:
        return OutputStatus.UNAVAILABLE
    return OutputStatus.READY
