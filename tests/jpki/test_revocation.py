from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jpki.certificate import UserAuthenticationCertificate
from jpki.revocation import RevocationAnswer, RevocationPolicy, RevocationStatus, UnknownReason
from jpki.revocation_source import NoSource

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
POLICY = RevocationPolicy(maximum_age=timedelta(hours=24), clock_skew=timedelta(minutes=5))
SECOND = timedelta(seconds=1)


def answer(status: RevocationStatus, as_of: datetime = NOW, **rest) -> RevocationAnswer:
    return RevocationAnswer(status, "ocsp", as_of, **rest)


@pytest.mark.parametrize(
    "good",
    [
        answer(RevocationStatus.GOOD),
        answer(RevocationStatus.GOOD, NOW - timedelta(hours=24)),
        answer(RevocationStatus.GOOD, NOW + timedelta(minutes=5)),
        answer(RevocationStatus.GOOD, next_update=NOW - timedelta(minutes=5)),
    ],
    ids=["now", "as old as may be", "ahead by the skew", "outlived by the skew"],
)
def test_a_good_answer_counts_while_it_is_fresh(good):
    assert POLICY.evaluate(good, NOW) is good


@pytest.mark.parametrize(
    "stale",
    [
        answer(RevocationStatus.GOOD, NOW - timedelta(hours=24) - SECOND),
        answer(RevocationStatus.GOOD, NOW + timedelta(minutes=5) + SECOND),
        answer(RevocationStatus.GOOD, next_update=NOW - timedelta(minutes=5) - SECOND),
    ],
    ids=["too old", "from the future", "outlived"],
)
def test_a_good_answer_out_of_its_time_is_unknown_and_stale(stale):
    evaluated = POLICY.evaluate(stale, NOW)
    assert evaluated.status is RevocationStatus.UNKNOWN
    assert evaluated.why is UnknownReason.STALE
    assert (evaluated.as_of, evaluated.next_update) == (stale.as_of, stale.next_update)


def test_revoked_never_grows_stale():
    revoked = answer(
        RevocationStatus.REVOKED, NOW - timedelta(days=365), revoked_at=NOW - timedelta(days=400)
    )
    assert POLICY.evaluate(revoked, NOW) is revoked


def test_unknown_keeps_its_reason():
    unknown = answer(RevocationStatus.UNKNOWN, NOW - timedelta(days=2), why=UnknownReason.UNREACHABLE)
    assert POLICY.evaluate(unknown, NOW) is unknown


def test_without_a_source_everything_is_unknown(pki, trust_store):
    certificate = UserAuthenticationCertificate.from_der(pki.issue_card().certificate_der)
    said = NoSource().check(certificate, trust_store.anchors[0], NOW)
    assert (said.status, said.why) == (RevocationStatus.UNKNOWN, UnknownReason.NO_SOURCE)
