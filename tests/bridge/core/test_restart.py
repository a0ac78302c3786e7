"""What survives the end of the process: everything that was told to somebody."""

from __future__ import annotations

import pytest

from bridge.errors import AlreadyLinked
from bridge.keys.ring import KeyRing, MasterKey
from bridge.store import SqlStore, open_engine
from jpki.errors import ChallengeAlreadyUsed
from jpki.trust import TrustStore


@pytest.fixture
def restarted(place, make_place):
    """The same bridge in a new process, as far as the database can tell."""

    def restart():
        place.store.dispose()
        keys = KeyRing([MasterKey("k1", bytes(range(32)))], place.environment.random_bytes)
        again = make_place(SqlStore(open_engine(place.url)), keys, place.clock, place.pki)
        again.koha.patrons = place.koha.patrons
        for name in ("counter", "second_counter", "self_check", "librarian"):
            setattr(again, name, getattr(place, name))
        stores.append(again.store)
        return again

    stores: list[SqlStore] = []
    yield restart
    for store in stores:
        store.dispose()


def test_a_link_survives(place, restarted):
    card = place.card()
    place.link(card)
    again = restarted()
    again.borrow(card)
    again.start(cardnumber="L-4711-000816")
    with pytest.raises(AlreadyLinked):
        again.registration.begin(again.counter, card.certificate_der)


def test_a_session_and_its_token_survive(place, restarted):
    card = place.card()
    place.link(card)
    opened = place.borrow(card)
    assert place.stands_for(restarted().resolve(opened)) == (opened.session_id, place.cardnumber)


def test_a_request_and_a_challenge_survive_and_a_used_one_stays_used(place, restarted):
    card = place.card()
    request = place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    again = restarted()
    assert again.registration.pending(again.counter) == request
    again.complete_link(again.counter, card, challenge)
    with pytest.raises(ChallengeAlreadyUsed):
        restarted().complete_link(place.counter, card, challenge)


def test_what_was_proven_before_the_pin_is_proven_again_only_after_a_restart(place, restarted, monkeypatch):
    proofs = []
    proven_issuer = TrustStore.proven_issuer

    def counted(self, certificate, now):
        proofs.append(now)
        return proven_issuer(self, certificate, now)

    monkeypatch.setattr(TrustStore, "proven_issuer", counted)
    card = place.card()
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    before = len(proofs)
    place.complete_link(place.counter, card, challenge)
    assert len(proofs) == before

    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    again = restarted()
    before = len(proofs)
    assert again.complete_borrow(again.self_check, card, challenge)
    assert len(proofs) == before + 1
