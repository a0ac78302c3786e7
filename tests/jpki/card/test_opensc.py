"""OpenSC's own JPKI driver as an independent judge of the simulated card."""

import os
import re
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jpki import pcsc
from jpki.simulator.card import CardFaults
from jpki.simulator.pki import CardProfile
from jpki.simulator.reader import VirtualReader

pytestmark = [pytest.mark.pcsc, pytest.mark.timeout(180)]

READER = VirtualReader.names[0]
MESSAGE = b"koha-jpki-bridge"

# Name in OpenSC, PIN, tries, object id of key and certificate.
USER_AUTHENTICATION = ("User Authentication PIN", "1234", 3, "01")
SIGNATURE = ("Digital Signature PIN", "ABC123", 5, "02")
BOTH_PINS = pytest.mark.parametrize(
    ("name", "pin", "tries", "object_id"), [USER_AUTHENTICATION, SIGNATURE], ids=["01", "02"]
)


@pytest.fixture
def opensc(lay_card, make_card):
    """Return a function that runs an OpenSC tool on a card that OpenSC likes."""
    # While a PIN is blocked OpenSC wants its empty VERIFY answered 63C0.
    card = lay_card(make_card(blocked_query_status_word=0x63C0))

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
        # OpenSC leaves the card powered, and a verified PIN open, for most of a second.
        with pcsc.connect(READER):
            pass
        return result

    run.card = card
    return run


def sign(opensc, tmp_path, name: str, pin: str, object_id: str) -> subprocess.CompletedProcess[str]:
    """Sign with pkcs11-tool into ``tmp_path/signature``."""
    (tmp_path / "message").write_bytes(MESSAGE)
    return opensc(
        "pkcs11-tool",
        *("--token-label", f"JPKI ({name})"),
        *("--login", "--pin", pin),
        *("--sign", "--mechanism", "SHA256-RSA-PKCS", "--id", object_id),
        *("--input-file", str(tmp_path / "message")),
        *("--output-file", str(tmp_path / "signature")),
    )


def dump(opensc) -> str:
    result = opensc("pkcs15-tool", "--reader", READER, "--dump")
    assert result.returncode == 0, result.stderr
    return result.stdout


def tries_left(opensc) -> dict[str, int]:
    """Return OpenSC's word on the tries of each PIN."""
    pins = re.findall(r"PIN \[(.*?)\].*?Tries left\s*: (\d+)", dump(opensc), re.DOTALL)
    return {name: int(tries) for name, tries in pins}


def test_the_card_is_recognised(opensc):
    result = opensc("opensc-tool", "--reader", READER, "--name")
    assert (result.returncode, result.stdout.strip()) == (0, "jpki")


def test_the_dump_shows_two_pins_two_keys_and_four_certificates(opensc):
    text = dump(opensc)
    counts = {
        kind: len(re.findall(rf"^{kind} \[", text, re.MULTILINE)) for kind in ("PIN", "Private RSA Key")
    }
    assert counts == {"PIN": 2, "Private RSA Key": 2}
    assert len(re.findall(r"^X.509 Certificate \[", text, re.MULTILINE)) == 4
    assert opensc.card.state().verify_count == 0


def test_the_certificate_is_read_as_it_is(opensc, good_material, tmp_path):
    path = tmp_path / "certificate.pem"
    result = opensc("pkcs15-tool", "--reader", READER, "--read-certificate", "01", "--output", str(path))
    assert result.returncode == 0, result.stderr
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    assert certificate.public_bytes(Encoding.DER) == good_material.certificate_der


def test_the_signature_certificate_is_read_with_its_pin_only(opensc, tmp_path):
    command = ["pkcs15-tool", "--reader", READER, "--read-certificate", "02"]
    assert opensc(*command).returncode == 1
    result = opensc(*command, "--verify-pin", "--auth-id", "02", "--pin", "ABC123")
    assert result.returncode == 0, result.stderr
    assert "BEGIN CERTIFICATE" in result.stdout


@BOTH_PINS
def test_the_signature_is_verified_by_openssl(
    opensc, tmp_path, pki, good_material, name, pin, tries, object_id
):
    signed = sign(opensc, tmp_path, name, pin, object_id)
    assert signed.returncode == 0, signed.stderr
    # The cards of the test PKI share one key for both certificates.
    public_key = good_material.private_key.public_key()
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(pem)
    verified = subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", "message"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert verified.stdout.strip() == "Verified OK"


@BOTH_PINS
def test_wrong_pins_are_counted_down_until_the_pin_is_blocked(opensc, tmp_path, name, pin, tries, object_id):
    other = {USER_AUTHENTICATION[0]: 3, SIGNATURE[0]: 5}
    for left in reversed(range(tries)):
        wrong = sign(opensc, tmp_path, name, "0000" if pin == "1234" else "WRONG00", object_id)
        assert "CKR_PIN_INCORRECT" in wrong.stderr, wrong.stderr
        assert tries_left(opensc) == other | {name: left}
    slots = opensc("pkcs11-tool", "--list-slots").stdout
    assert "user PIN locked" in slots
    assert sign(opensc, tmp_path, name, pin, object_id).returncode != 0
    assert not (tmp_path / "signature").exists()


@pytest.mark.parametrize(
    ("blocked", "words"),
    [(0x6983, "Authentication method blocked"), (0x6984, "Reference data not usable")],
    ids=["6983", "6984"],
)
def test_a_blocked_pin_is_told_in_both_ways_that_cards_have(opensc, blocked, words):
    opensc.card.set_faults(CardFaults(blocked_status_word=blocked, blocked_query_status_word=0x63C0))
    command = ["pkcs15-tool", "--reader", READER, "--verify-pin", "--auth-id", "01", "--pin"]
    for _ in range(3):
        assert "PIN code or key incorrect" in opensc(*command, "0000").stderr
    refused = opensc(*command, "1234")
    assert words in refused.stderr


def test_a_certificate_of_the_next_generation_is_read_too(lay_card, make_card, pki, opensc):
    material = pki.issue_card(CardProfile.GOOD_NEW_GENERATION)
    lay_card(make_card(material, blocked_query_status_word=0x63C0))
    result = opensc("pkcs15-tool", "--reader", READER, "--read-certificate", "01")
    assert result.returncode == 0, result.stderr
    certificate = x509.load_pem_x509_certificate(result.stdout.encode("ascii"))
    assert certificate.public_bytes(Encoding.DER) == material.certificate_der
