"""What Prometheus reads of the SIP2 proxy."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from bridge.metrics.proxy import ProxyMetrics
from bridge.metrics.terminal import TerminalMetrics
from bridge.models import OutputState, ReaderState, Terminal, TerminalKind, TerminalReport
from sip2_adapter.observer import Cut, LoginRefusal, ProxyObserver, Result
from sip2_adapter.resolver import Refusal


@pytest.fixture
def metrics() -> ProxyMetrics:
    return ProxyMetrics(CollectorRegistry())


def test_requests_are_counted_and_timed_by_code_and_end(metrics):
    observer: ProxyObserver = metrics
    observer.request_answered("central", b"63", Result.ANSWERED, 0.004)
    observer.request_answered("central", b"63", Result.REFUSED, 0.2)
    observer.request_answered("central", b"??", Result.MALFORMED, 0.0001)
    text = generate_latest(metrics.registry).decode()
    assert 'koha_jpki_sip2_requests_total{code="63",library="central",result="answered"} 1.0' in text
    assert 'koha_jpki_sip2_requests_total{code="63",library="central",result="refused"} 1.0' in text
    assert 'koha_jpki_sip2_requests_total{code="??",library="central",result="malformed"} 1.0' in text
    assert 'koha_jpki_sip2_request_seconds_bucket{code="63",le="0.005",library="central"} 1.0' in text
    assert 'koha_jpki_sip2_request_seconds_count{code="63",library="central"} 2.0' in text


def test_refusals_are_counted_by_reason(metrics):
    metrics.patron_refused("central", Refusal.GUESSING)
    text = generate_latest(metrics.registry).decode()
    assert 'koha_jpki_sip2_refusals_total{library="central",reason="guessing"} 1.0' in text


def test_cut_connections_and_refused_log_ins_are_counted_by_reason(metrics):
    metrics.connection_cut("central", Cut.GARBAGE)
    metrics.connection_cut("central", Cut.GARBAGE)
    metrics.login_refused("central", LoginRefusal.WRONG_ADDRESS)
    text = generate_latest(metrics.registry).decode()
    assert 'koha_jpki_sip2_connections_cut_total{library="central",reason="garbage"} 2.0' in text
    assert 'koha_jpki_sip2_login_refusals_total{library="central",reason="wrong_address"} 1.0' in text


def test_connected_machines_are_a_gauge(metrics):
    metrics.kiosk_connected("central")
    metrics.kiosk_connected("central")
    metrics.kiosk_disconnected("central")
    assert metrics.registry.get_sample_value("koha_jpki_sip2_kiosks", {"library": "central"}) == 1


@pytest.mark.parametrize(
    ("result", "up"),
    [(Result.ANSWERED, 1), (Result.ACS_UNAVAILABLE, 0), (Result.OUTCOME_UNKNOWN, 0), (Result.REFUSED, 1)],
)
def test_koha_is_up_after_an_answer_and_down_after_none(metrics, result, up):
    metrics.request_answered("central", b"99", Result.ANSWERED, 0)
    metrics.request_answered("central", b"63", result, 0)
    assert metrics.registry.get_sample_value("koha_jpki_sip2_koha_up", {"library": "central"}) == up


def test_terminals_are_told_of_when_they_were_seen_and_how_they_were():
    terminals = [
        Terminal("c-1", "central", "1", TerminalKind.COUNTER, last_seen_at=datetime(2026, 11, 2, tzinfo=UTC)),
        Terminal(
            "s-1",
            "central",
            "2",
            TerminalKind.SELF_CHECK,
            report=TerminalReport(ReaderState.MISSING, OutputState.READY, "0.1.0"),
        ),
    ]
    registry = CollectorRegistry()
    TerminalMetrics(registry, lambda: terminals)
    text = generate_latest(registry).decode()
    assert 'koha_jpki_terminal_last_seen_timestamp_seconds{library="central",terminal="c-1"} 1.79' in text
    assert 'koha_jpki_terminal_reader_ready{library="central",terminal="s-1"} 0.0' in text
    assert 'koha_jpki_terminal_output_ready{library="central",terminal="s-1"} 1.0' in text
    assert 'reader_ready{library="central",terminal="c-1"}' not in text


def test_a_database_that_cannot_be_read_leaves_the_other_counters(metrics, caplog):
    def fail():
        raise OSError("secret")

    TerminalMetrics(metrics.registry, fail)
    metrics.patron_refused("central", Refusal.GUESSING)
    assert "koha_jpki_sip2_refusals_total{" in generate_latest(metrics.registry).decode()
    assert "OSError" in caplog.text
    assert "secret" not in caplog.text
