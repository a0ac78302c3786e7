"""Deciding whether a certificate is a living card's, and whether a signature is its own. Pure.

The path to an anchor is ``jpki.trust``'s, revocation ``jpki.revocation``'s.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from jpki.certificate import UserAuthenticationCertificate, find_extension
from jpki.constants import USER_AUTHENTICATION_POLICY_OID
from jpki.errors import (
    CertificateExpired,
    CertificateNotYetValid,
    InvalidSignature,
    UntrustedIssuer,
    WrongCertificatePolicy,
)
from jpki.signature import is_signed_by
from jpki.trust import TrustAnchor, TrustStore

_log = logging.getLogger(__name__)

_CLIENT_AUTHENTICATION = frozenset(
    {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
)


@dataclass(frozen=True)
class CertificatePolicy:
    """What a certificate must say of itself.

    One of ``policy_oids`` must stand in it. Whether the cards' certificates carry an
    extendedKeyUsage, and which, is not published; another one than client authentication is
    therefore logged, and refused only with ``enforce_extended_key_usage``.
    """

    policy_oids: frozenset[str] = frozenset({USER_AUTHENTICATION_POLICY_OID})
    enforce_extended_key_usage: bool = False


def verify_certificate(
    certificate: UserAuthenticationCertificate,
    trust_store: TrustStore,
    policy: CertificatePolicy,
    now: datetime,
) -> TrustAnchor:
    """Return the CA that vouches for *certificate* at the moment *now*.

    In this order: the issuer, by key identifier and signature; the validity of both; the issuer's name
    and no unknown critical extension; key usage (critical, digitalSignature, no certificate signing); policy.
    Raises ``UntrustedIssuer``, ``WrongCertificateType``, ``CertificateNotYetValid``,
    ``CertificateExpired``, ``WrongCertificatePolicy``.
    """
    issuer = trust_store.proven_issuer(certificate, now)
    if issuer is None:
        # It is refused; what follows finds the reason, the first in the order above.
        issuer = trust_store.find_issuer(certificate)
        check_validity(certificate, issuer, now)
        raise WrongCertificatePolicy(
            "the issuer's name, a critical extension or the form of a date does not fit"
        )
    check_validity(certificate, issuer, now)
    _check_extensions(certificate.x509.extensions, policy)
    return issuer


def check_validity(certificate: UserAuthenticationCertificate, issuer: TrustAnchor, now: datetime) -> None:
    """Check the dates of both to the microsecond, of which the path's validation knows nothing.

    Raises ``CertificateNotYetValid``, ``CertificateExpired``, or ``UntrustedIssuer`` for the CA's own.
    """
    if now < certificate.not_before:
        raise CertificateNotYetValid(certificate.not_before)
    if now > certificate.not_after:
        raise CertificateExpired(certificate.not_after)
    if not issuer.not_before <= now <= issuer.not_after:
        raise UntrustedIssuer("the CA's own certificate is not valid at this time")


def verify_signature(certificate: UserAuthenticationCertificate, message: bytes, signature: bytes) -> None:
    """Raise ``InvalidSignature`` unless *signature* over *message* is this certificate's key's.

    The key's kind decides how (``jpki.signature``). Proves nothing about the certificate itself.
    """
    if not is_signed_by(certificate.public_key, message, signature):
        raise InvalidSignature("the signature is not this card's")


def _check_extensions(extensions: x509.Extensions, policy: CertificatePolicy) -> None:
    key_usage = find_extension(extensions, x509.KeyUsage)
    if key_usage is None:
        raise WrongCertificatePolicy("no key usage")
    if not key_usage.digital_signature or key_usage.key_cert_sign:
        raise WrongCertificatePolicy("the key usage is not that of user authentication")
    policies = find_extension(extensions, x509.CertificatePolicies) or ()
    if not any(named.policy_identifier.dotted_string in policy.policy_oids for named in policies):
        raise WrongCertificatePolicy("the certificate policy is not that of user authentication")
    _check_extended_key_usage(find_extension(extensions, x509.ExtendedKeyUsage), policy)


def _check_extended_key_usage(usage: x509.ExtendedKeyUsage | None, policy: CertificatePolicy) -> None:
    if usage is None or _CLIENT_AUTHENTICATION & set(usage):
        return
    if policy.enforce_extended_key_usage:
        raise WrongCertificatePolicy("the extended key usage is not client authentication")
    named = ", ".join(sorted(purpose.dotted_string for purpose in usage))
    _log.warning("a certificate with the extended key usage %s was let through", named)
