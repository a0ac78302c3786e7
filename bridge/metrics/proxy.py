"""Counters and timings of the SIP2 proxy for Prometheus. Nothing here names a patron or a machine's user.

Labels are the library (on a port of several the first of them, until a machine has logged in), the SIP2
code and how it ended: few values each, so that the series stay few.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import accumulate
from operator import add

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sip2_adapter.observer import Cut, LoginRefusal, Result
from sip2_adapter.resolver import Refusal

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""From what the proxy adds to the longest that a machine waits."""

_BUCKETS = (*map(str, SECONDS), "+Inf")

_UPSTREAM = {Result.ANSWERED: 1, Result.ACS_UNAVAILABLE: 0, Result.OUTCOME_UNKNOWN: 0}
"""What the end of a request says of Koha's SIP2 server; the others say nothing."""


class _Times:
    """How many requests took how long: one count for each of ``SECONDS`` and one for longer.

    ``koha_up`` is what such requests say of Koha's SIP2 server, None where that is nothing.
    """

    __slots__ = ("counts", "koha_up", "total")

    def __init__(self, koha_up: int | None = None) -> None:
        self.koha_up = koha_up
        self.counts = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def add(self, other: _Times) -> None:
        """Count those of *other*, too."""
        self.counts = list(map(add, self.counts, other.counts))
        self.total += other.total

    def buckets(self) -> list[tuple[str, float]]:
        """Return the counts added up, as Prometheus wants them."""
        return list(zip(_BUCKETS, accumulate(self.counts), strict=True))


class ProxyMetrics(Collector):
    """``sip2_adapter.ProxyObserver`` over a Prometheus registry.

    Counts in plain dictionaries, which the registry reads when it is asked: counting a message through
    the library's own counters takes longer than passing the message on.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._kiosks: Counter[str] = Counter()
        self._requests: dict[tuple[str, bytes, Result], _Times] = {}
        self._refusals: Counter[tuple[str, Refusal]] = Counter()
        self._cuts: Counter[tuple[str, Cut]] = Counter()
        self._login_refusals: Counter[tuple[str, LoginRefusal]] = Counter()
        self._upstream: dict[str, int] = {}
        registry.register(self)

    def kiosk_connected(self, listener: str) -> None:
        """Count a machine."""
        self._kiosks[listener] += 1

    def kiosk_disconnected(self, listener: str) -> None:
        """Count it no more."""
        self._kiosks[listener] -= 1

    def connection_cut(self, listener: str, cut: Cut) -> None:
        """Count a connection that was not taken, or ended."""
        self._cuts[listener, cut] += 1

    def login_refused(self, listener: str, refusal: LoginRefusal) -> None:
        """Count a log-in that was refused."""
        self._login_refusals[listener, refusal] += 1

    def request_answered(self, listener: str, code: bytes, result: Result, seconds: float) -> None:
        """Count a request and its time."""
        times = self._requests.get((listener, code, result))
        if times is None:
            self._requests[listener, code, result] = times = _Times(_UPSTREAM.get(result))
        times.counts[bisect_left(SECONDS, seconds)] += 1
        times.total += seconds
        if times.koha_up is not None:
            self._upstream[listener] = times.koha_up

    def patron_refused(self, listener: str, refusal: Refusal) -> None:
        """Count a refusal."""
        self._refusals[listener, refusal] += 1

    def collect(self) -> Iterator[Metric]:
        """Return what was counted; called by the registry, from any thread."""
        kiosks = GaugeMetricFamily(
            "koha_jpki_sip2_kiosks", "Self-check machines connected", labels=["library"]
        )
        for listener, count in self._kiosks.copy().items():
            kiosks.add_metric([listener], count)
        requests = CounterMetricFamily(
            "koha_jpki_sip2_requests",
            "Requests of self-check machines, by SIP2 code and how they ended",
            labels=["library", "code", "result"],
        )
        by_code: defaultdict[tuple[str, bytes], _Times] = defaultdict(_Times)
        for (listener, code, result), times in self._requests.copy().items():
            requests.add_metric([listener, code.decode("ascii"), result.value], sum(times.counts))
            by_code[listener, code].add(times)
        seconds = HistogramMetricFamily(
            "koha_jpki_sip2_request_seconds",
            "From a whole request to its answer, Koha's part included",
            labels=["library", "code"],
        )
        for (listener, code), times in by_code.items():
            seconds.add_metric([listener, code.decode("ascii")], times.buckets(), times.total)
        refusals = CounterMetricFamily(
            "koha_jpki_sip2_refusals",
            "Patrons refused, by reason; 'guessing' is an alarm",
            labels=["library", "reason"],
        )
        for (listener, refusal), count in self._refusals.copy().items():
            refusals.add_metric([listener, refusal.value], count)
        cuts = CounterMetricFamily(
            "koha_jpki_sip2_connections_cut",
            "Connections not taken, or ended by the proxy, by reason",
            labels=["library", "reason"],
        )
        for (listener, cut), count in self._cuts.copy().items():
            cuts.add_metric([listener, cut.value], count)
        login_refusals = CounterMetricFamily(
            "koha_jpki_sip2_login_refusals",
            "Log-ins refused, by reason; 'wrong_address' is an alarm",
            labels=["library", "reason"],
        )
        for (listener, login_refusal), count in self._login_refusals.copy().items():
            login_refusals.add_metric([listener, login_refusal.value], count)
        upstream = GaugeMetricFamily(
            "koha_jpki_sip2_koha_up",
            "Whether Koha's SIP2 server gave the last answer that was asked of it",
            labels=["library"],
        )
        for listener, up in self._upstream.copy().items():
            upstream.add_metric([listener], up)
        return iter((kiosks, requests, seconds, refusals, cuts, login_refusals, upstream))
