"""Deciding whether a certificate is a living card's, and whether a signature is its own. Pure.

The path is validated by cryptography's ``x509.verification`` under the rules written here, because
its own defaults are those of the Web and refuse a critical certificatePolicies. Revocation is not
looked at: that is ``jpki.revocation``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from jpki.certificate import UserAuthenticationCertificate
from jpki.constants import USER_AUTHENTICATION_POLICY_OID
from jpki.errors import (
    CertificateError,
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

_AUTHORITY_EXTENSIONS = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.CRITICAL, None)
    .require_present(x509.KeyUsage, Criticality.CRITICAL, None)
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

    In this order: the issuer, by key identifier and signature; the validity of both; key usage
    (critical, digitalSignature, no certificate signing), policy, no unknown critical extension.
    Raises ``UntrustedIssuer``, ``WrongCertificateType``, ``CertificateNotYetValid``,
    ``CertificateExpired``, ``WrongCertificatePolicy``.
    """
    issuer = trust_store.find_issuer(certificate)
    if now < certificate.not_before:
        raise CertificateNotYetValid(certificate.not_before)
    if now > certificate.not_after:
        raise CertificateExpired(certificate.not_after)
    if not issuer.not_before <= now <= issuer.not_after:
        raise UntrustedIssuer("the CA's own certificate is not valid at this time")
    rules = _EndEntityRules(policy)
    verifier = (
        PolicyBuilder()
        .store(Store([issuer.certificate]))
        .time(now)
        .max_chain_depth(0)
        .extension_policies(ca_policy=_AUTHORITY_EXTENSIONS, ee_policy=rules.extension_policy())
        .build_client_verifier()
    )
    try:
        verifier.verify(certificate.x509, [])
    except VerificationError:
        # One type for everything, and a text that names the subject: neither is passed on. What
        # is not an objection of our rules is a critical extension that nobody here understands.
        objection = rules.objection or WrongCertificatePolicy("its critical extensions do not fit")
        raise objection from None
    return issuer


def verify_signature(certificate: UserAuthenticationCertificate, message: bytes, signature: bytes) -> None:
    """Raise ``InvalidSignature`` unless *signature* over *message* is this certificate's key's.

    The key's kind decides how (``jpki.signature``). Proves nothing about the certificate itself.
    """
    if not is_signed_by(certificate.public_key, message, signature):
        raise InvalidSignature("the signature is not this card's")


class _EndEntityRules:
    """Our rules for the extensions of one certificate, and what they objected to."""

    def __init__(self, policy: CertificatePolicy) -> None:
        self._policy = policy
        self.objection: CertificateError | None = None

    def extension_policy(self) -> ExtensionPolicy:
        """Return the rules in cryptography's form.

        Absence is our objection, too, so each extension "may be present" and the rule sees None.
        """
        return (
            ExtensionPolicy.permit_all()
            .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
            .may_be_present(x509.KeyUsage, Criticality.CRITICAL, self._check_key_usage)
            .may_be_present(x509.CertificatePolicies, Criticality.AGNOSTIC, self._check_certificate_policies)
            .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, self._check_extended_key_usage)
        )

    def _check_key_usage(self, _: Policy, __: x509.Certificate, key_usage: x509.KeyUsage | None) -> None:
        if key_usage is None:
            self._object("no key usage")
        elif not key_usage.digital_signature or key_usage.key_cert_sign:
            self._object("the key usage is not that of user authentication")

    def _check_certificate_policies(
        self, _: Policy, __: x509.Certificate, policies: x509.CertificatePolicies | None
    ) -> None:
        named = {information.policy_identifier.dotted_string for information in policies or ()}
        if not named & self._policy.policy_oids:
            self._object("the certificate policy is not that of user authentication")

    def _check_extended_key_usage(
        self, _: Policy, __: x509.Certificate, usage: x509.ExtendedKeyUsage | None
    ) -> None:
        if usage is None or _CLIENT_AUTHENTICATION & set(usage):
            return
        if self._policy.enforce_extended_key_usage:
            self._object("the extended key usage is not client authentication")
        named = ", ".join(sorted(purpose.dotted_string for purpose in usage))
        _log.warning("a certificate with the extended key usage %s was let through", named)

    def _object(self, reason: str) -> None:
        self.objection = WrongCertificatePolicy(reason)
        raise self.objection
