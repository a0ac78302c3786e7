"""What waits for the disk, so that a power cut cannot take it away, and what need not."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from sqlalchemy import text

from bridge.errors import KohaNotReachable
from bridge.models import UnlinkReason
from jpki.errors import ChallengeAlreadyUsed, InvalidSignature

SETTING = {
    "sqlite": ("PRAGMA synchronous", {True: 2, False: 1}),  # FULL and NORMAL
    "postgresql": ("SHOW synchronous_commit", {True: "on", False: "off"}),
}


def setting_in(store, *, durable):
    with store.transaction(durable=durable) as transaction:
        question, answers = SETTING[transaction._connection.dialect.name]
        return transaction._connection.execute(text(question)).scalar_one(), answers[durable]


def test_a_transaction_waits_for_the_disk_unless_it_need_not(store):
    for durable in (True, False, False, True, True, False):
        found, expected = setting_in(store, durable=durable)
        assert found == expected
        with store.reading() as transaction:
            transaction.find_terminal("central", "check-1")


def test_what_need_not_wait_is_seen_by_every_other_program_at_once(place):
    card = place.card()
    place.link(card)
    opened = place.borrow(card)
    place.store.dispose()
    assert place.borrowing.resolve(place.library, "sc1", opened.token.value).session_id == opened.session_id


@pytest.fixture
def waits(place, monkeypatch):
    """Whether each writing transaction waits for the disk, in their order."""
    seen = []
    real = place.store.transaction

    @contextmanager
    def transaction(*, durable=True):
        seen.append(durable)
        with real(durable=durable) as found:
            yield found

    monkeypatch.setattr(place.store, "transaction", transaction)
    return seen


def test_a_good_answer_is_one_transaction_and_a_link_waits_for_the_disk(place, waits):
    card = place.card()
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    waits.clear()
    link = place.complete_link(place.counter, card, challenge)
    assert waits == [True]
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    waits.clear()
    opened = place.complete_borrow(place.self_check, card, challenge)
    assert waits == [False]
    waits.clear()
    place.borrowing.close(opened.session_id, "end_patron_session")
    place.registration.unlink(place.librarian, link.link_id, reason=UnlinkReason.MISTAKE)
    assert waits
    assert all(waits)


def test_a_refusal_waits_for_the_disk(place, waits):
    card = place.card()
    place.link(card)
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    waits.clear()
    with pytest.raises(InvalidSignature):
        place.borrowing.complete(place.self_check, challenge.challenge_id, card.certificate_der, bytes(256))
    assert waits == [False, True]  # the challenge is used up; the refusal brings it to the disk


@pytest.mark.parametrize("failure", [KohaNotReachable, RuntimeError, KeyboardInterrupt])
def test_whatever_fails_an_answer_is_tried_once(place, failure):
    card = place.card()
    place.link(card)
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)

    def fail():
        raise failure

    place.koha.before_get = fail
    with pytest.raises(failure):
        place.complete_borrow(place.self_check, card, challenge)
    place.koha.before_get = lambda: None
    with pytest.raises(ChallengeAlreadyUsed):
        place.complete_borrow(place.self_check, card, challenge)
