"""Revoked, held, unknown, stale, unreachable, badly signed: told apart in API, audit log, admin, metrics."""

from __future__ import annotations

import json

import flask
import pytest
from prometheus_client import CollectorRegistry

from bridge.admin.words import REASONS
from bridge.api.problems import TYPE_PREFIX, render_problem
from bridge.errors import Denied
from bridge.metrics.card import CardMetrics
from bridge.models import AuditTag
from jpki.revocation import RevocationAnswer, RevocationStatus, UnknownReason

REVOKED = [
    ("certificate-revoked", RevocationStatus.REVOKED, reason) for reason in ("superseded", "certificateHold")
]
UNKNOWN = [("revocation-unknown", RevocationStatus.UNKNOWN, why) for why in UnknownReason]


def say(place, status, why):
    """Let the source of revocation information say so from now on."""
    details = {"reason": why} if status is RevocationStatus.REVOKED else {"why": why}
    place.revocation.check = lambda _, __, now: RevocationAnswer(status, "ocsp", now, **details)


def counted(registry, **labels):
    return registry.get_sample_value("koha_jpki_cards_total", {"library": "central", **labels})


@pytest.fixture
def registry(place) -> CollectorRegistry:
    registry = CollectorRegistry()
    CardMetrics(registry, place.store.audit_log(), [place.library])
    return registry


@pytest.fixture
def laid(place):
    """Lay a linked card on a self-check's reader and an unlinked one on a counter's; return the refusals."""
    card = place.card()
    place.link(card)

    def laid():
        with pytest.raises(Denied) as at_the_machine:
            place.borrowing.begin(place.self_check, card.certificate_der)
        place.start()
        with pytest.raises(Denied) as at_the_counter:
            place.registration.begin(place.counter, place.card().certificate_der)
        return at_the_machine.value, at_the_counter.value

    return laid


@pytest.mark.parametrize(("problem", "status", "why"), [*REVOKED, *UNKNOWN])
def test_each_answer_is_told_apart_at_every_edge(place, laid, registry, problem, status, why):
    say(place, status, why)
    word = str(getattr(why, "value", why))
    for refusal in laid():
        with flask.Flask("test").test_request_context():
            told = json.loads(render_problem(refusal).data)
        assert (told["type"], told["why"]) == (TYPE_PREFIX + problem, word)
    for tag in (AuditTag.SESSION_DENIED, AuditTag.LINK_REFUSED):
        assert place.audit(tag)[-1].details == {"problem": problem, "why": word}
    for outcome in ("session_refused", "link_refused"):
        assert counted(registry, outcome=outcome, problem=problem, why=word) == 1
    suspended = counted(registry, outcome="link_suspended", problem="certificate-revoked", why=word)
    assert suspended == (1 if status is RevocationStatus.REVOKED else None)
    assert word in REASONS


def test_no_two_answers_have_the_same_words_for_staff():
    words = [str(REASONS[getattr(why, "value", why)]) for _, _, why in (*REVOKED, *UNKNOWN)]
    assert len(set(words)) == len(words)


def test_what_happened_before_is_not_counted_and_what_goes_on_is_counted_in_full(place, clock):
    card = place.card()
    place.link(card)
    say(place, RevocationStatus.UNKNOWN, UnknownReason.STALE)

    def refuse(times):
        for _ in range(times):
            with pytest.raises(Denied):
                place.borrowing.begin(place.self_check, card.certificate_der)

    refuse(1)
    registry = CollectorRegistry()
    CardMetrics(registry, place.store.audit_log(), [place.library])
    labels = {"outcome": "session_refused", "problem": "revocation-unknown", "why": "stale"}
    assert counted(registry, **labels) is None
    refuse(19)  # five of a kind are told, the others counted
    assert counted(registry, **labels) == 4
    clock.advance(minutes=11)
    refuse(1)
    assert counted(registry, **labels) == 20


def test_a_database_that_cannot_be_read_leaves_the_counts_as_they_were(place, laid, registry, caplog):
    say(place, RevocationStatus.UNKNOWN, UnknownReason.STALE)
    laid()
    labels = {"outcome": "session_refused", "problem": "revocation-unknown", "why": "stale"}
    assert counted(registry, **labels) == 1

    class Gone:
        def events_after(self, library_id, sequence):
            raise OSError("secret")

    (collector,) = set(registry._names_to_collectors.values())
    collector._reader = Gone()
    assert counted(registry, **labels) == 1
    assert "OSError" in caplog.text
    assert "secret" not in caplog.text
