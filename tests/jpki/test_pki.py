"""The test PKI has the shape of the real one (facts measured on real CA certificates)."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtensionOID, NameOID

from jpki.simulator.pki import RECIPES, Authority, CardMaterial, CardProfile


def test_every_profile_has_a_recipe_and_can_be_issued(pki):
    assert set(RECIPES) == set(CardProfile)
    for profile in CardProfile:
        assert pki.issue_card(profile).certificate_der


def test_a_ca_certificate_has_the_extensions_of_the_real_ones_in_their_order(pki):
    certificate = x509.load_der_x509_certificate(pki.ca_certificate(Authority.AUTHENTICATION_2))
    assert [(extension.oid, extension.critical) for extension in certificate.extensions] == [
        (ExtensionOID.KEY_USAGE, True),
        (ExtensionOID.SUBJECT_ALTERNATIVE_NAME, False),
        (ExtensionOID.BASIC_CONSTRAINTS, True),
        (ExtensionOID.CRL_DISTRIBUTION_POINTS, False),
        (ExtensionOID.SUBJECT_KEY_IDENTIFIER, False),
    ]


def test_both_generations_and_the_foreign_ca_have_one_name(pki):
    names = {
        x509.load_der_x509_certificate(pki.ca_certificate(authority)).subject.public_bytes()
        for authority in (Authority.AUTHENTICATION_1, Authority.AUTHENTICATION_2, Authority.FOREIGN)
    }
    assert len(names) == 1


def test_every_name_says_that_it_is_a_test(pki):
    for authority in Authority:
        name = x509.load_der_x509_certificate(pki.ca_certificate(authority)).subject
        (organization,) = name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        assert organization.value == "JPKI-TEST-LOCAL"


def test_a_card_has_an_opaque_name_of_23_characters_and_a_certificate_of_a_real_ones_size(pki):
    der = pki.issue_card().certificate_der
    subject = x509.load_der_x509_certificate(der).subject
    (common_name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert len(common_name.value) == 23
    assert common_name.value.endswith("13221003A")
    assert 1_500 < len(der) < 1_650


def test_a_card_may_have_a_key_of_its_own(pki, tmp_path):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    card = pki.issue_card(CardProfile.GOOD, key)
    assert x509.load_der_x509_certificate(card.certificate_der).public_key() == key.public_key()
    card.write(tmp_path)
    loaded = CardMaterial.load(tmp_path)
    assert loaded.serial_number == card.serial_number
    assert loaded.private_key.private_numbers() == key.private_numbers()


def test_only_cards_of_the_authentication_cas_can_be_revoked(pki, now):
    with pytest.raises(KeyError):
        pki.revoke(pki.issue_card(CardProfile.FOREIGN_CA).serial_number, now)
