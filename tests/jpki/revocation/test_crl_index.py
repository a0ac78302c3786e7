"""CRLs in force: what ``openssl ca`` makes is taken, what is wrong is refused and changes nothing."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from asn1crypto import crl as asn1
from asn1crypto.x509 import GeneralName
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from jpki import crl_index
from jpki.certificate import SerialNumber, UserAuthenticationCertificate
from jpki.crl import parse_crl, read_entries
from jpki.crl_index import CrlDirectory, no_progress
from jpki.crl_scope import distribution_points_of
from jpki.crl_source import CrlSource
from jpki.errors import (
    CrlError,
    CrlExpired,
    CrlIndexDamaged,
    CrlIssuerUnknown,
    CrlNotYetValid,
    CrlOlderThanInForce,
    CrlTooLarge,
    InvalidCrlSignature,
    MalformedCrl,
    UnsupportedCrl,
)
from jpki.revocation import RevocationPolicy, RevocationStatus, UnknownReason
from jpki.simulator.crl import OpensslUnavailable, RevokedCard, write_openssl_crl
from jpki.simulator.pki import Authority, CardPki, CardProfile
from tests.jpki.effort import within_reason

LISTED, NOT_LISTED = 0x07654321, 0x07654322


def listed(directory: CrlDirectory, authority: x509.Certificate) -> set[int]:
    """Return the serial numbers in the CRL in force."""
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    return {entry.serial_number.value for entry in directory.find_index(identifier) or ()}


# What is taken


@pytest.mark.parametrize("authority", [Authority.AUTHENTICATION_1, Authority.AUTHENTICATION_2])
@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_a_crl_that_openssl_made_says_who_is_revoked(pki_keys, tmp_path, crl_directory, authority, form):
    today = datetime.now(UTC).replace(microsecond=0)  # openssl looks at the clock itself
    pki = CardPki.create(today, pki_keys)
    profile = CardProfile.GOOD if authority is Authority.AUTHENTICATION_1 else CardProfile.GOOD_NEW_GENERATION
    good, revoked, on_hold = (pki.issue_card(profile) for _ in range(3))
    pki.revoke(revoked.serial_number, today - timedelta(days=3), x509.ReasonFlags.superseded)
    pki.revoke(on_hold.serial_number, today - timedelta(days=2), x509.ReasonFlags.certificate_hold)
    pki.write(tmp_path / "pki")
    file = tmp_path / "crl.pem"
    write_openssl_crl(tmp_path / "pki", file, authority, number=0x123)
    if form is Encoding.DER:
        file.write_bytes(x509.load_pem_x509_crl(file.read_bytes()).public_bytes(Encoding.DER))

    head = crl_directory.import_crl(file, pki.trust_store(), today + timedelta(seconds=1))

    assert (head.number, head.entry_count) == (0x123, 2)
    assert head.next_update - head.this_update == timedelta(days=1)
    source = CrlSource(crl_directory)

    def ask(card):
        certificate = UserAuthenticationCertificate.from_der(card.certificate_der)
        return source.check(certificate, pki.trust_store().find_issuer(certificate), today)

    assert ask(good).status is RevocationStatus.GOOD
    assert ask(good).as_of == head.this_update
    answer = ask(revoked)
    assert (answer.status, answer.reason) == (RevocationStatus.REVOKED, "superseded")
    assert answer.revoked_at == today - timedelta(days=3)
    assert not answer.is_on_hold
    assert ask(on_hold).is_on_hold


def test_a_machine_without_openssl_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(OpensslUnavailable):
        write_openssl_crl(tmp_path, tmp_path / "crl", Authority.AUTHENTICATION_2, number=1)


def test_a_crl_without_entries_revokes_nobody(crl, import_bytes, crl_directory, authority):
    assert import_bytes(crl()).entry_count == 0
    assert listed(crl_directory, authority) == set()


def test_serial_numbers_of_every_length_are_found_and_their_neighbours_are_not(
    crl, import_bytes, crl_directory, authority
):
    numbers = [1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 2**63, 2**64 + 1, 2**159 - 1]
    head = import_bytes(crl(*reversed(numbers)))
    index = crl_directory.find_index(head.issuer_key_identifier)
    assert [entry.serial_number.value for entry in index] == numbers
    assert index.serial_numbers() == b"".join(number.to_bytes(20, "big") for number in numbers)
    assert index.serial_numbers(4) == b"".join(number.to_bytes(20, "big")[-4:] for number in numbers)
    for number in numbers:
        assert index.find(SerialNumber(number)).serial_number.value == number
    for number in (2, 0x7E, 0x81, 0x101, 2**63 - 1, 2**159 - 2):
        assert index.find(SerialNumber(number)) is None


def test_progress_is_reported_up_to_the_whole(crl, import_bytes):
    seen = []
    import_bytes(crl(*range(1, 40_000)), progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


def test_the_crl_in_force_may_be_imported_again(crl, import_bytes):
    head = import_bytes(crl(LISTED))
    assert import_bytes(crl(LISTED)) == head


def test_each_issuer_key_has_a_crl_of_its_own(crl, import_bytes, crl_directory, pki):
    first = x509.load_der_x509_certificate(pki.ca_certificate(Authority.AUTHENTICATION_1))
    import_bytes(crl(LISTED))
    import_bytes(crl(NOT_LISTED, issuer=first, key=Authority.AUTHENTICATION_1, number=3))
    assert sorted(head.number for head in crl_directory.heads()) == [3, 7]


def unusual(crl, now, extension: asn1.CRLEntryExtension, moment=None) -> bytes:
    """Return a CRL with one more entry, made by asn1crypto."""
    entry = asn1.RevokedCertificate(
        {
            "user_certificate": NOT_LISTED,
            "revocation_date": {"utc_time": moment or now - timedelta(days=2)},
            "crl_entry_extensions": [extension] if extension else [],
        }
    )
    return crl(LISTED, entry=entry.dump())


def test_an_entry_with_an_invalidity_date_counts(crl, import_bytes, crl_directory, authority, now):
    extension = {"extn_id": "invalidity_date", "extn_value": now - timedelta(days=9)}
    import_bytes(unusual(crl, now, extension))
    assert listed(crl_directory, authority) == {LISTED, NOT_LISTED}


def test_an_entry_dated_after_2050_counts(crl, import_bytes, crl_directory, authority, now):
    entry = asn1.RevokedCertificate(
        {
            "user_certificate": NOT_LISTED,
            "revocation_date": {"general_time": datetime(2051, 1, 1, tzinfo=UTC)},
        }
    )
    import_bytes(crl(LISTED, entry=entry.dump()))
    assert listed(crl_directory, authority) == {LISTED, NOT_LISTED}


def test_entries_are_read_as_cryptography_reads_them(crl, now):
    cards = [
        RevokedCard(number * number, now - timedelta(hours=number), reason=number % 7)
        for number in range(1, 2000)
    ]
    der = crl(cards=cards)
    head = parse_crl(der)
    ours = [entry for batch in read_entries(der, head.entries, no_progress) for entry in batch]
    theirs = list(x509.load_der_x509_crl(der))
    assert len(ours) == len(theirs)
    for (serial, seconds, _), entry in zip(ours, theirs, strict=True):
        assert int.from_bytes(serial, "big") == entry.serial_number
        assert seconds == entry.revocation_date_utc.timestamp()


# What is refused


def flipped(der: bytes, place: int = -1) -> bytes:
    return der[:place] + bytes((der[place] ^ 1,)) + der[place:][1:]


def critical(value: x509.ExtensionType) -> x509.Extension:
    return x509.Extension(value.oid, critical=True, value=value)


def distribution_point(**scope) -> x509.Extension:
    settled = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return critical(x509.IssuingDistributionPoint(**{**settled, **scope}))


def point(uri: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(uri)


def pem(der: bytes) -> bytes:
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)


UNKNOWN_CRITICAL = critical(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.999.1"), b"\x05\x00"))

REFUSED = {
    "a broken signature": (lambda crl, now: flipped(crl(LISTED)), InvalidCrlSignature),
    "the key of another CA": (lambda crl, now: crl(LISTED, key=Authority.FOREIGN), InvalidCrlSignature),
    "a truncated file": (lambda crl, now: crl(LISTED)[:-300], MalformedCrl),
    "cut off in the head": (lambda crl, now: crl(LISTED)[:3], MalformedCrl),
    "bytes after the end": (lambda crl, now: crl(LISTED) + b"\0", MalformedCrl),
    "empty": (lambda crl, now: b"", MalformedCrl),
    "zeros": (lambda crl, now: bytes(1000), MalformedCrl),
    "an HTML page": (lambda crl, now: b"<html>Please log in</html>", MalformedCrl),
    "PEM of something else": (lambda crl, now: b"-----BEGIN X509 CRL-----\n####\n", MalformedCrl),
    "PEM cut off": (lambda crl, now: b"-----BEGIN X509 CRL-----\nMIIB\n", MalformedCrl),
    "PEM with more after it": (
        lambda crl, now: pem(crl(LISTED)) + b"more\n",
        MalformedCrl,
    ),
    "PEM with text before its first line": (
        lambda crl, now: pem(crl(LISTED)).replace(b"-----\n", b"-----x\n", 1),
        MalformedCrl,
    ),
    "SHA-1": (
        # sha1WithRSAEncryption in the place of sha256WithRSAEncryption
        lambda crl, now: crl(LISTED).replace(
            bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
        ),
        UnsupportedCrl,
    ),
    "a last entry that is longer than the list": (
        lambda crl, now: crl(entry=bytes.fromhex("3032020105170d") + b"261101000000Z"),
        MalformedCrl,
    ),
    "no CRL number": (lambda crl, now: crl(LISTED, number=None), MalformedCrl),
    "no next update": (lambda crl, now: crl(LISTED, next_update=None), MalformedCrl),
    "from the future": (
        lambda crl, now: crl(LISTED, this_update=now + timedelta(minutes=10)),
        CrlNotYetValid,
    ),
    "a stale time": (
        lambda crl, now: crl(
            LISTED, this_update=now - timedelta(days=2), next_update=now - timedelta(minutes=10)
        ),
        CrlExpired,
    ),
    "a delta": (
        lambda crl, now: crl(LISTED, extensions=[critical(x509.DeltaCRLIndicator(6))]),
        UnsupportedCrl,
    ),
    "indirect": (
        lambda crl, now: crl(LISTED, extensions=[distribution_point(indirect_crl=True)]),
        UnsupportedCrl,
    ),
    "of CAs alone": (
        lambda crl, now: crl(LISTED, extensions=[distribution_point(only_contains_ca_certs=True)]),
        UnsupportedCrl,
    ),
    "of attribute certificates alone": (
        lambda crl, now: crl(LISTED, extensions=[distribution_point(only_contains_attribute_certs=True)]),
        UnsupportedCrl,
    ),
    "of some reasons alone": (
        lambda crl, now: crl(
            LISTED,
            extensions=[distribution_point(only_some_reasons=frozenset({x509.ReasonFlags.superseded}))],
        ),
        UnsupportedCrl,
    ),
    "of a distribution point that is not accepted": (
        lambda crl, now: crl(LISTED, extensions=[distribution_point(full_name=[point("http://other/")])]),
        UnsupportedCrl,
    ),
    "of a distribution point with two names": (
        lambda crl, now: crl(
            LISTED, extensions=[distribution_point(full_name=[point("http://a/"), point("http://b/")])]
        ),
        UnsupportedCrl,
    ),
    "of a distribution point with a name of another kind": (
        lambda crl, now: crl(LISTED, extensions=[distribution_point(full_name=[x509.DNSName("a.example")])]),
        UnsupportedCrl,
    ),
    "of a distribution point with a relative name": (
        lambda crl, now: crl(
            LISTED,
            extensions=[
                distribution_point(
                    relative_name=x509.RelativeDistinguishedName(
                        [x509.NameAttribute(NameOID.COMMON_NAME, "CRL1")]
                    )
                )
            ],
        ),
        UnsupportedCrl,
    ),
    "of a distribution point with a name that cannot be read": (
        # [0] distributionPoint, [0] fullName, [3] x400Address
        lambda crl, now: crl(
            LISTED,
            extensions=[
                critical(
                    x509.UnrecognizedExtension(
                        x509.IssuingDistributionPoint.oid, bytes.fromhex("3006a004a002a300")
                    )
                )
            ],
        ),
        MalformedCrl,
    ),
    "an unknown critical extension": (
        lambda crl, now: crl(LISTED, extensions=[UNKNOWN_CRITICAL]),
        UnsupportedCrl,
    ),
    "an unknown critical extension of an entry": (
        lambda crl, now: unusual(
            crl, now, {"extn_id": "2.999.1", "critical": True, "extn_value": b"\x05\x00"}
        ),
        UnsupportedCrl,
    ),
    "an entry of another issuer": (
        lambda crl, now: unusual(
            crl,
            now,
            {
                "extn_id": "certificate_issuer",
                "critical": True,
                "extn_value": [GeneralName("uniform_resource_identifier", "http://other.example/")],
            },
        ),
        UnsupportedCrl,
    ),
    "an entry that is none": (lambda crl, now: crl(LISTED, entry=b"\x30\x03\x02\x01\x01"), MalformedCrl),
    "an entry cut off": (lambda crl, now: crl(LISTED, entry=b"\x30\x20\x02\x01\x01"), MalformedCrl),
    "a negative serial number": (
        lambda crl, now: crl(entry=bytes.fromhex("30120201ff170d") + b"261101000000Z"),
        MalformedCrl,
    ),
    "a date that does not exist": (
        lambda crl, now: crl(entry=bytes.fromhex("3012020105170d") + b"261301000000Z"),
        MalformedCrl,
    ),
    "a time that does not exist": (
        lambda crl, now: crl(entry=bytes.fromhex("3012020105170d") + b"261101250000Z"),
        MalformedCrl,
    ),
    "a reason that does not exist": (
        lambda crl, now: crl(cards=[RevokedCard(5, now, reason=7)]),
        MalformedCrl,
    ),
}


@pytest.mark.parametrize(("make", "error"), REFUSED.values(), ids=REFUSED)
def test_a_crl_that_is_wrong_is_refused_and_the_one_in_force_stays(
    crl, import_bytes, crl_directory, authority, now, make, error
):
    import_bytes(crl(NOT_LISTED, number=6))
    with pytest.raises(error):
        import_bytes(make(crl, now))
    assert listed(crl_directory, authority) == {NOT_LISTED}


@pytest.mark.parametrize(
    ("issuer", "error"),
    [(Authority.SIGNATURE, CrlIssuerUnknown), (Authority.FOREIGN, CrlIssuerUnknown)],
    ids=["the signature CA", "a stranger with the CA's name"],
)
def test_a_crl_of_another_issuer_is_refused(crl, import_bytes, pki, issuer, error):
    certificate = x509.load_der_x509_certificate(pki.ca_certificate(issuer))
    with pytest.raises(error):
        import_bytes(crl(LISTED, issuer=certificate, key=issuer))


def test_a_crl_with_the_key_of_a_ca_and_another_name_is_refused(crl, import_bytes, authority, pki_keys, now):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Somebody else")])
    key = pki_keys.authorities[Authority.AUTHENTICATION_2]
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    renamed = (
        x509.CertificateBuilder()
        .issuer_name(name)
        .subject_name(name)
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .public_key(key.public_key())
        .add_extension(identifier, critical=False)
        .sign(key, SHA256())
    )
    with pytest.raises(CrlIssuerUnknown):
        import_bytes(crl(LISTED, issuer=renamed))


@pytest.mark.parametrize("number", [6, 7], ids=["a lower number", "the same number, other content"])
def test_there_is_no_way_back_to_an_older_crl(crl, import_bytes, crl_directory, authority, number):
    import_bytes(crl(LISTED, number=7))
    with pytest.raises(CrlOlderThanInForce) as refusal:
        import_bytes(crl(NOT_LISTED, number=number))
    assert (refusal.value.number, refusal.value.number_in_force) == (number, 7)
    assert listed(crl_directory, authority) == {LISTED}


def test_two_gigabytes_of_zeros_are_refused_unread(tmp_path, crl_directory, trust_store, now):
    zeros = tmp_path / "zeros"
    with zeros.open("wb") as file:
        file.truncate(2 * 1024**3)
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from datetime import UTC, datetime\n"
        "from jpki.crl_index import CrlDirectory\n"
        "from jpki.errors import CrlTooLarge\n"
        "from jpki.trust import TrustStore\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "directory, zeros = CrlDirectory(Path(sys.argv[1])), Path(sys.argv[2])\n"
        "try: directory.import_crl(zeros, TrustStore([]), datetime.now(UTC))\n"
        "except CrlTooLarge: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    grown = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "crl"), str(zeros)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert int(grown.stdout) < 10 * 1024  # KiB


def test_a_file_of_zeros_within_the_limit_is_refused_at_its_first_byte(
    tmp_path, crl_directory, trust_store, now
):
    zeros = tmp_path / "zeros"
    with zeros.open("wb") as file:
        file.truncate(crl_index.MAXIMUM_CRL_SIZE)
    with pytest.raises(MalformedCrl):
        crl_directory.import_crl(zeros, trust_store, now)


def test_a_crl_over_the_limit_is_refused(crl, import_bytes, monkeypatch):
    monkeypatch.setattr(crl_index, "MAXIMUM_CRL_SIZE", 100)
    with pytest.raises(CrlTooLarge):
        import_bytes(crl(LISTED))


@settings(max_examples=200)
@given(place=st.floats(0, 1, exclude_max=True), removed=st.integers(0, 4), inserted=st.binary(max_size=4))
def test_a_mutated_crl_is_refused_with_an_error_of_ours_or_unchanged(
    mutation_material, place, removed, inserted
):
    content, file, directory, trust_store, now = mutation_material
    at = int(place * len(content))
    mutated = content[:at] + inserted + content[at + removed :]
    if mutated == content:
        return
    file.write_bytes(mutated)
    with within_reason(), pytest.raises(CrlError):
        directory.import_crl(file, trust_store, now)
    assert directory.heads() == []


@pytest.fixture(scope="module")
def mutation_material(pki, pki_keys, trust_store, now, tmp_path_factory):
    from jpki.simulator.crl import make_crl

    folder = tmp_path_factory.mktemp("mutated")
    issuer = x509.load_der_x509_certificate(pki.ca_certificate(Authority.AUTHENTICATION_2))
    cards = [RevokedCard(number, now - timedelta(days=1)) for number in range(100, 120)]
    content = make_crl(
        issuer,
        pki_keys.authorities[Authority.AUTHENTICATION_2],
        cards,
        number=7,
        this_update=now,
        next_update=now + timedelta(days=1),
    )
    return content, folder / "mutated.crl", CrlDirectory(folder / "crl"), trust_store, now


# Several processes, and processes that die

READ_UNTIL_TOLD = """
import sys
from pathlib import Path
from jpki.certificate import SerialNumber
from jpki.crl_index import CrlDirectory
directory, key_identifier = CrlDirectory(Path(sys.argv[1])), bytes.fromhex(sys.argv[2])
always, sometimes = SerialNumber(100), SerialNumber(int(sys.argv[3]))
print("reading", flush=True)
for looked_up in range(1, 10_000_000):
    index = directory.find_index(key_identifier)
    assert index.find(always) is not None
    if index.find(sometimes) is not None:
        print(index.head.number)
        break
"""


def test_another_process_sees_a_new_crl_without_ever_seeing_none(crl, import_bytes, crl_directory, tmp_path):
    head = import_bytes(crl(100, number=1))
    reader = subprocess.Popen(
        [
            sys.executable,
            "-c",
            READ_UNTIL_TOLD,
            str(tmp_path / "crl"),
            head.issuer_key_identifier.hex(),
            str(LISTED),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert reader.stdout.readline() == "reading\n"
        for number in range(2, 30):
            import_bytes(crl(100, *range(200, 200 + number), number=number))
        import_bytes(crl(100, LISTED, number=30))
        assert reader.stdout.readline() == "30\n"
        assert reader.wait(90) == 0
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()


def test_an_index_that_is_open_stays_as_it_was(crl, import_bytes, crl_directory):
    head = import_bytes(crl(LISTED, number=1))
    before = crl_directory.find_index(head.issuer_key_identifier)
    import_bytes(crl(NOT_LISTED, number=2))
    assert before.find(SerialNumber(LISTED)) is not None
    after = crl_directory.find_index(head.issuer_key_identifier)
    assert (after.head.number, after.find(SerialNumber(LISTED))) == (2, None)


IMPORT_AND_DIE = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from jpki.crl_index import CrlDirectory
from jpki.trust import TrustStore, import_anchor
import hashlib
ca = Path(sys.argv[3]).read_bytes()
trust_store = TrustStore([import_anchor(ca, {hashlib.sha256(ca).hexdigest()}, allow_test=True)])
real_fsync = os.fsync
def die(descriptor):
    real_fsync(descriptor)
    os.kill(os.getpid(), signal.SIGKILL)
os.fsync = die
now = datetime.fromisoformat(sys.argv[4])
CrlDirectory(Path(sys.argv[1])).import_crl(Path(sys.argv[2]), trust_store, now)
"""


def test_an_import_that_is_killed_changes_nothing_and_leaves_nothing_behind(
    crl, import_bytes, crl_directory, authority, tmp_path, now
):
    import_bytes(crl(LISTED, number=1))
    (tmp_path / "next.crl").write_bytes(crl(NOT_LISTED, number=2))
    (tmp_path / "ca.der").write_bytes(authority.public_bytes(Encoding.DER))
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            IMPORT_AND_DIE,
            str(tmp_path / "crl"),
            str(tmp_path / "next.crl"),
            str(tmp_path / "ca.der"),
            now.isoformat(),
        ],
        timeout=120,
        check=False,
    )
    assert killed.returncode == -9
    assert list((tmp_path / "crl").glob(".import-*"))
    assert listed(CrlDirectory(tmp_path / "crl"), authority) == {LISTED}
    import_bytes(crl(NOT_LISTED, number=2))
    assert not list((tmp_path / "crl").glob(".import-*"))
    assert listed(crl_directory, authority) == {NOT_LISTED}


def test_a_full_disk_leaves_the_crl_in_force(crl, import_bytes, crl_directory, authority, monkeypatch):
    import_bytes(crl(LISTED, number=1))

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(crl_index.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        import_bytes(crl(NOT_LISTED, number=2))
    assert listed(crl_directory, authority) == {LISTED}


# What the source says


def test_a_directory_that_cannot_be_read_leaves_the_status_unknown(issue, tmp_path, now):
    (tmp_path / "crl").write_bytes(b"a file where the directory should be")
    answer = CrlSource(CrlDirectory(tmp_path / "crl")).check(*issue(CardProfile.GOOD), now)
    assert (answer.status, answer.why) == (RevocationStatus.UNKNOWN, UnknownReason.UNREACHABLE)


def test_a_revocation_of_the_last_century_has_its_date(crl, import_bytes, crl_directory):
    revoked_at = datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)
    head = import_bytes(crl(cards=[RevokedCard(LISTED, revoked_at)]))
    index = crl_directory.find_index(head.issuer_key_identifier)
    assert index.find(SerialNumber(LISTED)).revoked_at == revoked_at


def test_without_a_crl_of_its_issuer_a_certificate_is_unknown(issue, crl_directory, now):
    answer = CrlSource(crl_directory).check(*issue(CardProfile.GOOD), now)
    assert (answer.status, answer.why) == (RevocationStatus.UNKNOWN, UnknownReason.NO_SOURCE)


def test_a_crl_that_was_not_replaced_in_time_makes_its_answers_stale(
    crl, import_bytes, issue, crl_directory, now
):
    import_bytes(crl(LISTED))
    later = now + timedelta(days=1, minutes=6)
    answer = CrlSource(crl_directory).check(*issue(CardProfile.GOOD_NEW_GENERATION), later)
    policy = RevocationPolicy(maximum_age=timedelta(days=7))
    assert answer.status is RevocationStatus.GOOD
    assert policy.evaluate(answer, later).why is UnknownReason.STALE


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: b"{}\n",
        lambda content: b"\xff\n",
        lambda content: b"",
        lambda content: content.replace(b"index 1", b"index 9"),
    ],
    ids=["cut off", "no head", "no text", "empty", "another format"],
)
def test_a_damaged_index_is_unknown_and_healed_by_the_next_import(
    crl, import_bytes, issue, crl_directory, tmp_path, now, damage
):
    import_bytes(crl(LISTED))
    (path,) = (tmp_path / "crl").glob("*.crl-index")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(damage(content))
    answer = CrlSource(crl_directory).check(*issue(CardProfile.GOOD_NEW_GENERATION), now)
    assert (answer.status, answer.why) == (RevocationStatus.UNKNOWN, UnknownReason.MALFORMED)
    with pytest.raises(CrlIndexDamaged):
        crl_directory.heads()
    import_bytes(crl(LISTED))
    assert (
        CrlSource(crl_directory).check(*issue(CardProfile.GOOD_NEW_GENERATION), now).status
        is RevocationStatus.GOOD
    )


# Parts


@pytest.fixture
def card(issue):
    return issue(CardProfile.GOOD_NEW_GENERATION)


@pytest.fixture
def own_point(card) -> str:
    """The distribution point that the card's certificate names."""
    (name,) = distribution_points_of(card[0].x509)
    return name


@pytest.fixture
def part(crl, card):
    """Make the CRL of one distribution point: the card's own, or another."""
    extension = card[0].x509.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    own = extension[0].full_name

    def part(*serial_numbers, at=own, **different):
        scope = distribution_point(full_name=at, only_contains_user_certs=True)
        return crl(*serial_numbers, extensions=[scope], **different)

    return part


@pytest.fixture
def import_into(tmp_path, trust_store, now):
    def import_into(directory, content):
        (tmp_path / "part.crl").write_bytes(content)
        return directory.import_crl(tmp_path / "part.crl", trust_store, now)

    return import_into


def test_a_crl_of_users_certificates_alone_is_a_whole_one(crl, import_bytes, crl_directory, card, now):
    head = import_bytes(crl(LISTED, extensions=[distribution_point(only_contains_user_certs=True)]))
    assert head.distribution_point is None
    assert CrlSource(crl_directory).check(*card, now).status is RevocationStatus.GOOD


def test_a_part_speaks_for_the_certificates_that_name_its_point_and_for_no_others(
    part, tmp_path, import_into, card, own_point, now
):
    other = "http://other.example/crl"
    directory = CrlDirectory(tmp_path / "crl", [own_point, other])
    source = CrlSource(directory)
    assert import_into(directory, part(LISTED, at=[point(other)])).distribution_point == other
    assert source.check(*card, now).why is UnknownReason.NO_SOURCE
    assert import_into(directory, part(LISTED)).distribution_point == own_point
    assert source.check(*card, now).status is RevocationStatus.GOOD
    import_into(directory, part(card[0].serial_number.value, number=8))
    assert source.check(*card, now).status is RevocationStatus.REVOKED
    assert {head.number for head in directory.heads()} == {7, 8}


def test_a_point_that_is_no_longer_accepted_speaks_for_nobody(
    part, tmp_path, import_into, card, own_point, now
):
    import_into(CrlDirectory(tmp_path / "crl", [own_point]), part())
    answer = CrlSource(CrlDirectory(tmp_path / "crl")).check(*card, now)
    assert (answer.status, answer.why) == (RevocationStatus.UNKNOWN, UnknownReason.NO_SOURCE)


def test_beside_a_whole_crl_a_part_can_revoke_and_the_newest_says_as_of_when(
    crl, part, tmp_path, import_into, card, own_point, now
):
    directory = CrlDirectory(tmp_path / "crl", [own_point])
    import_into(directory, crl(LISTED, this_update=now - timedelta(hours=3)))
    import_into(directory, part(LISTED, this_update=now - timedelta(hours=2), number=1))
    answer = CrlSource(directory).check(*card, now)
    assert (answer.status, answer.as_of) == (RevocationStatus.GOOD, now - timedelta(hours=2))
    import_into(directory, part(card[0].serial_number.value, this_update=now, number=2))
    assert CrlSource(directory).check(*card, now).status is RevocationStatus.REVOKED
    import_into(directory, part(this_update=now, number=3))
    import_into(directory, crl(card[0].serial_number.value, number=8))
    assert CrlSource(directory).check(*card, now).status is RevocationStatus.REVOKED


def test_each_part_has_numbers_of_its_own(part, tmp_path, import_into, own_point):
    directory = CrlDirectory(tmp_path / "crl", [own_point, "http://other.example/crl"])
    import_into(directory, part(number=9))
    assert import_into(directory, part(at=[point("http://other.example/crl")], number=3)).number == 3
    with pytest.raises(CrlOlderThanInForce):
        import_into(directory, part(number=8))


@pytest.mark.parametrize(
    "different",
    [
        {"reasons": frozenset({x509.ReasonFlags.key_compromise})},
        {"crl_issuer": [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Other")]))]},
        {
            "full_name": None,
            "relative_name": x509.RelativeDistinguishedName(
                [x509.NameAttribute(NameOID.COMMON_NAME, "CRL1")]
            ),
        },
        {"full_name": [x509.DNSName("a.example")]},
    ],
    ids=["some reasons", "another issuer", "a relative name", "another kind of name"],
)
def test_a_point_that_covers_a_certificate_in_part_does_not_count(different, authority, pki_keys, now):
    settled = {"full_name": [point("http://a/")], "relative_name": None, "reasons": None, "crl_issuer": None}
    points = x509.CRLDistributionPoints([x509.DistributionPoint(**{**settled, **different})])
    key = pki_keys.authorities[Authority.AUTHENTICATION_2]
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(authority.subject)
        .subject_name(authority.subject)
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .public_key(key.public_key())
        .add_extension(points, critical=False)
        .sign(key, SHA256())
    )
    assert distribution_points_of(certificate) == frozenset()
