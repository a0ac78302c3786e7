from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from jpki.certificate import CertificateType, UserAuthenticationCertificate
from jpki.errors import (
    CertificateError,
    FingerprintNotPinned,
    MalformedCertificate,
    TestAuthorityRefused,
    TrustFileRefused,
    UntrustedIssuer,
    WrongCertificateType,
)
from jpki.simulator.pki import Authority, CardProfile
from jpki.trust import AuthorityCertificate, TrustStore, import_anchor
from jpki.trust_files import load_directory, write_anchor

REAL_CA_DIRECTORY = next(
    (
        parent / "shared" / "data" / "jpki-ca"
        for parent in Path(__file__).resolve().parents
        if (parent / "shared" / "data" / "jpki-ca").is_dir()
    ),
    None,
)
AUTHENTICATION_03 = "64114F29620C24ED2631D46476A040E7EE740D956089C00B036A6A8118C322B5"
SIGNATURE_03 = "D227F6CDE11D35C5252178F106F843D24651944975413B539FA2FB68DBFA365F"


def fingerprint(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


@pytest.fixture
def ca(pki) -> bytes:
    return pki.ca_certificate(Authority.AUTHENTICATION_2)


def test_a_pinned_ca_becomes_an_anchor(ca):
    anchor = import_anchor(ca, {fingerprint(ca)}, allow_test=True)
    assert anchor.certificate_type is CertificateType.USER_AUTHENTICATION
    assert anchor.fingerprint == fingerprint(ca).upper()
    assert anchor.is_test
    assert len(anchor.key_identifier) == 20


@pytest.mark.parametrize(
    "form", [str.lower, str.upper, lambda text: ":".join(text[i : i + 2] for i in range(0, 64, 2))]
)
def test_a_pin_may_be_written_as_openssl_or_a_pdf_writes_it(ca, form):
    assert import_anchor(ca, [form(fingerprint(ca))], allow_test=True)


def test_pem_and_der_are_the_same_ca(ca):
    pins = {fingerprint(ca)}
    assert import_anchor(pem(ca), pins, allow_test=True) == import_anchor(ca, pins, allow_test=True)


def test_an_unpinned_ca_is_refused_and_its_fingerprint_named(ca):
    with pytest.raises(FingerprintNotPinned) as caught:
        import_anchor(ca, {"00" * 32}, allow_test=True)
    assert caught.value.fingerprint == fingerprint(ca).upper()


def test_a_test_ca_is_refused_in_production_though_it_is_pinned(ca):
    with pytest.raises(TestAuthorityRefused):
        import_anchor(ca, {fingerprint(ca)})


def test_a_card_certificate_is_no_anchor(pki):
    der = pki.issue_card().certificate_der
    with pytest.raises(WrongCertificateType):
        import_anchor(der, {fingerprint(der)}, allow_test=True)


def test_a_card_certificate_that_says_ca_is_no_anchor(pki):
    der = pki.issue_card(CardProfile.CA_AS_LEAF).certificate_der
    with pytest.raises(WrongCertificateType):
        import_anchor(der, {fingerprint(der)}, allow_test=True)


def test_a_ca_that_is_not_signed_by_itself_is_refused(ca):
    certificate = asn1.Certificate.load(ca)
    certificate["signature_value"] = bytes(256)
    der = certificate.dump(force=True)
    with pytest.raises(MalformedCertificate):
        import_anchor(der, {fingerprint(der)}, allow_test=True)


def test_a_self_signed_ca_of_another_name_is_refused(pki, now):
    key = pki.keys.authorities[Authority.FOREIGN]
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Somebody else's CA")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    for value in (
        x509.BasicConstraints(ca=True, path_length=None),
        x509.KeyUsage(False, False, False, False, False, True, True, False, False),
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
    ):
        builder = builder.add_extension(value, critical=False)
    der = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(WrongCertificateType):
        import_anchor(der, {fingerprint(der)}, allow_test=True)


def test_two_certificates_in_one_file_are_refused(pki, ca):
    both = pem(ca) + pem(pki.ca_certificate(Authority.AUTHENTICATION_1))
    with pytest.raises(MalformedCertificate):
        import_anchor(both, {fingerprint(ca)}, allow_test=True)


@pytest.mark.parametrize("data", [b"", b"-----BEGIN CERTIFICATE-----\n?\n", bytes(200_000)])
def test_what_is_no_certificate_is_no_anchor(data):
    with pytest.raises(MalformedCertificate):
        import_anchor(data, set())


@given(data=st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_certificate_errors(data):
    with pytest.raises(CertificateError):
        AuthorityCertificate.from_bytes(data)


@pytest.mark.parametrize(
    ("profile", "authority"),
    [
        (CardProfile.GOOD, Authority.AUTHENTICATION_1),
        (CardProfile.GOOD_NEW_GENERATION, Authority.AUTHENTICATION_2),
    ],
    ids=["old generation", "new generation"],
)
def test_the_issuer_is_found_among_generations_of_one_name(pki, trust_store, profile, authority):
    certificate = UserAuthenticationCertificate.from_der(pki.issue_card(profile).certificate_der)
    issuer = trust_store.find_issuer(certificate)
    assert issuer.fingerprint == fingerprint(pki.ca_certificate(authority)).upper()


@pytest.mark.parametrize(
    "profile", [CardProfile.FOREIGN_CA, CardProfile.FOREIGN_CA_FORGED_KEY_IDENTIFIER], ids=lambda p: p.value
)
def test_a_foreign_ca_of_the_same_name_is_not_believed(pki, trust_store, profile):
    certificate = UserAuthenticationCertificate.from_der(pki.issue_card(profile).certificate_der)
    with pytest.raises(UntrustedIssuer):
        trust_store.find_issuer(certificate)


def test_a_signature_certificate_is_named_as_such_where_its_ca_is_known(pki, trust_store):
    der = pki.issue_card(CardProfile.SIGNATURE_CERTIFICATE).certificate_der
    with pytest.raises(WrongCertificateType):
        trust_store.find_issuer(UserAuthenticationCertificate.from_der(der))


def test_a_signature_certificate_is_untrusted_where_its_ca_is_not_known(pki, trust_store):
    der = pki.issue_card(CardProfile.SIGNATURE_CERTIFICATE).certificate_der
    authentication_only = TrustStore(
        anchor
        for anchor in trust_store.anchors
        if anchor.certificate_type is CertificateType.USER_AUTHENTICATION
    )
    with pytest.raises(UntrustedIssuer):
        authentication_only.find_issuer(UserAuthenticationCertificate.from_der(der))


def test_an_empty_store_trusts_nobody(pki):
    with pytest.raises(UntrustedIssuer):
        TrustStore([]).find_issuer(UserAuthenticationCertificate.from_der(pki.issue_card().certificate_der))


def test_what_is_written_is_loaded_again(tmp_path, ca, trust_store):
    directory = tmp_path / "trust"
    for anchor in (*trust_store.anchors, trust_store.anchors[0]):
        write_anchor(directory, anchor)
    (directory / "README").write_text("not a certificate")
    pins = {anchor.fingerprint for anchor in trust_store.anchors}

    loaded = load_directory(directory, pins, allow_test=True)

    assert set(map(repr, loaded.anchors)) == set(map(repr, trust_store.anchors))
    assert len(list(directory.iterdir())) == 4, "no drafts, and one file for an anchor written twice"


def test_a_pin_taken_back_refuses_the_file_at_the_next_load(tmp_path, trust_store):
    path = write_anchor(tmp_path, trust_store.anchors[0])
    with pytest.raises(TrustFileRefused) as caught:
        load_directory(tmp_path, {"00" * 32}, allow_test=True)
    assert caught.value.path == path
    assert isinstance(caught.value.problem, FingerprintNotPinned)


def test_a_file_that_is_no_certificate_refuses_the_directory(tmp_path):
    (tmp_path / "junk.pem").write_text("junk")
    with pytest.raises(TrustFileRefused, match=r"junk\.pem"):
        load_directory(tmp_path, set(), allow_test=True)


def test_nothing_is_left_behind_where_writing_fails(tmp_path, trust_store, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_anchor(tmp_path, trust_store.anchors[0])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def real_ca_directory() -> Path:
    if REAL_CA_DIRECTORY is None:
        pytest.skip("the real CA certificates (shared/data/jpki-ca) are not on this machine")
    return REAL_CA_DIRECTORY


def test_the_real_authentication_ca_of_2023_is_imported_when_pinned(real_ca_directory):
    anchor = import_anchor((real_ca_directory / "auth_ca_2023.pem").read_bytes(), {AUTHENTICATION_03})
    assert anchor.certificate_type is CertificateType.USER_AUTHENTICATION
    assert not anchor.is_test
    assert anchor.key_identifier.hex().upper() == "1AC100F596A3BC8C4B3DF195E32699249E9E308A"


def test_a_real_ca_is_refused_when_not_pinned(real_ca_directory):
    with pytest.raises(FingerprintNotPinned):
        import_anchor((real_ca_directory / "auth_ca_2015.pem").read_bytes(), {AUTHENTICATION_03})


@pytest.mark.parametrize("name", ["signca01.cer", "signca02.cer", "signca03.cer"])
def test_a_real_signature_ca_is_recognised_as_one_that_cannot_vouch_for_a_card(real_ca_directory, name):
    authority = AuthorityCertificate.from_bytes((real_ca_directory / name).read_bytes())
    assert authority.certificate_type is CertificateType.DIGITAL_SIGNATURE
