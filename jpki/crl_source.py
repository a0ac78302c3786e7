"""Asking the imported CRLs whether a certificate is revoked. Edge."""

from __future__ import annotations

import logging
from datetime import datetime
from operator import attrgetter

from jpki.certificate import UserAuthenticationCertificate
from jpki.crl_index import CrlDirectory
from jpki.errors import CrlIndexDamaged
from jpki.revocation import RevocationAnswer, RevocationStatus, UnknownReason, unknown_answer
from jpki.trust import TrustAnchor

_log = logging.getLogger(__name__)


class CrlSource:
    """The CRL in force of the certificate's issuer; asks no network, and takes microseconds.

    A certificate that the CRL does not list is GOOD as of thisUpdate; whether that is fresh enough is
    for ``RevocationPolicy``. Without a CRL of this issuer that covers the certificate the status is
    UNKNOWN. Where several cover it, each can revoke, and the newest says as of when it is good.
    """

    name = "crl"

    def __init__(self, directory: CrlDirectory) -> None:
        self._directory = directory

    def check(
        self, certificate: UserAuthenticationCertificate, issuer: TrustAnchor, now: datetime
    ) -> RevocationAnswer:
        """Return what the CRL of *issuer* says."""
        try:
            indexes = self._directory.find_covering(certificate)
        except CrlIndexDamaged as error:
            _log.error("%s: %s", self.name, error)
            return unknown_answer(self.name, now, UnknownReason.MALFORMED)
        except OSError as error:
            _log.error("%s: %s", self.name, error.strerror)
            return unknown_answer(self.name, now, UnknownReason.UNREACHABLE)
        if not indexes:
            return unknown_answer(self.name, now, UnknownReason.NO_SOURCE)
        for index in indexes:
            entry = index.find(certificate.serial_number)
            if entry is not None:
                return RevocationAnswer(
                    RevocationStatus.REVOKED,
                    self.name,
                    index.head.this_update,
                    index.head.next_update,
                    revoked_at=entry.revoked_at,
                    reason=entry.reason,
                )
        newest = max((index.head for index in indexes), key=attrgetter("this_update"))
        return RevocationAnswer(RevocationStatus.GOOD, self.name, newest.this_update, newest.next_update)
