"""How the terminals are, for Prometheus: read from the database when it is asked.

Labels are the library and the terminal. What a terminal has told is the same on every node.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bridge.models import OutputState, ReaderState, Terminal

logger = logging.getLogger(__name__)

LABELS = ("library", "terminal")


class TerminalMetrics(Collector):
    """When each terminal was last seen, and whether what it needs is there."""

    def __init__(self, registry: CollectorRegistry, terminals: Callable[[], Iterable[Terminal]]) -> None:
        self._terminals = terminals
        registry.register(self)

    def describe(self) -> Iterator[Metric]:
        """Return the gauges without values: the database is not asked at the start."""
        return self._gauges(())

    def collect(self) -> Iterator[Metric]:
        """Return the gauges; none has a value while the database cannot be read."""
        try:
            terminals = list(self._terminals())
        except Exception as error:  # noqa: BLE001  # the proxy's own counters must be read all the same
            logger.warning("the terminals cannot be read: %s", type(error).__name__)
            terminals = []
        return self._gauges(terminals)

    @staticmethod
    def _gauges(terminals: Iterable[Terminal]) -> Iterator[Metric]:
        seen = GaugeMetricFamily(
            "koha_jpki_terminal_last_seen_timestamp_seconds",
            "When a terminal's agent last called, to half a minute",
            labels=LABELS,
        )
        reader = GaugeMetricFamily(
            "koha_jpki_terminal_reader_ready", "Whether its reader was there then", labels=LABELS
        )
        output = GaugeMetricFamily(
            "koha_jpki_terminal_output_ready",
            "Whether its way to the self-check machine was there then; counters have none",
            labels=LABELS,
        )
        for terminal in terminals:
            labels = (terminal.library_id, terminal.terminal_id)
            if terminal.last_seen_at is not None:
                seen.add_metric(labels, terminal.last_seen_at.timestamp())
            if terminal.report is not None:
                reader.add_metric(labels, terminal.report.reader is ReaderState.READY)
                if terminal.report.output is not OutputState.NONE:
                    output.add_metric(labels, terminal.report.output is OutputState.READY)
        return iter((seen, reader, output))
