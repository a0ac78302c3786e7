"""The user authentication certificate (利用者証明用電子証明書), parsed from its DER and nothing else. Pure.

Parsing proves the shape and the algorithms, not the issuer: that is ``jpki.verify``. The subject is
an opaque text that follows the person around, so it is not kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, unique
from typing import TypeVar

from cryptography import exceptions, x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import SignatureAlgorithmOID

from jpki.errors import MalformedCertificate, UnsupportedAlgorithm, WrongCertificateType

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
ExtensionKind = TypeVar("ExtensionKind", bound=x509.ExtensionType)

MAXIMUM_CERTIFICATE_SIZE = 64 * 1024 - 1
"""Bytes. A card's certificate is about 1,600; a length of two octets is the most its header can say."""

MAXIMUM_SERIAL_OCTETS = 20
"""RFC 5280, 4.1.2.2, counted with the sign octet."""

RSA_KEY_SIZES = range(2048, 4096 + 1)
"""Bits. Cards have 2048; the upper end bounds the work that a stranger's certificate can cause."""

SIGNATURE_ALGORITHMS = frozenset(
    {SignatureAlgorithmOID.RSA_WITH_SHA256, SignatureAlgorithmOID.ECDSA_WITH_SHA384}
)
"""What JPKI's CAs sign with today, and what the next card's will."""

_OCTET_STRING = 0x04
_KEY_USAGE = bytes.fromhex("0603551D0F")
_CRITICAL_KEY_USAGE = _KEY_USAGE + bytes.fromhex("0101FF")

# Everything that cryptography raises for bytes that are no certificate of RFC 5280. The warnings (a
# serial number below one, a name that is too long) are exceptions where the interpreter was told so.
_PARSE_FAILURES = (
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UserWarning,
)


@unique
class CertificateType(Enum):
    """The two kinds of JPKI certificates; the value is what the OU of their CAs says."""

    USER_AUTHENTICATION = "JPKI for user authentication"
    DIGITAL_SIGNATURE = "JPKI for digital signature"


@dataclass(frozen=True)
class SerialNumber:
    """Serial number (発行番号) of a user authentication certificate: positive, at most 20 octets.

    It identifies a person's card, so it never appears in a repr or a log line. Raises
    ``MalformedCertificate`` for a number that RFC 5280 does not allow.
    """

    value: int = field(repr=False)

    def __post_init__(self) -> None:
        if self.value <= 0:
            raise MalformedCertificate("the serial number is not positive")
        if self.value.bit_length() >= 8 * MAXIMUM_SERIAL_OCTETS:
            raise MalformedCertificate("the serial number is longer than 20 octets")

    def to_bytes(self) -> bytes:
        """Return the number big-endian in as few octets as hold it, without a sign octet."""
        return self.value.to_bytes((self.value.bit_length() + 7) // 8, "big")


@dataclass(frozen=True)
class UserAuthenticationCertificate:
    """A parsed certificate; make it with ``from_der``. Its issuer is not proven by having one.

    ``issuer_key_identifier`` is the authorityKeyIdentifier's keyid, ``digest`` the SHA-256 of the
    DER. ``x509`` is cryptography's view of it, for those who verify.
    """

    serial_number: SerialNumber
    issuer_key_identifier: bytes
    not_before: datetime
    not_after: datetime
    public_key: PublicKey = field(repr=False)
    digest: bytes = field(repr=False)
    der: bytes = field(repr=False)
    x509: x509.Certificate = field(repr=False, compare=False)

    @classmethod
    def from_der(cls, der: bytes) -> UserAuthenticationCertificate:
        """Parse exactly one DER certificate, X.509 v3 and not a CA's.

        Raises ``MalformedCertificate`` (also for BER and trailing bytes), ``UnsupportedAlgorithm``,
        and ``WrongCertificateType`` for a CA.
        """
        if len(der) > MAXIMUM_CERTIFICATE_SIZE:
            raise MalformedCertificate(f"longer than {MAXIMUM_CERTIFICATE_SIZE} bytes")
        certificate, extensions = parse_x509(der)
        constraints = find_extension(extensions, x509.BasicConstraints)
        if constraints is not None and constraints.ca:
            raise WrongCertificateType("a CA certificate")
        identifier = find_extension(extensions, x509.AuthorityKeyIdentifier)
        if identifier is None or identifier.key_identifier is None:
            raise MalformedCertificate("no authority key identifier that holds a key identifier")
        return cls(
            serial_number=SerialNumber(certificate.serial_number),
            issuer_key_identifier=identifier.key_identifier,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            public_key=supported_public_key(certificate),
            digest=hashlib.sha256(der).digest(),
            der=der,
            x509=certificate,
        )


def parse_x509(der: bytes) -> tuple[x509.Certificate, x509.Extensions]:
    """Parse any X.509 v3 certificate strictly, with its names, its dates and all its extensions.

    Raises ``MalformedCertificate``.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        extensions = certificate.extensions
        # Parsed when they are first asked for, so that they cannot fail later.
        _ = certificate.issuer, certificate.subject
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except _PARSE_FAILURES as error:
        raise MalformedCertificate("not one DER certificate of RFC 5280") from error
    if certificate.version is not x509.Version.v3:
        raise MalformedCertificate("not an X.509 v3 certificate")
    if not _is_key_usage_canonical(der, extensions):
        raise MalformedCertificate("a key usage that is not in DER")
    return certificate, extensions


def find_extension(extensions: x509.Extensions, kind: type[ExtensionKind]) -> ExtensionKind | None:
    """Return the extension of this kind, or None."""
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _is_key_usage_canonical(der: bytes, extensions: x509.Extensions) -> bool:
    """Whether the key usage is encoded without zero bits at its end (X.690, 11.2.2).

    This is the one form of BER that cryptography lets pass, so what it would write itself has to
    stand in the certificate, word for word.
    """
    key_usage = find_extension(extensions, x509.KeyUsage)
    if key_usage is None:
        return True
    encoded = key_usage.public_bytes()
    octets = bytes((_OCTET_STRING, len(encoded))) + encoded
    return _KEY_USAGE + octets in der or _CRITICAL_KEY_USAGE + octets in der


def supported_public_key(certificate: x509.Certificate) -> PublicKey:
    """Return the key of a certificate whose key and signature algorithm are ones we rely on.

    These are RSA of 2048 to 4096 bits and P-384; SHA-256 with RSA and SHA-384 with ECDSA. Raises
    ``UnsupportedAlgorithm``.
    """
    if certificate.signature_algorithm_oid not in SIGNATURE_ALGORITHMS:
        raise UnsupportedAlgorithm("signed with an algorithm that is not relied on")
    try:
        key = certificate.public_key()
    except (ValueError, exceptions.UnsupportedAlgorithm) as error:
        raise UnsupportedAlgorithm("the public key cannot be read") from error
    match key:
        case rsa.RSAPublicKey(key_size=size) if size in RSA_KEY_SIZES:
            return key
        case ec.EllipticCurvePublicKey(curve=ec.SECP384R1()):
            return key
    raise UnsupportedAlgorithm("the public key is neither RSA of 2048 bits or more nor P-384")
