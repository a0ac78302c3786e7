"""Several sources of revocation information, asked in a stated order. Pure logic over the seam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from jpki.certificate import UserAuthenticationCertificate
from jpki.revocation import RevocationAnswer, RevocationPolicy, RevocationSource, RevocationStatus
from jpki.trust import TrustAnchor


class RevocationChain:
    """Asks one source after the other until one knows; a ``RevocationSource`` itself.

    The first answer that is GOOD and fresh by *policy*, or REVOKED, is final: the sources after it are
    not asked. UNKNOWN, and a GOOD that is stale, falls through to the next. Where nobody knows, the
    answer is that of the first source, the one that is preferred. What the others said stands in the
    answer's ``consulted``, in the order of asking. Raises ``ValueError`` for no source at all.
    """

    name = "chain"

    def __init__(self, sources: Sequence[RevocationSource], policy: RevocationPolicy) -> None:
        if not sources:
            raise ValueError("a chain needs a source; NoSource is one")
        self._sources = tuple(sources)
        self._policy = policy

    def check(
        self, certificate: UserAuthenticationCertificate, issuer: TrustAnchor, now: datetime
    ) -> RevocationAnswer:
        """Return the first answer that counts, or UNKNOWN with everybody's reason."""
        undecided: list[RevocationAnswer] = []
        for source in self._sources:
            answer = self._policy.evaluate(source.check(certificate, issuer, now), now)
            if answer.status is not RevocationStatus.UNKNOWN:
                return replace(answer, consulted=tuple(undecided))
            undecided.append(answer)
        preferred, *others = undecided
        return replace(preferred, consulted=tuple(others))
