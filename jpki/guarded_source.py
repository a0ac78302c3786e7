"""Guards around a revocation source that is asked over a network. Edge: threads.

Each guard is a ``RevocationSource`` around another one: ``CachedSource(GuardedSource(OcspSource(...)))``.
No lock is held while a source is asked, so that one slow responder holds nobody up but who asked it.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from jpki.certificate import UserAuthenticationCertificate
from jpki.circuit_breaker import CircuitBreaker
from jpki.revocation import (
    RevocationAnswer,
    RevocationSource,
    RevocationStatus,
    UnknownReason,
    unknown_answer,
)
from jpki.trust import TrustAnchor

_log = logging.getLogger(__name__)

_FAILURES = frozenset({UnknownReason.UNREACHABLE, UnknownReason.MALFORMED})
"""What counts against a source. To say "unknown" of a certificate is an answer like any other."""


class GuardedSource:
    """Asks *source* within a time limit, not too often at once, and not while it is known to be down.

    ``timeout`` (seconds) bounds each question as a whole, name resolution included. Of more than
    ``maximum_at_once`` questions the rest are not asked. All three end in UNKNOWN(UNREACHABLE).
    """

    def __init__(
        self, source: RevocationSource, *, timeout: float, maximum_at_once: int, breaker: CircuitBreaker
    ) -> None:
        self.name = source.name
        self._source = source
        self._timeout = timeout
        self._breaker = breaker
        self._free = threading.BoundedSemaphore(maximum_at_once)
        self._threads = ThreadPoolExecutor(maximum_at_once, thread_name_prefix=f"revocation-{self.name}")

    def check(
        self, certificate: UserAuthenticationCertificate, issuer: TrustAnchor, now: datetime
    ) -> RevocationAnswer:
        """Return what the source says, or UNKNOWN in time."""
        if not self._free.acquire(blocking=False):
            return self._not_asked(now, "too many questions at once")
        if not self._breaker.may_ask(now):
            self._free.release()
            return self._not_asked(now, "left alone after failures")
        question = self._threads.submit(self._source.check, certificate, issuer, now)
        # A question that is given up still occupies its thread, and so its place.
        question.add_done_callback(lambda _: self._free.release())
        try:
            answer = question.result(self._timeout)
        except TimeoutError:
            self._breaker.failed(now)
            return self._not_asked(now, "no answer in time")
        if answer.why in _FAILURES:
            self._breaker.failed(now)
        else:
            self._breaker.succeeded()
        return answer

    def _not_asked(self, now: datetime, reason: str) -> RevocationAnswer:
        _log.warning("%s: %s", self.name, reason)
        return unknown_answer(self.name, now, UnknownReason.UNREACHABLE)


class CachedSource:
    """Remembers what *source* said of a certificate, in memory.

    An answer counts for ``lifetime``, at most until its own ``next_update``; UNKNOWN is never
    remembered. Beyond ``capacity`` certificates the one not asked for longest is forgotten. How old
    an answer may be is still for ``RevocationPolicy``: ``as_of`` stays what the source said.
    """

    def __init__(self, source: RevocationSource, *, lifetime: timedelta, capacity: int = 10_000) -> None:
        self.name = source.name
        self._source = source
        self._lifetime = lifetime
        self._capacity = capacity
        self._lock = threading.Lock()
        # SHA-256 of the certificate -> (until when it counts, answer)
        self._answers: OrderedDict[bytes, tuple[datetime, RevocationAnswer]] = OrderedDict()

    def check(
        self, certificate: UserAuthenticationCertificate, issuer: TrustAnchor, now: datetime
    ) -> RevocationAnswer:
        """Return the remembered answer while it counts, or ask."""
        remembered = self._find(certificate.digest, now)
        if remembered is not None:
            return remembered
        answer = self._source.check(certificate, issuer, now)
        if answer.status is not RevocationStatus.UNKNOWN:
            self._remember(certificate.digest, answer, now)
        return answer

    def _find(self, digest: bytes, now: datetime) -> RevocationAnswer | None:
        with self._lock:
            until, answer = self._answers.get(digest, (now, None))
            if now >= until:
                self._answers.pop(digest, None)
                return None
            self._answers.move_to_end(digest)
            return answer

    def _remember(self, digest: bytes, answer: RevocationAnswer, now: datetime) -> None:
        until = now + self._lifetime
        if answer.next_update is not None:
            until = min(until, answer.next_update)
        with self._lock:
            self._answers[digest] = (until, answer)
            self._answers.move_to_end(digest)
            if len(self._answers) > self._capacity:
                self._answers.popitem(last=False)
