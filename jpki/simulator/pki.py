"""A public key infrastructure of the JPKI's shape for tests and the demo: CAs and the cards they issue.

Every name carries ``O=JPKI-TEST-LOCAL``, so that a slip can never look real. Two generations of the
user authentication CA share one name and differ in their keys, as the real ones do. What can be
wrong with a certificate stands in one table, ``RECIPES``; dates in it are relative to the moment
that is handed in.

``CardPki.write`` leaves a directory from which ``openssl ocsp`` serves and from which another
process can ``CardPki.load`` the same infrastructure. Private keys are written readable by the
owner alone; they protect nothing but tests.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, unique
from pathlib import Path

from asn1crypto import algos, core
from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from jpki.constants import USER_AUTHENTICATION_POLICY_OID
from jpki.trust import TrustStore, import_anchor

CardKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

SIGNATURE_POLICY = "1.2.392.200149.8.5.1.1.20"
OTHER_POLICY = "1.2.392.200149.8.5.1.3.99"
CPS_ADDRESS = "http://www.jpki.go.jp/cps.html"
OCSP_ADDRESS = "http://ocsp.user-authentication.jpki-test-local.invalid/"
UNKNOWN_EXTENSION = "2.999.1"  # ITU-T X.660: the arc for examples

ORGANIZATION = "JPKI-TEST-LOCAL"
ORGANIZATION_JA = "公的個人認証サービス試験用"
AGENCY = "Japan Agency for Local Authority Information Systems"
AGENCY_JA = "地方公共団体情報システム機構"
MUNICIPALITY_CODE = "13221"

FIRST_SERIAL_NUMBER = 0x07000000
"""All issuers number in one running sequence; the real one stood at 0x06D18006 in July 2023."""


@unique
class Authority(Enum):
    """The certification authorities. The value is the stem of their file names."""

    AUTHENTICATION_1 = "authentication-1"
    AUTHENTICATION_2 = "authentication-2"
    SIGNATURE = "signature"
    FOREIGN = "foreign"  # carries the name of the authentication CAs and is none of them

    @property
    def is_authentication(self) -> bool:
        """Whether it is one of the two generations of the user authentication CA."""
        return self in (Authority.AUTHENTICATION_1, Authority.AUTHENTICATION_2)


@unique
class KeyKind(Enum):
    """The key inside a card. The value is the stem of its file name."""

    RSA_2048 = "card-rsa-2048"
    RSA_1024 = "card-rsa-1024"
    P384 = "card-p384"


@unique
class CardProfile(Enum):
    """What a card's certificate is like; the recipes stand in ``RECIPES``."""

    GOOD = "good"
    GOOD_NEW_GENERATION = "good-new-generation"
    P384 = "p384"
    SERIAL_20_OCTETS = "serial-20-octets"
    EXPIRES_SOON = "expires-soon"
    OTHER_EXTENDED_KEY_USAGE = "other-extended-key-usage"

    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    FOREIGN_CA = "foreign-ca"
    FOREIGN_CA_FORGED_KEY_IDENTIFIER = "foreign-ca-forged-key-identifier"
    SIGNATURE_CERTIFICATE = "signature-certificate"
    CA_AS_LEAF = "ca-as-leaf"
    WRONG_POLICY = "wrong-policy"
    POLICY_MISSING = "policy-missing"
    KEY_USAGE_MISSING = "key-usage-missing"
    KEY_USAGE_WRONG = "key-usage-wrong"
    KEY_USAGE_CERTIFICATE_SIGNING = "key-usage-certificate-signing"
    AUTHORITY_KEY_IDENTIFIER_MISSING = "authority-key-identifier-missing"
    UNKNOWN_CRITICAL_EXTENSION = "unknown-critical-extension"
    RSA_1024 = "rsa-1024"
    SHA1 = "sha1"
    SERIAL_21_OCTETS = "serial-21-octets"
    SERIAL_NEGATIVE = "serial-negative"


@dataclass(frozen=True)
class Recipe:
    """How to make one certificate: a good one, but for what is said here.

    ``not_before`` and ``not_after`` are relative to the present moment; the latter is moved to
    14:59:59Z (midnight in Japan) of its day. ``claimed_issuer`` is the authority whose key identifier
    the certificate names, where that is not the one that signs it.
    """

    issuer: Authority = Authority.AUTHENTICATION_2
    claimed_issuer: Authority | None = None
    not_before: timedelta = timedelta(days=-365)
    not_after: timedelta = timedelta(days=4 * 365)
    key: KeyKind = KeyKind.RSA_2048
    hash_name: str = "sha256"
    key_usages: frozenset[str] | None = frozenset({"digital_signature"})
    policy: str | None = USER_AUTHENTICATION_POLICY_OID
    extended_key_usage: x509.ObjectIdentifier | None = None
    is_ca: bool = False
    authority_key_identifier: bool = True
    unknown_critical_extension: bool = False
    serial_number_offset: int = 0


RECIPES: Mapping[CardProfile, Recipe] = {
    CardProfile.GOOD: Recipe(
        issuer=Authority.AUTHENTICATION_1,
        not_before=timedelta(days=-4 * 365),
        not_after=timedelta(days=365),
    ),
    CardProfile.GOOD_NEW_GENERATION: Recipe(),
    CardProfile.P384: Recipe(key=KeyKind.P384),
    CardProfile.SERIAL_20_OCTETS: Recipe(serial_number_offset=0x7F << 152),
    CardProfile.EXPIRES_SOON: Recipe(not_after=timedelta(days=30)),
    CardProfile.OTHER_EXTENDED_KEY_USAGE: Recipe(extended_key_usage=ExtendedKeyUsageOID.EMAIL_PROTECTION),
    CardProfile.EXPIRED: Recipe(not_after=timedelta(days=-1)),
    CardProfile.NOT_YET_VALID: Recipe(not_before=timedelta(days=1)),
    CardProfile.FOREIGN_CA: Recipe(issuer=Authority.FOREIGN),
    CardProfile.FOREIGN_CA_FORGED_KEY_IDENTIFIER: Recipe(
        issuer=Authority.FOREIGN, claimed_issuer=Authority.AUTHENTICATION_2
    ),
    CardProfile.SIGNATURE_CERTIFICATE: Recipe(
        issuer=Authority.SIGNATURE,
        key_usages=frozenset({"digital_signature", "content_commitment"}),
        policy=SIGNATURE_POLICY,
    ),
    CardProfile.CA_AS_LEAF: Recipe(is_ca=True),
    CardProfile.WRONG_POLICY: Recipe(policy=OTHER_POLICY),
    CardProfile.POLICY_MISSING: Recipe(policy=None),
    CardProfile.KEY_USAGE_MISSING: Recipe(key_usages=None),
    CardProfile.KEY_USAGE_WRONG: Recipe(key_usages=frozenset({"key_encipherment"})),
    CardProfile.KEY_USAGE_CERTIFICATE_SIGNING: Recipe(
        key_usages=frozenset({"digital_signature", "key_cert_sign"})
    ),
    CardProfile.AUTHORITY_KEY_IDENTIFIER_MISSING: Recipe(authority_key_identifier=False),
    CardProfile.UNKNOWN_CRITICAL_EXTENSION: Recipe(unknown_critical_extension=True),
    CardProfile.RSA_1024: Recipe(key=KeyKind.RSA_1024),
    CardProfile.SHA1: Recipe(hash_name="sha1"),
    CardProfile.SERIAL_21_OCTETS: Recipe(serial_number_offset=1 << 160),
    CardProfile.SERIAL_NEGATIVE: Recipe(serial_number_offset=-(1 << 40)),
}


@dataclass(frozen=True)
class CardMaterial:
    """What a card carries: its certificate and key, and the certificate of its CA (EF 000B)."""

    certificate_der: bytes = field(repr=False)
    private_key: CardKey = field(repr=False)
    ca_certificate_der: bytes = field(repr=False)
    serial_number: int = field(repr=False)

    def write(self, directory: Path) -> None:
        """Write the material as files into *directory*, for a card in another process."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "certificate.der").write_bytes(self.certificate_der)
        (directory / "ca.der").write_bytes(self.ca_certificate_der)
        _write_private_key(directory / "card.key", self.private_key)

    @classmethod
    def load(cls, directory: Path) -> CardMaterial:
        """Return what ``write`` left in *directory*."""
        certificate_der = (directory / "certificate.der").read_bytes()
        tbs = asn1.Certificate.load(certificate_der)["tbs_certificate"]
        return cls(
            certificate_der,
            _load_private_key(directory / "card.key"),
            (directory / "ca.der").read_bytes(),
            tbs["serial_number"].native,
        )


@dataclass(frozen=True)
class PkiKeys:
    """All private keys of the infrastructure, so that a test run makes them once."""

    authorities: Mapping[Authority, rsa.RSAPrivateKey] = field(repr=False)
    cards: Mapping[KeyKind, CardKey] = field(repr=False)
    ocsp_responder: rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> PkiKeys:
        """Make new keys; takes about half a second."""
        return cls(
            authorities={authority: _generate_rsa_key(2048) for authority in Authority},
            cards={
                KeyKind.RSA_2048: _generate_rsa_key(2048),
                KeyKind.RSA_1024: _generate_rsa_key(1024),
                KeyKind.P384: ec.generate_private_key(ec.SECP384R1()),
            },
            ocsp_responder=_generate_rsa_key(2048),
        )


@dataclass(frozen=True)
class IndexEntry:
    """One line of the index from which ``openssl ocsp`` answers (openssl-ca(1), "index file")."""

    serial_number: int = field(repr=False)
    not_after: datetime
    revoked_at: datetime | None = None
    reason: x509.ReasonFlags = x509.ReasonFlags.unspecified

    def line(self) -> str:
        """Return status, expiry, revocation, serial number, file name and subject, tab by tab."""
        revocation = ""
        if self.revoked_at is not None:
            revocation = f"{self.revoked_at:%y%m%d%H%M%SZ},{self.reason.value}"
        digits = f"{self.serial_number:X}"
        serial_hex = digits.zfill(len(digits) + len(digits) % 2)
        status = "R" if revocation else "V"
        expiry = f"{self.not_after:%y%m%d%H%M%SZ}"
        return "\t".join((status, expiry, revocation, serial_hex, "unknown", f"/CN={serial_hex}"))

    @classmethod
    def from_line(cls, line: str) -> IndexEntry:
        """Return the entry that ``line`` wrote."""
        _, expiry, revocation, serial_hex, _, _ = line.split("\t")
        entry = cls(int(serial_hex, 16), _index_time(expiry))
        if not revocation:
            return entry
        revoked_at, _, reason = revocation.partition(",")
        return cls(
            entry.serial_number,
            entry.not_after,
            _index_time(revoked_at),
            x509.ReasonFlags(reason),
        )


class CardPki:
    """Certification authorities, the cards they issued and which of these are revoked."""

    def __init__(
        self,
        now: datetime,
        keys: PkiKeys,
        authorities: Mapping[Authority, bytes],
        responders: Mapping[Authority, bytes],
    ) -> None:
        self._now = now
        self._keys = keys
        self._authorities = authorities
        self._responders = responders
        self._next_serial_number = FIRST_SERIAL_NUMBER
        self._index: dict[int, IndexEntry] = {}

    @classmethod
    def create(cls, now: datetime, keys: PkiKeys | None = None) -> CardPki:
        """Make an infrastructure as it would stand at *now*, with *keys* or with new ones."""
        keys = keys or PkiKeys.generate()
        now = now.astimezone(UTC).replace(microsecond=0)
        return cls(
            now,
            keys,
            {authority: _ca_certificate(authority, keys, now) for authority in Authority},
            {
                authority: _ocsp_responder_certificate(authority, keys, now)
                for authority in Authority
                if authority.is_authentication
            },
        )

    @property
    def keys(self) -> PkiKeys:
        """The private keys; tests forge with them."""
        return self._keys

    def ca_certificate(self, authority: Authority) -> bytes:
        """Return the DER of an authority's self-signed certificate."""
        return self._authorities[authority]

    def ocsp_responder_certificate(self, authority: Authority) -> bytes:
        """Return the DER of the certificate with which *authority* delegates OCSP (RFC 6960, 4.2.2.2)."""
        return self._responders[authority]

    def trust_store(self) -> TrustStore:
        """Return what an operator has who imported both generations and the signature CA."""
        return TrustStore(
            import_anchor(der, {hashlib.sha256(der).hexdigest()}, allow_test=True)
            for authority, der in self._authorities.items()
            if authority is not Authority.FOREIGN
        )

    def issue_card(
        self, profile: CardProfile = CardProfile.GOOD, private_key: CardKey | None = None
    ) -> CardMaterial:
        """Issue a card after the recipe of *profile*.

        All cards of one key kind share one key, which is quick to make, unless *private_key* is given.
        """
        recipe = RECIPES[profile]
        key = private_key or self._keys.cards[recipe.key]
        serial_number = self._next_serial_number + recipe.serial_number_offset
        self._next_serial_number += 1
        not_after = _end_of_day_in_japan(self._now + recipe.not_after)
        certificate_der = _sign(
            signing_key=self._keys.authorities[recipe.issuer],
            hash_name=recipe.hash_name,
            serial_number=serial_number,
            issuer=_ca_name(recipe.issuer),
            subject=_card_name(serial_number),
            not_before=self._now + recipe.not_before,
            not_after=not_after,
            public_key=key.public_key(),
            extensions=_card_extensions(recipe, self._keys, key),
        )
        if recipe.issuer.is_authentication and serial_number > 0:
            self._index[serial_number] = IndexEntry(serial_number, not_after)
        return CardMaterial(certificate_der, key, self._authorities[recipe.issuer], serial_number)

    def revoke(
        self,
        serial_number: int,
        at: datetime,
        reason: x509.ReasonFlags = x509.ReasonFlags.unspecified,
    ) -> None:
        """Revoke a card issued by an authentication CA; raises ``KeyError`` where there is none.

        A responder hears of it with the next ``write_index``.
        """
        entry = self._index[serial_number]
        self._index[serial_number] = IndexEntry(serial_number, entry.not_after, at.astimezone(UTC), reason)

    def write(self, directory: Path) -> None:
        """Write everything into *directory*: for ``openssl ocsp`` and for ``load``."""
        directory.mkdir(parents=True, exist_ok=True)
        for authority, der in self._authorities.items():
            (directory / f"{authority.value}.pem").write_bytes(_pem(der))
            _write_private_key(directory / f"{authority.value}.key", self._keys.authorities[authority])
        for authority, der in self._responders.items():
            (directory / f"responder-{authority.value}.pem").write_bytes(_pem(der))
        for kind, key in self._keys.cards.items():
            _write_private_key(directory / f"{kind.value}.key", key)
        _write_private_key(directory / "responder.key", self._keys.ocsp_responder)
        self.write_index(directory)

    def write_index(self, directory: Path) -> None:
        """Write again what changes: the index of issued and revoked cards, and the next number."""
        lines = "".join(entry.line() + "\n" for entry in self._index.values())
        _replace(directory / "serial", f"{self._next_serial_number:X}\n")
        _replace(directory / "index.txt", lines)

    @classmethod
    def load(cls, directory: Path, now: datetime) -> CardPki:
        """Return the infrastructure that ``write`` left in *directory*."""
        keys = PkiKeys(
            authorities={
                authority: _load_rsa_key(directory / f"{authority.value}.key") for authority in Authority
            },
            cards={kind: _load_private_key(directory / f"{kind.value}.key") for kind in KeyKind},
            ocsp_responder=_load_rsa_key(directory / "responder.key"),
        )
        pki = cls(
            now.astimezone(UTC).replace(microsecond=0),
            keys,
            {authority: _der(directory / f"{authority.value}.pem") for authority in Authority},
            {
                authority: _der(directory / f"responder-{authority.value}.pem")
                for authority in Authority
                if authority.is_authentication
            },
        )
        pki._next_serial_number = int((directory / "serial").read_text("ascii"), 16)
        entries = map(IndexEntry.from_line, (directory / "index.txt").read_text("ascii").splitlines())
        pki._index = {entry.serial_number: entry for entry in entries}
        return pki


_GENERATIONS: Mapping[Authority, tuple[timedelta, timedelta]] = {
    Authority.AUTHENTICATION_1: (timedelta(days=-7 * 365), timedelta(days=3 * 365)),
    Authority.AUTHENTICATION_2: (timedelta(days=-3 * 365), timedelta(days=7 * 365)),
    Authority.SIGNATURE: (timedelta(days=-3 * 365), timedelta(days=7 * 365)),
    Authority.FOREIGN: (timedelta(days=-3 * 365), timedelta(days=7 * 365)),
}


def _ca_name(authority: Authority) -> x509.Name:
    use = "digital signature" if authority is Authority.SIGNATURE else "user authentication"
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "JP"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"JPKI for {use}"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, AGENCY),
        ]
    )


def _ca_name_ja(authority: Authority) -> x509.Name:
    use = "署名用" if authority is Authority.SIGNATURE else "利用者証明用"
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "JP"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION_JA),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, ORGANIZATION_JA + use),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, AGENCY_JA),
        ]
    )


def _card_name(serial_number: int) -> x509.Name:
    """Return C=JP and an opaque CN of 23 characters: 14, the municipality's five, ``003A``."""
    opaque = f"TEST{abs(serial_number) % 36**10:010X}"[:14]
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "JP"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{opaque}{MUNICIPALITY_CODE}003A"),
        ]
    )


def _crl_distribution_name(authority: Authority) -> x509.Name:
    return x509.Name(
        [
            *_ca_name(authority),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "CRL Distribution Points"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Tokyo-to"),
            x509.NameAttribute(NameOID.COMMON_NAME, "A municipality that does not exist CRLDP"),
        ]
    )


def _ca_certificate(authority: Authority, keys: PkiKeys, now: datetime) -> bytes:
    """Make a root with the extensions of the real ones, in their order."""
    before, after = _GENERATIONS[authority]
    key = keys.authorities[authority]
    name = _ca_name(authority)
    return _sign(
        signing_key=key,
        hash_name="sha256",
        serial_number=1 + list(Authority).index(authority),
        issuer=name,
        subject=name,
        not_before=now + before,
        not_after=_end_of_day_in_japan(now + after),
        public_key=key.public_key(),
        extensions=[
            (True, _key_usage(frozenset({"key_cert_sign", "crl_sign"}))),
            (False, x509.SubjectAlternativeName([x509.DirectoryName(_ca_name_ja(authority))])),
            (True, x509.BasicConstraints(ca=True, path_length=None)),
            (False, _distribution_points(name)),
            (False, x509.SubjectKeyIdentifier.from_public_key(key.public_key())),
        ],
    )


def _ocsp_responder_certificate(authority: Authority, keys: PkiKeys, now: datetime) -> bytes:
    """Make a delegated responder's certificate; both generations delegate to one key and name.

    So one answer, carrying both certificates, is trusted for the cards of either generation.
    """
    key = keys.ocsp_responder
    return _sign(
        signing_key=keys.authorities[authority],
        hash_name="sha256",
        serial_number=0x100 + list(Authority).index(authority),
        issuer=_ca_name(authority),
        subject=x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "JP"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
                x509.NameAttribute(NameOID.COMMON_NAME, "OCSP Responder"),
            ]
        ),
        not_before=now - timedelta(days=1),
        not_after=_end_of_day_in_japan(now + timedelta(days=365)),
        public_key=key.public_key(),
        extensions=[
            (True, _key_usage(frozenset({"digital_signature"}))),
            (False, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])),
            (False, x509.OCSPNoCheck()),
            (False, _authority_key_identifier(keys, authority)),
        ],
    )


def _card_extensions(recipe: Recipe, keys: PkiKeys, key: CardKey) -> list[tuple[bool, x509.ExtensionType]]:
    """Return the extensions of an end entity as (critical, value)."""
    extensions: list[tuple[bool, x509.ExtensionType]] = []
    if recipe.key_usages is not None:
        extensions.append((True, _key_usage(recipe.key_usages)))
    if recipe.extended_key_usage is not None:
        extensions.append((False, x509.ExtendedKeyUsage([recipe.extended_key_usage])))
    if recipe.policy is not None:
        policy = x509.PolicyInformation(x509.ObjectIdentifier(recipe.policy), [CPS_ADDRESS])
        extensions.append((True, x509.CertificatePolicies([policy])))
    extensions.append((False, x509.IssuerAlternativeName([x509.DirectoryName(_ca_name_ja(recipe.issuer))])))
    if recipe.is_ca:
        extensions.append((True, x509.BasicConstraints(ca=True, path_length=None)))
    extensions.append((False, _distribution_points(_crl_distribution_name(recipe.issuer))))
    extensions.append(
        (
            False,
            x509.AuthorityInformationAccess(
                [
                    x509.AccessDescription(
                        AuthorityInformationAccessOID.OCSP,
                        x509.UniformResourceIdentifier(OCSP_ADDRESS),
                    )
                ]
            ),
        )
    )
    if recipe.authority_key_identifier:
        claimed_issuer = recipe.claimed_issuer or recipe.issuer
        extensions.append((False, _authority_key_identifier(keys, claimed_issuer)))
    extensions.append((False, x509.SubjectKeyIdentifier.from_public_key(key.public_key())))
    if recipe.unknown_critical_extension:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(UNKNOWN_EXTENSION), b"\x05\x00")
        extensions.append((True, unknown))
    return extensions


def _key_usage(usages: frozenset[str]) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in usages for name in names})


def _authority_key_identifier(keys: PkiKeys, authority: Authority) -> x509.AuthorityKeyIdentifier:
    public_key = keys.authorities[authority].public_key()
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key)


def _distribution_points(name: x509.Name) -> x509.CRLDistributionPoints:
    return x509.CRLDistributionPoints(
        [
            x509.DistributionPoint(
                full_name=[x509.DirectoryName(name)],
                relative_name=None,
                reasons=None,
                crl_issuer=None,
            )
        ]
    )


def _sign(
    *,
    signing_key: rsa.RSAPrivateKey,
    hash_name: str,
    serial_number: int,
    issuer: x509.Name,
    subject: x509.Name,
    not_before: datetime,
    not_after: datetime,
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    extensions: list[tuple[bool, x509.ExtensionType]],
) -> bytes:
    """Return a certificate's DER.

    asn1crypto puts it together, because cryptography's builder rightly refuses what the bad
    profiles need: negative and over-long serial numbers, SHA-1.
    """
    algorithm = algos.SignedDigestAlgorithm({"algorithm": f"{hash_name}_rsa", "parameters": core.Null()})
    spki = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    tbs = asn1.TbsCertificate(
        {
            "version": "v3",
            "serial_number": serial_number,
            "signature": algorithm,
            "issuer": asn1.Name.load(issuer.public_bytes()),
            "validity": {
                "not_before": asn1.Time({"utc_time": not_before}),
                "not_after": asn1.Time({"utc_time": not_after}),
            },
            "subject": asn1.Name.load(subject.public_bytes()),
            "subject_public_key_info": asn1_keys.PublicKeyInfo.load(spki),
            "extensions": [
                {
                    "extn_id": value.oid.dotted_string,
                    "critical": critical,
                    "extn_value": core.ParsableOctetString(value.public_bytes()),
                }
                for critical, value in extensions
            ],
        }
    )
    hash_algorithm = {"sha256": hashes.SHA256(), "sha1": hashes.SHA1()}[hash_name]  # noqa: S303  # the SHA-1 profile is there to be refused
    signature = signing_key.sign(tbs.dump(), padding.PKCS1v15(), hash_algorithm)
    certificate = asn1.Certificate(
        {
            "tbs_certificate": tbs,
            "signature_algorithm": algorithm,
            "signature_value": signature,
        }
    )
    return bytes(certificate.dump())


def _end_of_day_in_japan(moment: datetime) -> datetime:
    return moment.replace(hour=14, minute=59, second=59)


def _index_time(text: str) -> datetime:
    return datetime.strptime(text, "%y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _generate_rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def _pem(certificate_der: bytes) -> bytes:
    return x509.load_der_x509_certificate(certificate_der).public_bytes(Encoding.PEM)


def _der(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


def _write_private_key(path: Path, key: CardKey) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)


def _load_private_key(path: Path) -> CardKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} holds neither an RSA nor an EC key")
    return key


def _load_rsa_key(path: Path) -> rsa.RSAPrivateKey:
    key = _load_private_key(path)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"{path} holds no RSA key")
    return key


def _replace(path: Path, text: str) -> None:
    """Write atomically: a responder may be reading the file."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(text, "ascii")
    draft.replace(path)
