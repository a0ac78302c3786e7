"""Counters and timings of the SIP2 proxy for Prometheus. Nothing here names a patron or a machine's user.

Labels are the library, the SIP2 code and how it ended: few values each, so that the series stay few.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sip2_adapter.observer import Result
from sip2_adapter.resolver import Refusal

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
"""From what the proxy adds to the longest that a machine waits."""

_UPSTREAM = {Result.ANSWERED: 1, Result.ACS_UNAVAILABLE: 0, Result.OUTCOME_UNKNOWN: 0}
"""What the end of a request says of Koha's SIP2 server; the others say nothing."""


class ProxyMetrics:
    """``sip2_adapter.ProxyObserver`` over a Prometheus registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._kiosks = Gauge(
            "koha_jpki_sip2_kiosks", "Self-check machines connected", ["library"], registry=registry
        )
        self._requests = Counter(
            "koha_jpki_sip2_requests",
            "Requests of self-check machines, by SIP2 code and how they ended",
            ["library", "code", "result"],
            registry=registry,
        )
        self._seconds = Histogram(
            "koha_jpki_sip2_request_seconds",
            "From a whole request to its answer, Koha's part included",
            ["library", "code"],
            buckets=SECONDS,
            registry=registry,
        )
        self._refusals = Counter(
            "koha_jpki_sip2_refusals",
            "Patrons refused, by reason; 'guessing' is an alarm",
            ["library", "reason"],
            registry=registry,
        )
        self._upstream = Gauge(
            "koha_jpki_sip2_koha_up",
            "Whether Koha's SIP2 server gave the last answer that was asked of it",
            ["library"],
            registry=registry,
        )

    def kiosk_connected(self, listener: str) -> None:
        """Count a machine."""
        self._kiosks.labels(listener).inc()

    def kiosk_disconnected(self, listener: str) -> None:
        """Count it no more."""
        self._kiosks.labels(listener).dec()

    def request_answered(self, listener: str, code: bytes, result: Result, seconds: float) -> None:
        """Count a request and its time."""
        code_text = code.decode("ascii")
        self._requests.labels(listener, code_text, result.value).inc()
        self._seconds.labels(listener, code_text).observe(seconds)
        if result in _UPSTREAM:
            self._upstream.labels(listener).set(_UPSTREAM[result])

    def patron_refused(self, listener: str, refusal: Refusal) -> None:
        """Count a refusal."""
        self._refusals.labels(listener, refusal.value).inc()
