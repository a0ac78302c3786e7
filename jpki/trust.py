"""Which certification authorities (認証局) are believed. Pure.

No CA certificate comes with the program. The operator imports one, and it becomes a ``TrustAnchor``
only if its SHA-256 fingerprint is pinned in the settings; where the bytes came from (a file, the
card's own EF 000B) counts for nothing. Authentication and signature CAs are separate, and only the
former can vouch for a card here.

The path is validated by cryptography's ``x509.verification`` under the rules written here, because
its own defaults are those of the Web and refuse a critical certificatePolicies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from jpki.certificate import (
    MAXIMUM_CERTIFICATE_SIZE,
    CertificateType,
    PublicKey,
    UserAuthenticationCertificate,
    parse_x509,
    supported_public_key,
)
from jpki.errors import (
    FingerprintNotPinned,
    MalformedCertificate,
    TestAuthorityRefused,
    UntrustedIssuer,
    WrongCertificateType,
)
from jpki.signature import is_signed_by

TEST_ORGANIZATION_PREFIX = "JPKI-TEST"
"""The O of J-LIS' test cards' CAs is JPKI-TEST; that of our simulator JPKI-TEST-LOCAL."""

_AUTHORITY_EXTENSIONS = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.CRITICAL, None)
    .require_present(x509.KeyUsage, Criticality.CRITICAL, None)
)

# What may stand in a card's certificate, also as critical; jpki.verify checks what it must say.
_CARD_EXTENSIONS = (
    ExtensionPolicy.permit_all()
    .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.CRITICAL, None)
    .may_be_present(x509.CertificatePolicies, Criticality.AGNOSTIC, None)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, None)
)

_PEM_BEGIN = b"-----BEGIN"


@dataclass(frozen=True)
class AuthorityCertificate:
    """A JPKI CA's self-signed certificate, parsed. Having one says nothing about trusting it.

    ``key_identifier`` is the subjectKeyIdentifier, ``fingerprint`` the SHA-256 of the DER in upper
    case hex.
    """

    certificate_type: CertificateType
    key_identifier: bytes
    fingerprint: str
    not_before: datetime
    not_after: datetime
    is_test: bool
    public_key: PublicKey = field(repr=False)
    certificate: x509.Certificate = field(repr=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> AuthorityCertificate:
        """Parse one certificate, DER or PEM, and prove that it is a CA's and signed by itself.

        Raises ``MalformedCertificate``, ``UnsupportedAlgorithm``, or ``WrongCertificateType`` for
        anything but a JPKI CA.
        """
        der = _one_certificate(data)
        certificate, extensions = parse_x509(der)
        public_key = supported_public_key(certificate)
        try:
            constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
            key_usage = extensions.get_extension_for_class(x509.KeyUsage).value
            key_identifier = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound as error:
            raise WrongCertificateType("lacks an extension that every JPKI CA has") from error
        if not (constraints.ca and key_usage.key_cert_sign):
            raise WrongCertificateType("not a CA certificate")
        if not is_signed_by(public_key, certificate.tbs_certificate_bytes, certificate.signature):
            raise MalformedCertificate("not signed by its own key")
        return cls(
            certificate_type=_certificate_type(certificate.subject),
            key_identifier=key_identifier.digest,
            fingerprint=hashlib.sha256(der).hexdigest().upper(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            is_test=_is_test(certificate.subject),
            public_key=public_key,
            certificate=certificate,
        )


@dataclass(frozen=True)
class TrustAnchor(AuthorityCertificate):
    """A CA that the operator pinned; made by ``import_anchor``."""


def import_anchor(
    data: bytes, pinned_fingerprints: Collection[str], *, allow_test: bool = False
) -> TrustAnchor:
    """Return the CA in *data* (DER or PEM) as an anchor, if it is pinned.

    Fingerprints are SHA-256 in hex, in either case, with or without colons. Raises
    ``FingerprintNotPinned``, ``TestAuthorityRefused``, and what ``AuthorityCertificate`` does.
    """
    authority = AuthorityCertificate.from_bytes(data)
    if authority.is_test and not allow_test:
        raise TestAuthorityRefused("a test CA is accepted in development mode only")
    pins = {pin.replace(":", "").upper() for pin in pinned_fingerprints}
    if authority.fingerprint not in pins:
        raise FingerprintNotPinned(authority.fingerprint)
    return TrustAnchor(**vars(authority))


class TrustStore:
    """The anchors, authentication and signature CAs apart."""

    def __init__(self, anchors: Iterable[TrustAnchor]) -> None:
        self._anchors = tuple(anchors)
        self._paths: dict[bytes, tuple[TrustAnchor, PolicyBuilder]] = {}
        for anchor in self._anchors:
            if anchor.certificate_type is CertificateType.USER_AUTHENTICATION:
                self._paths.setdefault(anchor.key_identifier, (anchor, _path_from(anchor)))

    @property
    def anchors(self) -> tuple[TrustAnchor, ...]:
        """All of them, in the order given."""
        return self._anchors

    def proven_issuer(self, certificate: UserAuthenticationCertificate, now: datetime) -> TrustAnchor | None:
        """Return the authentication CA that vouches for *certificate* at the moment *now*, or None.

        It is picked by key identifier. cryptography proves its signature, the dates of both, and that
        no critical extension is one that nobody here understands. None has many reasons: what it
        says is one type and a text that names the subject.
        """
        named = self._paths.get(certificate.issuer_key_identifier)
        if named is None:
            return None
        anchor, path = named
        try:
            path.time(now).build_client_verifier().verify(certificate.x509, [])
        except VerificationError:
            return None
        return anchor

    def find_issuer(self, certificate: UserAuthenticationCertificate) -> TrustAnchor:
        """Return the authentication CA that signed *certificate*.

        All generations share one name, so the issuer is picked by key identifier and proven by its
        signature. Dates are not looked at. Raises ``WrongCertificateType`` where a signature CA
        signed it, else ``UntrustedIssuer``.
        """
        for anchor in self._anchors:
            if anchor.key_identifier == certificate.issuer_key_identifier and is_signed_by(
                anchor.public_key,
                certificate.x509.tbs_certificate_bytes,
                certificate.x509.signature,
            ):
                if anchor.certificate_type is CertificateType.USER_AUTHENTICATION:
                    return anchor
                raise WrongCertificateType("issued by the CA for digital signatures")
        raise UntrustedIssuer("not issued by any imported CA for user authentication")


def _path_from(anchor: TrustAnchor) -> PolicyBuilder:
    """Return the rules for a path of one step that begins at *anchor*; the time is still to be told."""
    return (
        PolicyBuilder()
        .store(Store([anchor.certificate]))
        .max_chain_depth(0)
        .extension_policies(ca_policy=_AUTHORITY_EXTENSIONS, ee_policy=_CARD_EXTENSIONS)
    )


def _one_certificate(data: bytes) -> bytes:
    """Return the DER in *data*, which is DER or one PEM block."""
    if len(data) > 2 * MAXIMUM_CERTIFICATE_SIZE:
        raise MalformedCertificate("too long for a certificate")
    if not data.lstrip().startswith(_PEM_BEGIN):
        return data
    try:
        certificates = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise MalformedCertificate("not a PEM certificate") from error
    if len(certificates) != 1:
        raise MalformedCertificate(f"{len(certificates)} certificates where one is expected")
    return certificates[0].public_bytes(Encoding.DER)


def _certificate_type(subject: x509.Name) -> CertificateType:
    units = {
        attribute.value for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    }
    types = [kind for kind in CertificateType if kind.value in units]
    if len(types) != 1:
        raise WrongCertificateType("not one of JPKI's CAs")
    return types[0]


def _is_test(subject: x509.Name) -> bool:
    return any(
        str(attribute.value).startswith(TEST_ORGANIZATION_PREFIX)
        for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    )
