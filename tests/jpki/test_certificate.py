from __future__ import annotations

import hashlib
import warnings
from datetime import UTC, datetime

import pytest
from asn1crypto import x509 as asn1
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from jpki.certificate import (
    MAXIMUM_CERTIFICATE_SIZE,
    SerialNumber,
    UserAuthenticationCertificate,
)
from jpki.errors import (
    CertificateError,
    MalformedCertificate,
    UnsupportedAlgorithm,
    WrongCertificateType,
)
from jpki.simulator.pki import Authority, CardProfile
from tests.jpki.effort import within_reason

from_der = UserAuthenticationCertificate.from_der


def test_a_good_certificate_is_parsed(pki):
    material = pki.issue_card(CardProfile.GOOD_NEW_GENERATION)
    certificate = from_der(material.certificate_der)

    assert certificate.serial_number == SerialNumber(material.serial_number)
    assert certificate.der == material.certificate_der
    assert certificate.digest == hashlib.sha256(material.certificate_der).digest()
    assert certificate.not_before == datetime(2025, 11, 21, 3, 0, tzinfo=UTC)
    assert certificate.not_after == datetime(2030, 11, 20, 14, 59, 59, tzinfo=UTC)
    assert isinstance(certificate.public_key, rsa.RSAPublicKey)
    assert certificate.public_key.key_size == 2048
    assert len(certificate.issuer_key_identifier) == 20


def test_the_next_cards_p384_key_is_parsed(pki):
    certificate = from_der(pki.issue_card(CardProfile.P384).certificate_der)
    assert isinstance(certificate.public_key, ec.EllipticCurvePublicKey)


def test_generations_of_one_name_differ_in_the_key_identifier(pki):
    old = from_der(pki.issue_card(CardProfile.GOOD).certificate_der)
    new = from_der(pki.issue_card(CardProfile.GOOD_NEW_GENERATION).certificate_der)
    assert old.x509.issuer == new.x509.issuer
    assert old.issuer_key_identifier != new.issuer_key_identifier


def test_a_serial_number_of_20_octets_is_taken(pki):
    material = pki.issue_card(CardProfile.SERIAL_20_OCTETS)
    assert len(from_der(material.certificate_der).serial_number.to_bytes()) == 20


def test_nothing_of_a_certificate_that_names_the_card_is_printed(pki):
    material = pki.issue_card()
    certificate = from_der(material.certificate_der)
    subject = certificate.x509.subject.rfc4514_string()
    for text in (repr(certificate), str(certificate), repr(certificate.serial_number), repr(material)):
        assert str(material.serial_number) not in text
        assert f"{material.serial_number:X}" not in text.upper()
        assert subject not in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, b"\x01"), (0xFF, b"\xff"), (0x100, b"\x01\x00"), (0x06D18006, b"\x06\xd1\x80\x06")],
)
def test_a_serial_number_becomes_its_shortest_bytes(value, expected):
    assert SerialNumber(value).to_bytes() == expected


@pytest.mark.parametrize("value", [0, -1, 1 << 159], ids=["zero", "negative", "21-octets"])
def test_a_serial_number_that_rfc_5280_forbids_cannot_be_made(value):
    with pytest.raises(MalformedCertificate) as caught:
        SerialNumber(value)
    assert str(abs(value)) not in str(caught.value) or value == 0


@pytest.mark.parametrize(
    ("profile", "error", "words"),
    [
        (CardProfile.SERIAL_21_OCTETS, MalformedCertificate, "longer than 20 octets"),
        (CardProfile.SERIAL_NEGATIVE, MalformedCertificate, "not one DER certificate of RFC 5280"),
        (CardProfile.AUTHORITY_KEY_IDENTIFIER_MISSING, MalformedCertificate, "no authority key identifier"),
        (CardProfile.RSA_1024, UnsupportedAlgorithm, "the public key is neither RSA of 2048 bits or more"),
        (CardProfile.SHA1, UnsupportedAlgorithm, "signed with an algorithm"),
        (CardProfile.CA_AS_LEAF, WrongCertificateType, "a CA certificate"),
    ],
    ids=lambda value: getattr(value, "value", None),
)
def test_a_certificate_of_the_wrong_shape_is_refused_for_that_very_reason(pki, profile, error, words):
    with pytest.raises(error, match=words) as caught:
        from_der(pki.issue_card(profile).certificate_der)
    assert caught.type is error


def test_a_key_of_an_unknown_kind_is_refused(pki):
    der = pki.issue_card().certificate_der
    rsa_encryption = bytes.fromhex("2A864886F70D010101")
    assert der.count(rsa_encryption) == 1
    with pytest.raises(UnsupportedAlgorithm):
        from_der(der.replace(rsa_encryption, rsa_encryption[:-1] + b"\x7f"))


def test_a_negative_serial_number_is_refused_also_where_cryptography_only_warns(pki):
    der = pki.issue_card(CardProfile.SERIAL_NEGATIVE).certificate_der
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(MalformedCertificate, match="not positive"):
            from_der(der)


@pytest.mark.parametrize("authority", list(Authority), ids=lambda authority: authority.value)
def test_a_ca_certificate_is_no_card(pki, authority):
    with pytest.raises(WrongCertificateType):
        from_der(pki.ca_certificate(authority))


def test_a_certificate_of_64_kilobytes_is_refused_before_it_is_parsed(pki):
    der = pki.issue_card().certificate_der
    with pytest.raises(MalformedCertificate, match="longer than"):
        from_der(der + bytes(MAXIMUM_CERTIFICATE_SIZE + 1 - len(der)))


def test_trailing_bytes_are_refused(pki):
    with pytest.raises(MalformedCertificate):
        from_der(pki.issue_card().certificate_der + b"\xff")


def _sequence(content: bytes) -> bytes:
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


def _long_length(der: bytes) -> bytes:
    """Say the length in three octets where two would do."""
    return b"\x30\x83\x00" + der[2:]


def _indefinite_length(der: bytes) -> bytes:
    return b"\x30\x80" + der[4:] + b"\x00\x00"


def _long_length_inside(der: bytes) -> bytes:
    tbs = asn1.Certificate.load(der)["tbs_certificate"].dump()
    return _sequence(_long_length(tbs) + der[4 + len(tbs) :])


def _boolean_of_one(der: bytes) -> bytes:
    """TRUE is FF in DER; BER takes any octet but 00."""
    return der.replace(b"\x01\x01\xff", b"\x01\x01\x01", 1)


def _serial_number_with_a_useless_octet(der: bytes) -> bytes:
    at = der.index(b"\x02\x04\x07")
    return der[: at + 2] + b"\x00" + der[at + 3 :]


def _unused_bits_set(der: bytes) -> bytes:
    return der.replace(b"\x03\x02\x07\x80", b"\x03\x02\x07\x81", 1)


@pytest.mark.parametrize(
    "as_ber",
    [
        _long_length,
        _indefinite_length,
        _long_length_inside,
        _boolean_of_one,
        _serial_number_with_a_useless_octet,
        _unused_bits_set,
    ],
    ids=lambda function: function.__name__.strip("_"),
)
def test_ber_is_refused_where_der_is_meant(pki, as_ber):
    der = pki.issue_card().certificate_der
    ber = as_ber(der)
    assert ber != der
    with pytest.raises(MalformedCertificate):
        from_der(ber)


def test_a_certificate_of_version_1_is_refused(pki):
    certificate = asn1.Certificate.load(pki.issue_card().certificate_der)
    tbs = asn1.TbsCertificate(
        {
            name: certificate["tbs_certificate"][name]
            for name in (
                "serial_number",
                "signature",
                "issuer",
                "validity",
                "subject",
                "subject_public_key_info",
            )
        }
    )
    version_1 = asn1.Certificate(
        {
            "tbs_certificate": tbs,
            "signature_algorithm": certificate["signature_algorithm"],
            "signature_value": certificate["signature_value"],
        }
    )
    with pytest.raises(MalformedCertificate):
        from_der(version_1.dump())


@pytest.mark.parametrize("data", [b"", b"0", b"0\x00", b"0\x03\x02\x01\x01", b"-----BEGIN CERTIFICATE-----"])
def test_what_is_no_certificate_is_refused(data):
    with pytest.raises(MalformedCertificate):
        from_der(data)


@given(data=st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_certificate_errors(data):
    with pytest.raises(CertificateError):
        from_der(data)


@settings(max_examples=500)
@given(place=st.floats(0, 1, exclude_max=True), removed=st.integers(0, 4), inserted=st.binary(max_size=4))
def test_a_mutated_certificate_raises_nothing_but_certificate_errors(der_sample, place, removed, inserted):
    at = int(place * len(der_sample))
    mutated = der_sample[:at] + inserted + der_sample[at + removed :]
    with within_reason():
        try:
            certificate = from_der(mutated)
        except CertificateError:
            return
    assert certificate.der == mutated


@pytest.fixture(scope="module")
def der_sample(pki) -> bytes:
    return pki.issue_card().certificate_der
