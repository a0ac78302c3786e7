"""Asking the imported CRLs whether a certificate is revoked. Edge."""

from __future__ import annotations

import logging
from datetime import datetime

from jpki.certificate import UserAuthenticationCertificate
from jpki.crl_index import CrlDirectory
from jpki.errors import CrlIndexDamaged
from jpki.revocation import RevocationAnswer, RevocationStatus, UnknownReason, unknown_answer
from jpki.trust import TrustAnchor

_log = logging.getLogger(__name__)


class CrlSource:
    """The CRL in force of the certificate's issuer; asks no network, and takes microseconds.

    A certificate that the CRL does not list is GOOD as of thisUpdate; whether that is fresh enough is
    for ``RevocationPolicy``. Without a CRL of this issuer the status is UNKNOWN.
    """

    name = "crl"

    def __init__(self, directory: CrlDirectory) -> None:
        self._directory = directory

    def check(
        self, certificate: UserAuthenticationCertificate, issuer: TrustAnchor, now: datetime
    ) -> RevocationAnswer:
        """Return what the CRL of *issuer* says."""
        try:
            index = self._directory.find_index(issuer.key_identifier)
        except CrlIndexDamaged as error:
            _log.error("%s: %s", self.name, error)
            return unknown_answer(self.name, now, UnknownReason.MALFORMED)
        except OSError as error:
            _log.error("%s: %s", self.name, error.strerror)
            return unknown_answer(self.name, now, UnknownReason.UNREACHABLE)
        if index is None:
            return unknown_answer(self.name, now, UnknownReason.NO_SOURCE)
        head, entry = index.head, index.find(certificate.serial_number)
        if entry is None:
            return RevocationAnswer(RevocationStatus.GOOD, self.name, head.this_update, head.next_update)
        return RevocationAnswer(
            RevocationStatus.REVOKED,
            self.name,
            head.this_update,
            head.next_update,
            revoked_at=entry.revoked_at,
            reason=entry.reason,
        )
