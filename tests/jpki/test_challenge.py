from __future__ import annotations

import dataclasses
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import given
from hypothesis import strategies as st

from jpki.certificate import UserAuthenticationCertificate
from jpki.challenge import (
    CardResponse,
    Challenge,
    ChallengeNonce,
    ChallengePurpose,
    VerifiedCard,
    begin,
    check_message,
    complete,
)
from jpki.errors import (
    CertificateExpired,
    ChallengeExpired,
    ChallengeUnknown,
    InvalidSignature,
    MalformedChallenge,
    UntrustedIssuer,
    WrongCertificate,
    WrongTerminal,
)
from jpki.simulator.pki import Authority, CardMaterial, CardProfile
from jpki.trust import TrustStore

NONCE = ChallengeNonce(bytes(range(32)))
LIFETIME = timedelta(minutes=2)
DIGEST = hashlib.sha256(b"certificate").digest()
CHALLENGE = Challenge(
    challenge_id="c-1",
    purpose=ChallengePurpose.LINK,
    library_id="千代田",
    terminal_id="counter-1",
    nonce=NONCE,
    issued_at=datetime(2026, 11, 21, 3, 0, tzinfo=UTC),
    expires_at=datetime(2026, 11, 21, 3, 2, tzinfo=UTC),
    certificate_digest=DIGEST,
)


@pytest.fixture(scope="module")
def card(pki) -> CardMaterial:
    return pki.issue_card()


@pytest.fixture
def challenge(card, trust_store, policy, now) -> Challenge:
    return begin(
        UserAuthenticationCertificate.from_der(card.certificate_der),
        purpose=ChallengePurpose.BORROW,
        library_id="central",
        terminal_id="self-check-1",
        challenge_id="c-1",
        nonce=NONCE,
        now=now,
        lifetime=LIFETIME,
        trust_store=trust_store,
        policy=policy,
    )


@pytest.fixture
def complete_with(challenge, card, trust_store, policy, now):
    """``complete`` for the challenge, right in everything but what the test changes."""

    def run(
        *, signed: Challenge | None = None, key=None, certificate_der=None, challenge_id="c-1", **changes
    ):
        message = (signed or challenge).message()
        signature = (key or card.private_key).sign(message, padding.PKCS1v15(), hashes.SHA256())
        response = CardResponse(challenge_id, certificate_der or card.certificate_der, signature)
        arguments = {
            "library_id": "central",
            "terminal_id": "self-check-1",
            "trust_store": trust_store,
            "policy": policy,
            "now": now + timedelta(seconds=30),
            **changes,
        }
        return complete(challenge, response, **arguments)

    return run


def test_the_message_is_exactly_what_the_architecture_says():
    expected = b"koha-jpki-bridge/challenge/v1\x00"
    for field in (
        b"link",
        "千代田".encode(),
        b"counter-1",
        b"c-1",
        NONCE.value,
        b"2026-11-21T03:00:00Z",
        DIGEST,
    ):
        expected += bytes([len(field) >> 8, len(field) & 0xFF]) + field
    assert CHALLENGE.message() == expected


def test_the_message_does_not_depend_on_the_time_zone_of_the_clock():
    japan = CHALLENGE.issued_at.astimezone(datetime.strptime("+0900", "%z").tzinfo)
    assert dataclasses.replace(CHALLENGE, issued_at=japan).message() == CHALLENGE.message()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_nonce_has_32_bytes(size):
    with pytest.raises(ValueError, match="32"):
        ChallengeNonce(bytes(size))


def test_neither_nonce_nor_signature_nor_certificate_is_printed(card):
    for value in (NONCE, CHALLENGE, CardResponse("c-1", card.certificate_der, b"\xab" * 256)):
        text = repr(value)
        assert "\\x01\\x02" not in text
        assert "\\xab" not in text
        assert "\\x82" not in text


def test_begin_makes_a_challenge_for_this_certificate(challenge, card, now):
    assert challenge.certificate_digest == hashlib.sha256(card.certificate_der).digest()
    assert (challenge.issued_at, challenge.expires_at) == (now, now + LIFETIME)


def test_begin_refuses_a_certificate_before_its_owner_is_asked_for_a_pin(pki, trust_store, policy, now):
    expired = UserAuthenticationCertificate.from_der(pki.issue_card(CardProfile.EXPIRED).certificate_der)
    with pytest.raises(CertificateExpired):
        begin(
            expired,
            purpose=ChallengePurpose.LINK,
            library_id="central",
            terminal_id="counter-1",
            challenge_id="c-1",
            nonce=NONCE,
            now=now,
            lifetime=LIFETIME,
            trust_store=trust_store,
            policy=policy,
        )


def test_a_right_answer_is_the_proof(complete_with, card, now):
    verified = complete_with()
    assert verified.certificate.der == card.certificate_der
    assert verified.purpose is ChallengePurpose.BORROW
    assert (verified.library_id, verified.terminal_id) == ("central", "self-check-1")
    assert verified.verified_at == now + timedelta(seconds=30)
    assert str(card.serial_number) not in repr(verified)


def test_an_answer_to_another_challenge_is_refused(complete_with):
    with pytest.raises(ChallengeUnknown):
        complete_with(challenge_id="c-2")


@pytest.mark.parametrize("place", [{"terminal_id": "counter-1"}, {"library_id": "branch"}], ids=str)
def test_an_answer_from_another_place_is_refused(complete_with, place):
    with pytest.raises(WrongTerminal):
        complete_with(**place)


def test_an_expired_challenge_is_refused(complete_with, challenge):
    with pytest.raises(ChallengeExpired) as caught:
        complete_with(now=challenge.expires_at)
    assert caught.value.expired_at == challenge.expires_at
    assert complete_with(now=challenge.expires_at - timedelta(microseconds=1))


def test_a_challenge_from_the_future_is_refused(complete_with, challenge):
    with pytest.raises(ChallengeExpired):
        complete_with(now=challenge.issued_at - timedelta(seconds=1))


def test_another_certificate_than_the_one_begun_with_is_refused(complete_with, pki):
    with pytest.raises(WrongCertificate):
        complete_with(certificate_der=pki.issue_card().certificate_der)


def test_the_certificate_is_verified_again_at_the_end(complete_with):
    with pytest.raises(UntrustedIssuer):
        complete_with(trust_store=TrustStore([]))


@pytest.mark.parametrize(
    "change",
    [
        {"purpose": ChallengePurpose.LINK},
        {"library_id": "branch"},
        {"terminal_id": "counter-1"},
        {"challenge_id": "c-2"},
        {"nonce": ChallengeNonce(bytes(32))},
        {"issued_at": datetime(2026, 11, 21, 2, 59, tzinfo=UTC)},
        {"certificate_digest": bytes(32)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_signature_over_a_message_that_differs_in_one_field_is_refused(complete_with, challenge, change):
    with pytest.raises(InvalidSignature):
        complete_with(signed=dataclasses.replace(challenge, **change))


def test_a_signature_with_another_key_is_refused(complete_with, pki):
    with pytest.raises(InvalidSignature):
        complete_with(key=pki.keys.authorities[Authority.FOREIGN])


@pytest.mark.parametrize("change", [lambda s: s[:-1], lambda s: s + b"\x00", lambda _: b""])
def test_a_signature_of_the_wrong_length_is_refused(challenge, card, trust_store, policy, now, change):
    signature = card.private_key.sign(challenge.message(), padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(InvalidSignature):
        complete(
            challenge,
            CardResponse("c-1", card.certificate_der, change(signature)),
            library_id="central",
            terminal_id="self-check-1",
            trust_store=trust_store,
            policy=policy,
            now=now,
        )


def test_the_checks_come_in_a_fixed_order(complete_with, challenge, pki):
    """What is wrong in several ways is refused for the first of them."""
    wrong = {
        "challenge_id": "c-2",
        "terminal_id": "counter-1",
        "now": challenge.expires_at,
        "certificate_der": pki.issue_card().certificate_der,
        "trust_store": TrustStore([]),
        "key": pki.keys.authorities[Authority.FOREIGN],
    }
    expected = [
        ChallengeUnknown,
        WrongTerminal,
        ChallengeExpired,
        WrongCertificate,
        UntrustedIssuer,
        InvalidSignature,
    ]
    for first, error in zip(list(wrong), expected, strict=True):
        with pytest.raises(error):
            complete_with(**wrong)
        del wrong[first]


def test_a_verified_card_cannot_be_made_by_hand(complete_with):
    verified = complete_with()
    fields = {field.name: getattr(verified, field.name) for field in dataclasses.fields(verified)}
    with pytest.raises(TypeError):
        VerifiedCard(**fields)
    with pytest.raises(TypeError):
        VerifiedCard(**fields, made_by=object())
    with pytest.raises(TypeError):
        dataclasses.replace(verified, made_by=None, purpose=ChallengePurpose.LINK)
    with pytest.raises(dataclasses.FrozenInstanceError):
        verified.purpose = ChallengePurpose.LINK


def check(message: bytes, library_id: str = "central") -> ChallengePurpose:
    """Check as the agent at counter-1 does, with the card whose certificate is on the reader."""
    return check_message(
        message, library_id=library_id, terminal_id="counter-1", certificate_der=b"certificate"
    )


@pytest.mark.parametrize("purpose", list(ChallengePurpose))
def test_the_agent_signs_our_message_and_learns_its_purpose(purpose):
    message = dataclasses.replace(CHALLENGE, purpose=purpose).message()
    assert check(message, library_id="千代田") is purpose


def _fields(*fields: bytes) -> bytes:
    prefix = b"koha-jpki-bridge/challenge/v1\x00"
    return prefix + b"".join(len(field).to_bytes(2, "big") + field for field in fields)


OURS = (b"link", b"central", b"counter-1", b"c-1", NONCE.value, b"2026-11-21T03:00:00Z", DIGEST)


def _with(position: int, value: bytes) -> bytes:
    return _fields(*OURS[:position], value, *OURS[position + 1 :])


FOREIGN_MESSAGES = {
    "empty": b"",
    "arbitrary bytes": b"I owe you a million yen",
    "another version": _fields(*OURS).replace(b"/v1", b"/v2"),
    "prefix alone": b"koha-jpki-bridge/challenge/v1\x00",
    "six fields": _fields(*OURS[:-1]),
    "eight fields": _fields(*OURS, b""),
    "trailing byte": _fields(*OURS) + b"\x00",
    "cut off": _fields(*OURS)[:-1],
    "unknown purpose": _with(0, b"pay"),
    "purpose that is no text": _with(0, b"\xff"),
    "another library": _with(1, b"branch"),
    "another terminal": _with(2, b"counter-2"),
    "short nonce": _with(4, bytes(31)),
    "no time": _with(5, b"now"),
    "time without zone": _with(5, b"2026-11-21T03:00:00"),
    "time with single digits": _with(5, b"2026-11-21T3:0:0Z"),
    "another certificate": _with(6, bytes(32)),
    "digest cut off": _with(6, DIGEST[:-1]),
}


@pytest.mark.parametrize("message", FOREIGN_MESSAGES.values(), ids=FOREIGN_MESSAGES.keys())
def test_the_agent_signs_nothing_else(message):
    assert check(_fields(*OURS))
    with pytest.raises(MalformedChallenge):
        check(message)


@given(
    message=st.binary() | st.lists(st.binary(max_size=40), max_size=9).map(lambda fields: _fields(*fields))
)
def test_random_messages_are_refused_by_the_agent(message):
    with pytest.raises(MalformedChallenge):
        check(message)
