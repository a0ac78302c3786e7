"""The memory of proofs: it saves work, and never a refusal."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding

from jpki.certificate import UserAuthenticationCertificate
from jpki.challenge import CardResponse, Challenge, ChallengeNonce, ChallengePurpose, begin, complete
from jpki.errors import (
    CertificateExpired,
    CertificateNotYetValid,
    ChallengeExpired,
    InvalidSignature,
    UntrustedIssuer,
    WrongCertificate,
    WrongCertificatePolicy,
    WrongTerminal,
)
from jpki.proven import ProvenCertificates
from jpki.simulator.pki import OTHER_POLICY, Authority, CardMaterial, CardProfile
from jpki.trust import TrustStore
from jpki.verify import CertificatePolicy

LIFETIME = timedelta(minutes=2)
SOON = timedelta(seconds=30)
PLACE = {"library_id": "central", "terminal_id": "self-check-1"}


class CountingTrustStore(TrustStore):
    """Counts how often the way to a CA is proven."""

    def __init__(self, anchors) -> None:
        super().__init__(anchors)
        self.proofs = 0

    def proven_issuer(self, certificate, now):
        self.proofs += 1
        return super().proven_issuer(certificate, now)


@pytest.fixture
def store(pki) -> CountingTrustStore:
    return CountingTrustStore(pki.trust_store().anchors)


@pytest.fixture
def card(pki) -> CardMaterial:
    return pki.issue_card()


@pytest.fixture
def proven() -> ProvenCertificates:
    return ProvenCertificates()


@dataclasses.dataclass
class Visit:
    """One card at one terminal, right in everything but what the test changes."""

    card: CardMaterial
    store: TrustStore
    policy: CertificatePolicy
    proven: ProvenCertificates

    def begin(self, now) -> Challenge:
        return begin(
            UserAuthenticationCertificate.from_der(self.card.certificate_der),
            purpose=ChallengePurpose.BORROW,
            challenge_id="c-1",
            nonce=ChallengeNonce(bytes(32)),
            now=now,
            lifetime=LIFETIME,
            trust_store=self.store,
            policy=self.policy,
            proven=self.proven,
            **PLACE,
        )

    def complete(self, challenge, now, *, key=None, certificate_der=None, **changes):
        signature = (key or self.card.private_key).sign(
            challenge.message(), padding.PKCS1v15(), hashes.SHA256()
        )
        arguments = {
            "trust_store": self.store,
            "policy": self.policy,
            "now": now,
            "proven": self.proven,
            **PLACE,
            **changes,
        }
        response = CardResponse("c-1", certificate_der or self.card.certificate_der, signature)
        return complete(challenge, response, **arguments)


@pytest.fixture
def visit(card, store, policy, proven) -> Visit:
    return Visit(card, store, policy, proven)


@pytest.fixture
def challenge(visit, now) -> Challenge:
    return visit.begin(now)


def test_what_was_proven_at_the_beginning_is_not_proven_again(visit, challenge, store, now):
    verified = visit.complete(challenge, now + SOON)
    assert store.proofs == 1
    assert verified == visit.complete(challenge, now + SOON, proven=None)
    assert verified.certificate.der == visit.card.certificate_der


@pytest.mark.parametrize("memory", [None, ProvenCertificates()], ids=["no memory", "another process's"])
def test_who_has_not_seen_the_beginning_does_the_whole_proof(visit, challenge, store, now, memory):
    assert visit.complete(challenge, now + SOON, proven=memory)
    assert store.proofs == 2


def test_a_proof_is_used_once(visit, challenge, store, now):
    for proofs in (1, 2, 3):
        assert visit.complete(challenge, now + SOON)
        assert store.proofs == proofs


def test_after_a_refused_signature_the_proof_is_gone_too(visit, challenge, store, pki, now):
    with pytest.raises(InvalidSignature):
        visit.complete(challenge, now + SOON, key=pki.keys.authorities[Authority.FOREIGN])
    assert store.proofs == 1
    assert visit.complete(challenge, now + SOON)
    assert store.proofs == 2


@pytest.mark.parametrize("place", [{"terminal_id": "counter-1"}, {"library_id": "branch"}], ids=str)
def test_a_remembered_certificate_opens_nothing_at_another_place(visit, challenge, store, now, place):
    with pytest.raises(WrongTerminal):
        visit.complete(challenge, now + SOON, **place)
    assert visit.complete(challenge, now + SOON)  # nor did the stranger use the proof up
    assert store.proofs == 1


def test_a_remembered_certificate_does_not_outlive_its_challenge(visit, challenge):
    with pytest.raises(ChallengeExpired):
        visit.complete(challenge, challenge.expires_at)


def test_another_remembered_certificate_does_not_stand_in_for_the_one_begun_with(visit, challenge, pki, now):
    other = dataclasses.replace(visit, card=pki.issue_card())
    other.begin(now)
    with pytest.raises(WrongCertificate):
        visit.complete(challenge, now + SOON, certificate_der=other.card.certificate_der)


def test_a_trust_store_without_the_ca_does_not_find_the_proof_of_the_old_one(visit, challenge, now):
    with pytest.raises(UntrustedIssuer):
        visit.complete(challenge, now + SOON, trust_store=TrustStore([]))


def test_a_trust_store_that_was_loaded_again_proves_everything_again(visit, challenge, store, now):
    again = CountingTrustStore(store.anchors)
    verified = visit.complete(challenge, now + SOON, trust_store=again)
    assert again.proofs == 1
    assert verified.issuer in again.anchors


def test_another_policy_does_not_find_the_proof_of_the_old_one(visit, challenge, now):
    with pytest.raises(WrongCertificatePolicy):
        visit.complete(challenge, now + SOON, policy=CertificatePolicy(frozenset({OTHER_POLICY})))


def test_an_extended_key_usage_that_is_enforced_meanwhile_is_refused(visit, pki, now):
    visit.card = pki.issue_card(CardProfile.OTHER_EXTENDED_KEY_USAGE)
    challenge = visit.begin(now)
    with pytest.raises(WrongCertificatePolicy):
        visit.complete(challenge, now + SOON, policy=CertificatePolicy(enforce_extended_key_usage=True))


def test_a_certificate_that_has_expired_meanwhile_is_refused(visit, card):
    not_after = UserAuthenticationCertificate.from_der(card.certificate_der).not_after
    challenge = visit.begin(not_after - SOON)
    with pytest.raises(CertificateExpired):
        visit.complete(challenge, not_after + timedelta(microseconds=1))
    challenge = visit.begin(not_after - SOON)
    assert visit.complete(challenge, not_after)


def test_a_clock_that_goes_back_before_the_certificate_is_refused(visit, card, store, policy, proven):
    certificate = UserAuthenticationCertificate.from_der(card.certificate_der)
    begun = certificate.not_before
    proven.prove(certificate, store, policy, begun, until=begun + LIFETIME)
    with pytest.raises(CertificateNotYetValid):
        proven.prove_again(card.certificate_der, store, policy, begun - timedelta(microseconds=1))
    assert store.proofs == 1


def outliving_its_ca(pki, card: CardMaterial, ca: x509.Certificate) -> CardMaterial:
    """Return *card* with a certificate that is valid for longer than its CA's own."""
    certificate = x509.load_der_x509_certificate(card.certificate_der)
    builder = x509.CertificateBuilder(
        ca.subject,
        certificate.subject,
        certificate.public_key(),
        certificate.serial_number,
        certificate.not_valid_before_utc,
        ca.not_valid_after_utc + timedelta(days=1),
    )
    for extension in certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    signed = builder.sign(pki.keys.authorities[Authority.AUTHENTICATION_1], hashes.SHA256())
    return dataclasses.replace(card, certificate_der=signed.public_bytes(Encoding.DER))


def test_a_ca_that_has_expired_meanwhile_vouches_for_nothing(visit, store, pki, card):
    ca = x509.load_der_x509_certificate(card.ca_certificate_der)
    visit.card = outliving_its_ca(pki, card, ca)
    challenge = visit.begin(ca.not_valid_after_utc - SOON)
    with pytest.raises(UntrustedIssuer, match="CA's own"):
        visit.complete(challenge, ca.not_valid_after_utc + timedelta(seconds=1))
    assert store.proofs == 1


def test_a_certificate_with_the_digest_of_another_is_not_taken_for_it(visit, challenge, store, pki, now):
    """Whoever made two certificates of one digest would still have made two certificates."""
    visit.complete(challenge, now)  # the honest proof is used up
    certificate = UserAuthenticationCertificate.from_der(visit.card.certificate_der)
    other = UserAuthenticationCertificate.from_der(pki.issue_card().certificate_der)
    twin = dataclasses.replace(other, digest=certificate.digest)
    visit.proven.prove(twin, store, visit.policy, now, until=now + LIFETIME)
    verified = visit.complete(challenge, now + SOON)
    assert verified.certificate.serial_number == certificate.serial_number
    assert store.proofs == 3


def test_a_certificate_that_was_refused_is_not_remembered(visit, store, policy, proven, pki, now):
    visit.card = pki.issue_card(CardProfile.WRONG_POLICY)
    with pytest.raises(WrongCertificatePolicy):
        visit.begin(now)
    with pytest.raises(WrongCertificatePolicy):
        proven.prove_again(visit.card.certificate_der, store, policy, now)
    assert store.proofs == 2


def test_a_proof_is_forgotten_with_the_end_of_its_time(card, store, policy, proven, now):
    certificate = UserAuthenticationCertificate.from_der(card.certificate_der)
    for moment, proofs in ((now + LIFETIME - timedelta(microseconds=1), 1), (now + LIFETIME, 3)):
        proven.prove(certificate, store, policy, now, until=now + LIFETIME)
        assert proven.prove_again(card.certificate_der, store, policy, moment)
        assert store.proofs == proofs


def test_the_oldest_proof_makes_room_for_the_newest(store, policy, pki, now):
    proven = ProvenCertificates(capacity=2)
    oldest, kept, newest = (pki.issue_card().certificate_der for _ in range(3))
    for der in (kept, oldest, kept, newest):  # begun with again, a card is as new as any
        certificate = UserAuthenticationCertificate.from_der(der)
        proven.prove(certificate, store, policy, now, until=now + LIFETIME)
    store.proofs = 0
    for der, proofs in ((kept, 0), (newest, 0), (oldest, 1)):
        assert proven.prove_again(der, store, policy, now).certificate.der == der
        assert store.proofs == proofs


def test_a_memory_holds_one_proof_at_least():
    with pytest.raises(ValueError, match="one"):
        ProvenCertificates(capacity=0)


def test_the_memory_prints_nothing_of_what_it_holds(visit, challenge, proven):
    certificate = UserAuthenticationCertificate.from_der(visit.card.certificate_der)
    text = repr(proven) + str(proven)
    assert str(visit.card.serial_number) not in text
    assert certificate.issuer_key_identifier.hex() not in text
    assert "Certificate(" not in text
    assert "\\x" not in text


def test_many_threads_share_one_memory(pki, store, policy, now):
    proven = ProvenCertificates(capacity=3)  # fewer than there are cards, so that they push each other out
    visits = [Visit(pki.issue_card(), store, policy, proven) for _ in range(6)]

    def run(visit: Visit) -> bool:
        verified = visit.complete(visit.begin(now), now + SOON)
        return verified.certificate.der == visit.card.certificate_der

    with ThreadPoolExecutor(max_workers=8) as pool:
        assert all(pool.map(run, visits * 15))
