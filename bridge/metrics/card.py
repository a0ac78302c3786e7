"""What became of cards that were laid, for Prometheus: counted from the audit log as it grows.

Cards are judged by the web server, in as many processes and on as many nodes as there are; the audit log
is what all of them write. So each node counts all, from the moment at which it starts. Labels are words of
the audit log: the library, what happened, the refusal's name, and why. None names a patron or a card.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Collection, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from bridge.models import AuditTag
from bridge.ports import AuditReader

logger = logging.getLogger(__name__)

OUTCOMES = {
    AuditTag.LINK_CREATED.value: "linked",
    AuditTag.LINK_REFUSED.value: "link_refused",
    AuditTag.LINK_SUSPENDED.value: "link_suspended",
    AuditTag.PATRON_IDENTIFIED.value: "identified",
    AuditTag.IDENTIFICATION_REFUSED.value: "identification_refused",
    AuditTag.SESSION_OPENED.value: "session_opened",
    AuditTag.SESSION_FOR_REVIEW.value: "session_for_review",
    AuditTag.SESSION_DENIED.value: "session_refused",
}
"""What is counted, and under which name; a session for review is also one that was opened."""

Outcome = tuple[str, str, str, str]
"""The labels: library, outcome, problem, why; the last two may be empty."""


class CardMetrics(Collector):
    """Counts what ``OUTCOMES`` names in the audit logs of *libraries* from now on."""

    def __init__(self, registry: CollectorRegistry, reader: AuditReader, libraries: Collection[str]) -> None:
        self._reader = reader
        self._last = {library_id: reader.last_sequence(library_id) for library_id in libraries}
        self._counts: Counter[Outcome] = Counter()
        self._lock = threading.Lock()
        registry.register(self)

    def describe(self) -> Iterator[Metric]:
        """Return the counter without values."""
        yield _family()

    def collect(self) -> Iterator[Metric]:
        """Return the counts; those of before while the database cannot be read."""
        with self._lock:
            try:
                for library_id in self._last:
                    self._read_on(library_id)
            except Exception as error:  # noqa: BLE001  # the proxy's own counters must be read all the same
                logger.warning("the audit log cannot be read: %s", type(error).__name__)
            family = _family()
            for labels, count in sorted(self._counts.items()):
                family.add_metric(labels, count)
        yield family

    def _read_on(self, library_id: str) -> None:
        for event in self._reader.events_after(library_id, self._last[library_id]):
            outcome = OUTCOMES.get(event.tag)
            if outcome is not None:
                details = json.loads(event.details)
                problem = details.get("problem", details.get("reason", ""))
                # The audit log tells a refusal that goes on and on in one line, with how often it was.
                times = int(details.get("repeated", 1))
                self._counts[library_id, outcome, problem, details.get("why", "")] += times
            self._last[library_id] = event.sequence


def _family() -> CounterMetricFamily:
    return CounterMetricFamily(
        "koha_jpki_cards",
        "What became of cards that were laid, and of links that were found revoked",
        labels=["library", "outcome", "problem", "why"],
    )
