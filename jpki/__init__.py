"""The My Number Card's user authentication: reading the card, and believing what it says.

What is exported here is the public face. ``jpki.pcsc`` (the only module that needs pyscard),
``jpki.trust_files`` and ``jpki.revocation_source`` touch the outside and are imported by name.
"""

from jpki.card import JpkiSession, Pin
from jpki.certificate import (
    CertificateType,
    SerialNumber,
    UserAuthenticationCertificate,
)
from jpki.challenge import (
    CardResponse,
    Challenge,
    ChallengeNonce,
    ChallengePurpose,
    VerifiedCard,
    begin,
    check_message,
    complete,
)
from jpki.connection import SmartCardConnection
from jpki.constants import TokenKind
from jpki.errors import JpkiError
from jpki.proven import ProvenCertificates
from jpki.revocation import (
    RevocationAnswer,
    RevocationPolicy,
    RevocationSource,
    RevocationStatus,
    UnknownReason,
)
from jpki.trust import AuthorityCertificate, TrustAnchor, TrustStore, import_anchor
from jpki.verify import CertificatePolicy, verify_certificate, verify_signature

__all__ = [
    "AuthorityCertificate",
    "CardResponse",
    "CertificatePolicy",
    "CertificateType",
    "Challenge",
    "ChallengeNonce",
    "ChallengePurpose",
    "JpkiError",
    "JpkiSession",
    "Pin",
    "ProvenCertificates",
    "RevocationAnswer",
    "RevocationPolicy",
    "RevocationSource",
    "RevocationStatus",
    "SerialNumber",
    "SmartCardConnection",
    "TokenKind",
    "TrustAnchor",
    "TrustStore",
    "UnknownReason",
    "UserAuthenticationCertificate",
    "VerifiedCard",
    "begin",
    "check_message",
    "complete",
    "import_anchor",
    "verify_certificate",
    "verify_signature",
]
