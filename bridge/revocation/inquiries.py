"""Questions to the sources of revocation information, asked early, in threads of their own. Edge: threads.

The question is put when the certificate arrives and runs on while the patron types the PIN. Whoever
asks waits a short grace; an answer that takes longer is handed on when it is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime

from jpki.certificate import UserAuthenticationCertificate
from jpki.revocation import RevocationAnswer, RevocationSource, UnknownReason, unknown_answer
from jpki.trust import TrustAnchor

MAXIMUM_AT_ONCE = 32
"""Questions under way in one process. What is asked beyond them is UNKNOWN at once: nobody queues."""


class RevocationInquiry:
    """One question on its way."""

    def __init__(self, answer: Future[RevocationAnswer]) -> None:
        self._answer = answer

    def wait(self, seconds: float) -> RevocationAnswer | None:
        """Return the answer; None where it is not there within that time."""
        try:
            return self._answer.result(seconds)
        except TimeoutError:
            return None

    def when_answered(self, receive: Callable[[RevocationAnswer], None]) -> None:
        """Hand the answer to *receive* when it is there, in the thread that asked; at once if it is."""
        self._answer.add_done_callback(lambda answered: receive(answered.result()))


class RevocationInquiries:
    """Puts questions, a bounded number of them at once."""

    def __init__(self, maximum_at_once: int = MAXIMUM_AT_ONCE) -> None:
        self._threads = ThreadPoolExecutor(maximum_at_once, thread_name_prefix="revocation-inquiry")
        self._free = threading.BoundedSemaphore(maximum_at_once)

    def start(
        self,
        source: RevocationSource,
        certificate: UserAuthenticationCertificate,
        issuer: TrustAnchor,
        now: datetime,
    ) -> RevocationInquiry:
        """Ask *source* about *certificate*, without waiting."""
        if not self._free.acquire(blocking=False):
            refused: Future[RevocationAnswer] = Future()
            refused.set_result(unknown_answer(source.name, now, UnknownReason.UNREACHABLE))
            return RevocationInquiry(refused)
        question = self._threads.submit(source.check, certificate, issuer, now)
        question.add_done_callback(lambda _: self._free.release())
        return RevocationInquiry(question)
