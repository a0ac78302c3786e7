"""The counts of statistics, on both databases."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from bridge.models import Actor, ActorKind, AuditEvent, AuditTag
from bridge.ports import EventCount

ACTOR = Actor(ActorKind.PROXY, "sip2-proxy")
REFUSED = AuditTag.SESSION_DENIED
NOON = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)


def refusal(problem, at, **details):
    return AuditEvent(REFUSED, "central", ACTOR, "-", at, "check-1", {"problem": problem, **details})


def test_events_are_counted_by_terminal_and_problem_and_repetitions_as_many(store):
    with store.transaction() as transaction:
        transaction.add_audit_event(refusal("not-linked", NOON))
        transaction.add_audit_event(refusal("not-linked", NOON, repeated="7", until=NOON.isoformat()))
        transaction.add_audit_event(refusal("link-ended", NOON + timedelta(hours=1)))
        transaction.add_audit_event(AuditEvent(AuditTag.LINK_CREATED, "central", ACTOR, "-", NOON))
        transaction.add_audit_event(AuditEvent(AuditTag.LOGGED_OUT, "central", ACTOR, "-", NOON))
        transaction.add_audit_event(refusal("not-linked", NOON + timedelta(days=1)))
    tags = (REFUSED, AuditTag.LINK_CREATED)
    with store.reading() as transaction:
        counts = transaction.count_events("central", tags, NOON, NOON + timedelta(days=1))
        last = transaction.last_refusals("central", [REFUSED], NOON)
        assert transaction.last_event_at("central", tags) == NOON + timedelta(days=1)
        assert transaction.last_event_at("central", [AuditTag.LINK_ENDED]) is None
        assert transaction.count_links_ending("central", NOON, NOON + timedelta(days=1)) == 0
        assert transaction.last_sweep_ended_at() is None
    assert sorted(counts) == [
        EventCount(AuditTag.LINK_CREATED, "", "", 1),
        EventCount(REFUSED, "check-1", "link-ended", 1),
        EventCount(REFUSED, "check-1", "not-linked", 8),
    ]
    assert last == {"not-linked": NOON + timedelta(days=1), "link-ended": NOON + timedelta(hours=1)}


def test_the_counts_of_a_day_are_kept_and_kept_anew(store):
    day, counts = date(2026, 11, 20), [EventCount(REFUSED, "check-1", "not-linked", 8)]
    for _ in range(2):
        with store.transaction() as transaction:
            transaction.keep_counted_days("central", {day: counts, day - timedelta(days=1): []})
    with store.reading() as transaction:
        assert transaction.counted_days("central", day, day) == {day: counts}
        assert transaction.counted_days("other", day, day) == {}
