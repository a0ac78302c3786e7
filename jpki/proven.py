"""Certificates proven before the PIN, remembered until the card has signed. Free of IO.

Between question and answer nothing of a certificate changes but the time. Who has its proof at hand
therefore only looks at the dates again. Another process, or this one after a new start, has no proof
at hand and does the whole again, so that the outcome never depends on the memory.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from jpki.certificate import UserAuthenticationCertificate
from jpki.trust import TrustAnchor, TrustStore
from jpki.verify import CertificatePolicy, check_validity, verify_certificate

DEFAULT_CAPACITY = 256
"""Proofs. More cards than are between question and answer at the busiest server at one time."""


@dataclass(frozen=True)
class ProvenCertificate:
    """A certificate, and the CA that vouched for it."""

    certificate: UserAuthenticationCertificate
    issuer: TrustAnchor


@dataclass(frozen=True)
class _Ground:
    """What a proof is a proof of; one with another ground is not found.

    The DER itself stands here and not its digest alone, so that nothing hangs on who computed that.
    A trust store equals only itself: one that was loaded again proves everything again.
    """

    der: bytes = field(repr=False)
    trust_store: TrustStore
    policy: CertificatePolicy


class ProvenCertificates:
    """A bounded memory of proofs, each good for one use and until its time is over.

    Threads may share it. Beyond *capacity* the oldest proof is forgotten; that costs time, never a
    visit. Raises ``ValueError`` for a capacity below one.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        if capacity < 1:
            raise ValueError("a memory holds one proof at least")
        self._capacity = capacity
        self._lock = Lock()
        self._proofs: OrderedDict[_Ground, tuple[ProvenCertificate, datetime]] = OrderedDict()

    def prove(
        self,
        certificate: UserAuthenticationCertificate,
        trust_store: TrustStore,
        policy: CertificatePolicy,
        now: datetime,
        *,
        until: datetime,
    ) -> TrustAnchor:
        """Prove the whole *certificate*, as ``verify_certificate`` does, and remember it *until* then."""
        issuer = verify_certificate(certificate, trust_store, policy, now)
        ground = _Ground(certificate.der, trust_store, policy)
        with self._lock:
            self._forget_stale(now)
            self._proofs.pop(ground, None)
            self._proofs[ground] = ProvenCertificate(certificate, issuer), until
            if len(self._proofs) > self._capacity:
                self._proofs.popitem(last=False)
        return issuer

    def prove_again(
        self, der: bytes, trust_store: TrustStore, policy: CertificatePolicy, now: datetime
    ) -> ProvenCertificate:
        """Return the certificate in *der* and the CA that vouches for it at the moment *now*.

        A proof by the same trust store and policy is taken out of the memory and the dates of
        certificate and CA are checked; without one the whole proof is done. Raises what
        ``UserAuthenticationCertificate.from_der`` and ``verify_certificate`` raise.
        """
        with self._lock:
            self._forget_stale(now)
            found, _ = self._proofs.pop(_Ground(der, trust_store, policy), (None, now))
        if found is None:
            certificate = UserAuthenticationCertificate.from_der(der)
            return ProvenCertificate(certificate, verify_certificate(certificate, trust_store, policy, now))
        check_validity(found.certificate, found.issuer, now)
        return found

    def _forget_stale(self, now: datetime) -> None:
        """Forget the proofs whose time is over, the oldest of which stands first."""
        while self._proofs:
            _, until = next(iter(self._proofs.values()))
            if now < until:
                return
            self._proofs.popitem(last=False)
