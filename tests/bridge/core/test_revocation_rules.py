"""What follows from each revocation answer: every status, reason, policy and last knowledge, combined."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from bridge.rules import (
    OUTAGES,
    Decision,
    DenialReason,
    OutagePolicy,
    RevocationRule,
    decisive_answer,
    judge_certificate,
)
from jpki.revocation import (
    CERTIFICATE_HOLD,
    RevocationAnswer,
    RevocationPolicy,
    RevocationStatus,
    UnknownReason,
)

NOW = datetime(2026, 11, 2, 3, 0, tzinfo=UTC)
VALID = NOW + timedelta(days=100)
LIMIT = timedelta(hours=24)
GOOD, REVOKED, UNKNOWN = RevocationStatus.GOOD, RevocationStatus.REVOKED, RevocationStatus.UNKNOWN

STRICTLY = RevocationRule(RevocationPolicy(timedelta(hours=1)))
LENIENT = replace(STRICTLY, outage=OutagePolicy.LAST_KNOWN_GOOD, last_known_good_limit=LIMIT)


def known(status: RevocationStatus, age: timedelta) -> RevocationAnswer:
    return RevocationAnswer(status, "ocsp", NOW - age)


LAST_KNOWN = {
    "never": None,
    "good, just now": known(GOOD, timedelta(0)),
    "good, at the limit": known(GOOD, LIMIT),
    "good, a moment too old": known(GOOD, LIMIT + timedelta(microseconds=1)),
    "good, from the future": known(GOOD, -timedelta(minutes=6)),
    "good, within the clock's skew": known(GOOD, -timedelta(minutes=5)),
    "revoked": known(REVOKED, timedelta(0)),
    "unknown": known(UNKNOWN, timedelta(0)),
}
STANDS_IN = {"good, just now", "good, at the limit", "good, within the clock's skew"}

ANSWERS = {
    "good": RevocationAnswer(GOOD, "ocsp", NOW),
    "good, too old": RevocationAnswer(GOOD, "ocsp", NOW - timedelta(hours=2)),
    "revoked": RevocationAnswer(REVOKED, "ocsp", NOW, reason="keyCompromise"),
    "on hold": RevocationAnswer(REVOKED, "ocsp", NOW, reason=CERTIFICATE_HOLD),
    "revoked long ago": RevocationAnswer(REVOKED, "ocsp", NOW - timedelta(days=9)),
    **{why.value: RevocationAnswer(UNKNOWN, "ocsp", NOW, why=why) for why in UnknownReason},
    "unknown, nobody knows why": RevocationAnswer(UNKNOWN, "ocsp", NOW),
}
EXPECTED = {
    "good": Decision(),
    "good, too old": Decision(DenialReason.REVOCATION_UNKNOWN, "stale"),
    "revoked": Decision(DenialReason.CERTIFICATE_REVOKED, "keyCompromise"),
    "on hold": Decision(DenialReason.CERTIFICATE_REVOKED, "certificateHold"),
    "revoked long ago": Decision(DenialReason.CERTIFICATE_REVOKED),
    **{why.value: Decision(DenialReason.REVOCATION_UNKNOWN, why.value) for why in UnknownReason},
    "unknown, nobody knows why": Decision(DenialReason.REVOCATION_UNKNOWN),
}
BRIDGED = {"good, too old", "unreachable", "stale", "malformed"}
"""An outage: what was last known may stand for these, and for nothing else."""


@pytest.mark.parametrize(("answer", "last_known"), [*product(ANSWERS, LAST_KNOWN)])
def test_without_an_outage_policy_nothing_but_good_will_do(answer, last_known):
    decision = judge_certificate(VALID, ANSWERS[answer], NOW, STRICTLY, LAST_KNOWN[last_known])
    assert decision == EXPECTED[answer]


@pytest.mark.parametrize(("answer", "last_known"), [*product(ANSWERS, LAST_KNOWN)])
def test_in_an_outage_a_last_known_good_stands_in_for_review_and_nothing_else(answer, last_known):
    decision = judge_certificate(VALID, ANSWERS[answer], NOW, LENIENT, LAST_KNOWN[last_known])
    expected = EXPECTED[answer]
    if answer in BRIDGED and last_known in STANDS_IN:
        expected = Decision(why=expected.why, for_review=True)
    assert decision == expected


@pytest.mark.parametrize(("answer", "rule"), [*product(ANSWERS, (STRICTLY, LENIENT))])
def test_an_expired_certificate_is_refused_whatever_is_known(answer, rule):
    last_known = LAST_KNOWN["good, just now"]
    decision = judge_certificate(NOW - timedelta(microseconds=1), ANSWERS[answer], NOW, rule, last_known)
    assert decision == Decision(DenialReason.CERTIFICATE_EXPIRED)


@pytest.mark.parametrize(("first", "second"), [*product(UnknownReason, UnknownReason)])
def test_an_objection_of_one_source_does_not_hide_behind_the_outage_of_another(first, second):
    other = RevocationAnswer(UNKNOWN, "ocsp", NOW, why=second)
    answer = RevocationAnswer(UNKNOWN, "crl", NOW, why=first, consulted=(other,))
    assert decisive_answer(answer).why is (second if first in OUTAGES and second not in OUTAGES else first)


def test_a_source_that_knows_is_decisive_whatever_others_said():
    other = RevocationAnswer(UNKNOWN, "crl", NOW, why=UnknownReason.NOT_TRUSTED)
    answer = RevocationAnswer(GOOD, "ocsp", NOW, consulted=(other,))
    assert decisive_answer(answer) is answer
