from __future__ import annotations

import dataclasses
import hashlib
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from jpki.certificate import UserAuthenticationCertificate
from jpki.constants import SHA256_DIGEST_INFO_PREFIX
from jpki.errors import (
    CertificateExpired,
    CertificateNotYetValid,
    InvalidSignature,
    MalformedCertificate,
    UntrustedIssuer,
    WrongCertificatePolicy,
    WrongCertificateType,
)
from jpki.simulator.pki import OTHER_POLICY, Authority, CardProfile
from jpki.verify import CertificatePolicy, verify_certificate, verify_signature

MESSAGE = b"what the patron agrees to"


def certificate_of(pki, profile: CardProfile) -> UserAuthenticationCertificate:
    return UserAuthenticationCertificate.from_der(pki.issue_card(profile).certificate_der)


@pytest.mark.parametrize(
    ("profile", "authority"),
    [
        (CardProfile.GOOD, Authority.AUTHENTICATION_1),
        (CardProfile.GOOD_NEW_GENERATION, Authority.AUTHENTICATION_2),
        (CardProfile.P384, Authority.AUTHENTICATION_2),
        (CardProfile.SERIAL_20_OCTETS, Authority.AUTHENTICATION_2),
        (CardProfile.EXPIRES_SOON, Authority.AUTHENTICATION_2),
    ],
    ids=lambda value: value.value,
)
def test_a_good_certificate_is_vouched_for_by_its_ca(pki, trust_store, policy, now, profile, authority):
    issuer = verify_certificate(certificate_of(pki, profile), trust_store, policy, now)
    expected = hashlib.sha256(pki.ca_certificate(authority)).hexdigest().upper()
    assert issuer.fingerprint == expected


@pytest.mark.parametrize(
    ("profile", "error"),
    [
        (CardProfile.EXPIRED, CertificateExpired),
        (CardProfile.NOT_YET_VALID, CertificateNotYetValid),
        (CardProfile.FOREIGN_CA, UntrustedIssuer),
        (CardProfile.FOREIGN_CA_FORGED_KEY_IDENTIFIER, UntrustedIssuer),
        (CardProfile.SIGNATURE_CERTIFICATE, WrongCertificateType),
        (CardProfile.WRONG_POLICY, WrongCertificatePolicy),
        (CardProfile.POLICY_MISSING, WrongCertificatePolicy),
        (CardProfile.KEY_USAGE_MISSING, WrongCertificatePolicy),
        (CardProfile.KEY_USAGE_WRONG, WrongCertificatePolicy),
        (CardProfile.KEY_USAGE_CERTIFICATE_SIGNING, WrongCertificatePolicy),
        (CardProfile.UNKNOWN_CRITICAL_EXTENSION, WrongCertificatePolicy),
    ],
    ids=lambda value: getattr(value, "value", None),
)
def test_a_bad_certificate_is_refused_by_its_own_error(pki, trust_store, policy, now, profile, error):
    certificate = certificate_of(pki, profile)
    with pytest.raises(error) as caught:
        verify_certificate(certificate, trust_store, policy, now)
    assert caught.type is error


def test_the_words_tell_policy_key_usage_and_critical_extension_apart(pki, trust_store, policy, now):
    words = set()
    for profile in (
        CardProfile.WRONG_POLICY,
        CardProfile.KEY_USAGE_MISSING,
        CardProfile.KEY_USAGE_WRONG,
        CardProfile.UNKNOWN_CRITICAL_EXTENSION,
    ):
        with pytest.raises(WrongCertificatePolicy) as caught:
            verify_certificate(certificate_of(pki, profile), trust_store, policy, now)
        words.add(str(caught.value))
    assert len(words) == 4


@pytest.mark.parametrize(
    "profile", [CardProfile.WRONG_POLICY, CardProfile.UNKNOWN_CRITICAL_EXTENSION], ids=lambda p: p.value
)
def test_a_refusal_does_not_carry_the_subject_along(pki, trust_store, policy, now, profile):
    certificate = certificate_of(pki, profile)
    with pytest.raises(WrongCertificatePolicy) as caught:
        verify_certificate(certificate, trust_store, policy, now)
    # cryptography's own text names the certificate's subject; it must not even hang on as the context.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "CN=" not in str(caught.value)


def test_validity_ends_with_its_last_second_and_begins_with_its_first(pki, trust_store, policy):
    certificate = certificate_of(pki, CardProfile.GOOD_NEW_GENERATION)
    second = timedelta(seconds=1)
    assert verify_certificate(certificate, trust_store, policy, certificate.not_before)
    assert verify_certificate(certificate, trust_store, policy, certificate.not_after)
    with pytest.raises(CertificateNotYetValid) as too_early:
        verify_certificate(certificate, trust_store, policy, certificate.not_before - second)
    with pytest.raises(CertificateExpired) as too_late:
        verify_certificate(certificate, trust_store, policy, certificate.not_after + second)
    assert too_early.value.not_before == certificate.not_before
    assert too_late.value.not_after == certificate.not_after


def test_validity_is_over_a_microsecond_after_its_last_second(pki, trust_store, policy):
    certificate = certificate_of(pki, CardProfile.GOOD_NEW_GENERATION)
    with pytest.raises(CertificateExpired):
        verify_certificate(
            certificate, trust_store, policy, certificate.not_after + timedelta(microseconds=1)
        )


@pytest.mark.parametrize(
    ("profile", "error"),
    [
        (CardProfile.FOREIGN_CA_FORGED_KEY_IDENTIFIER, UntrustedIssuer),
        (CardProfile.SIGNATURE_CERTIFICATE, WrongCertificateType),
        (CardProfile.UNKNOWN_CRITICAL_EXTENSION, CertificateExpired),
        (CardProfile.WRONG_POLICY, CertificateExpired),
    ],
    ids=lambda value: getattr(value, "value", None),
)
def test_what_has_also_expired_is_refused_for_the_first_reason(pki, trust_store, policy, profile, error):
    certificate = certificate_of(pki, profile)
    with pytest.raises(error):
        verify_certificate(certificate, trust_store, policy, certificate.not_after + timedelta(days=1))


def test_a_ca_that_signs_in_another_name_is_refused(pki, trust_store, policy, now):
    card = x509.load_der_x509_certificate(pki.issue_card(CardProfile.GOOD_NEW_GENERATION).certificate_der)
    builder = x509.CertificateBuilder(
        x509.Name([]), card.subject, card.public_key(), card.serial_number, now, now + timedelta(days=1)
    )
    for extension in card.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    signed = builder.sign(pki.keys.authorities[Authority.AUTHENTICATION_2], hashes.SHA256())
    certificate = UserAuthenticationCertificate.from_der(signed.public_bytes(Encoding.DER))
    with pytest.raises(WrongCertificatePolicy, match="issuer's name"):
        verify_certificate(certificate, trust_store, policy, now)


def test_a_ca_that_has_expired_vouches_for_nothing(pki, trust_store, policy, now):
    later = now + timedelta(days=8 * 365)
    certificate = dataclasses.replace(certificate_of(pki, CardProfile.GOOD), not_after=later)
    with pytest.raises(UntrustedIssuer, match="CA's own"):
        verify_certificate(certificate, trust_store, policy, later)


def test_the_accepted_policies_come_from_the_settings(pki, trust_store, now):
    other = CertificatePolicy(policy_oids=frozenset({OTHER_POLICY}))
    assert verify_certificate(certificate_of(pki, CardProfile.WRONG_POLICY), trust_store, other, now)
    with pytest.raises(WrongCertificatePolicy):
        verify_certificate(certificate_of(pki, CardProfile.GOOD), trust_store, other, now)


def test_another_extended_key_usage_is_logged_and_let_through(pki, trust_store, policy, now, caplog):
    certificate = certificate_of(pki, CardProfile.OTHER_EXTENDED_KEY_USAGE)
    assert verify_certificate(certificate, trust_store, policy, now)
    assert "1.3.6.1.5.5.7.3.4" in caplog.text


def test_another_extended_key_usage_is_refused_where_the_policy_enforces_it(pki, trust_store, now):
    certificate = certificate_of(pki, CardProfile.OTHER_EXTENDED_KEY_USAGE)
    with pytest.raises(WrongCertificatePolicy):
        verify_certificate(certificate, trust_store, CertificatePolicy(enforce_extended_key_usage=True), now)


def reissued_with(pki, now, *extensions: tuple[x509.ExtensionType, bool]) -> UserAuthenticationCertificate:
    """Return a good certificate, issued by the new generation, with *extensions* besides."""
    card = x509.load_der_x509_certificate(pki.issue_card(CardProfile.GOOD_NEW_GENERATION).certificate_der)
    builder = x509.CertificateBuilder(
        card.issuer, card.subject, card.public_key(), card.serial_number, now, now + timedelta(days=1)
    )
    replaced = {value.oid for value, _ in extensions}
    for extension in card.extensions:
        if extension.oid not in replaced:
            builder = builder.add_extension(extension.value, extension.critical)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    certificate = builder.sign(pki.keys.authorities[Authority.AUTHENTICATION_2], hashes.SHA256())
    return UserAuthenticationCertificate.from_der(certificate.public_bytes(Encoding.DER))


@pytest.mark.parametrize("critical", [False, True], ids=["not critical", "critical"])
def test_a_certificate_may_say_that_it_is_no_ca(pki, trust_store, policy, now, critical):
    no_ca = x509.BasicConstraints(ca=False, path_length=None)
    assert verify_certificate(reissued_with(pki, now, (no_ca, critical)), trust_store, policy, now)


def test_a_subject_alternative_name_and_an_unknown_extension_are_let_be(pki, trust_store, policy, now):
    certificate = reissued_with(
        pki,
        now,
        (x509.SubjectAlternativeName([x509.DirectoryName(x509.Name([]))]), False),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("2.999.2"), b"anything"), False),
    )
    assert verify_certificate(certificate, trust_store, policy, now)


def test_a_key_usage_that_is_not_critical_is_refused(pki, trust_store, policy, now):
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    with pytest.raises(WrongCertificatePolicy):
        verify_certificate(reissued_with(pki, now, (usage, False)), trust_store, policy, now)


def test_client_authentication_is_the_extended_key_usage_that_is_not_even_logged(
    pki, now, trust_store, caplog
):
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    strict = CertificatePolicy(enforce_extended_key_usage=True)
    assert verify_certificate(reissued_with(pki, now, (usage, False)), trust_store, strict, now)
    assert caplog.text == ""


def test_an_authority_key_identifier_without_a_key_identifier_is_refused(pki, now):
    by_name = x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(x509.Name([]))], 1)
    with pytest.raises(MalformedCertificate):
        reissued_with(pki, now, (by_name, False))


def rsa_signature(pki, message: bytes = MESSAGE, hash_algorithm=None) -> bytes:
    key = pki.issue_card().private_key
    return key.sign(message, padding.PKCS1v15(), hash_algorithm or hashes.SHA256())


@pytest.fixture
def certificate(pki) -> UserAuthenticationCertificate:
    return certificate_of(pki, CardProfile.GOOD)


def test_the_cards_own_signature_is_verified(pki, certificate):
    verify_signature(certificate, MESSAGE, rsa_signature(pki))


def test_the_next_cards_ecdsa_signature_is_verified(pki):
    card = pki.issue_card(CardProfile.P384)
    signature = card.private_key.sign(MESSAGE, ec.ECDSA(hashes.SHA384()))
    certificate = UserAuthenticationCertificate.from_der(card.certificate_der)
    verify_signature(certificate, MESSAGE, signature)
    with pytest.raises(InvalidSignature):
        verify_signature(certificate, MESSAGE + b".", signature)
    with pytest.raises(InvalidSignature):
        verify_signature(certificate, MESSAGE, card.private_key.sign(MESSAGE, ec.ECDSA(hashes.SHA256())))


def test_a_signature_over_another_message_is_refused(pki, certificate):
    with pytest.raises(InvalidSignature):
        verify_signature(certificate, MESSAGE, rsa_signature(pki, MESSAGE + b"."))


def test_a_signature_with_another_key_is_refused(pki, certificate):
    other = pki.keys.authorities[Authority.FOREIGN].sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(InvalidSignature):
        verify_signature(certificate, MESSAGE, other)


@pytest.mark.parametrize(
    "change", [lambda s: s[:-1], lambda s: b"\x00" + s, lambda s: s + b"\x00", lambda _: b""]
)
def test_a_signature_of_the_wrong_length_is_refused(pki, certificate, change):
    with pytest.raises(InvalidSignature):
        verify_signature(certificate, MESSAGE, change(rsa_signature(pki)))


def test_a_signature_as_large_as_the_modulus_is_refused(certificate):
    with pytest.raises(InvalidSignature):
        verify_signature(certificate, MESSAGE, b"\xff" * 256)


def test_a_pss_signature_is_refused(pki, certificate):
    key = pki.issue_card().private_key
    signature = key.sign(MESSAGE, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    with pytest.raises(InvalidSignature):
        verify_signature(certificate, MESSAGE, signature)


@pytest.mark.parametrize(
    "hash_algorithm", [hashes.SHA384(), hashes.SHA512(), hashes.SHA1()], ids=lambda h: h.name
)
def test_a_signature_with_another_hash_is_refused(pki, certificate, hash_algorithm):
    with pytest.raises(InvalidSignature):
        verify_signature(certificate, MESSAGE, rsa_signature(pki, hash_algorithm=hash_algorithm))


DIGEST_INFO = SHA256_DIGEST_INFO_PREFIX + hashlib.sha256(MESSAGE).digest()
SHA512_256_DIGEST_INFO = bytes.fromhex("3031300D060960864801650304020605000420") + DIGEST_INFO[-32:]
MODULUS_SIZE = 256


def _padded(
    digest_info: bytes, *, garbage: bytes = b"", padding_octet: bytes = b"\xff", block_type: bytes = b"\x01"
):
    """Return an encoded message EMSA-PKCS1-v1_5 (RFC 8017, 9.2), right or wrong."""
    filling = padding_octet * (MODULUS_SIZE - 3 - len(digest_info) - len(garbage))
    return b"\x00" + block_type + filling + b"\x00" + digest_info + garbage


FORGERIES = {
    "short padding, garbage after DigestInfo": b"\x00\x01"
    + b"\xff" * 8
    + b"\x00"
    + DIGEST_INFO
    + bytes(MODULUS_SIZE - 11 - len(DIGEST_INFO)),
    "one octet of garbage after DigestInfo": _padded(DIGEST_INFO, garbage=b"\x00"),
    "no padding at all": b"\x00\x01\x00" + DIGEST_INFO + bytes(MODULUS_SIZE - 3 - len(DIGEST_INFO)),
    "wrong hash OID": _padded(SHA512_256_DIGEST_INFO),
    "hash without DigestInfo": _padded(DIGEST_INFO[-32:]),
    "padding of zeros (block type 0)": _padded(DIGEST_INFO, padding_octet=b"\x00", block_type=b"\x00"),
    "random padding (block type 2)": _padded(DIGEST_INFO, padding_octet=b"\x5a", block_type=b"\x02"),
    "wrong octet in the padding": _padded(DIGEST_INFO).replace(b"\xff\xff", b"\xff\xfe", 1),
    "parameters with a hidden octet string": _padded(
        bytes.fromhex("3035301106096086480165030402010404DEADBEEF0420") + DIGEST_INFO[-32:]
    ),
    "length of DigestInfo in BER": _padded(b"\x30\x81" + DIGEST_INFO[1:]),
}


def _raw_rsa(key, encoded: bytes) -> bytes:
    """Sign without any check of what is signed, as a card does."""
    numbers = key.private_numbers()
    signed = pow(int.from_bytes(encoded, "big"), numbers.d, numbers.public_numbers.n)
    return signed.to_bytes(MODULUS_SIZE, "big")


def test_the_raw_signature_of_a_right_encoding_is_verified(pki, certificate):
    verify_signature(certificate, MESSAGE, _raw_rsa(pki.issue_card().private_key, _padded(DIGEST_INFO)))


@pytest.mark.parametrize("encoded", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_pkcs1_forgery_is_refused_though_the_right_key_made_it(pki, certificate, encoded):
    assert len(encoded) == MODULUS_SIZE
    with pytest.raises(InvalidSignature):
        verify_signature(certificate, MESSAGE, _raw_rsa(pki.issue_card().private_key, encoded))


def test_a_digest_info_without_null_parameters_is_refused(pki, certificate):
    without_null = bytes.fromhex("302F300B0609608648016503040201") + b"\x04\x20" + DIGEST_INFO[-32:]
    with pytest.raises(InvalidSignature):
        verify_signature(certificate, MESSAGE, _raw_rsa(pki.issue_card().private_key, _padded(without_null)))
