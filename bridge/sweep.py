"""The sweep: every active link held against what is known of revocation.

It finds what nobody uses: a certificate is checked at each use anyway. The links are taken in the order in
which they were made, a batch at a time; what a batch brings about and how far the sweep has come are
written in one transaction. So a sweep that is killed goes on where it stopped, and two at the same time
share the work.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from bridge.environment import Environment
from bridge.errors import KeyProblem
from bridge.keys import KeyUse
from bridge.link_life import suspend_revoked
from bridge.models import Actor
from bridge.ports import ExpiringLink, RevocationSweepState, SweptLink, Transaction
from bridge.rules import RENEWAL_NOTICE, STRICT, RevocationRule
from bridge.serial_record import read_serial_record
from jpki.certificate import MAXIMUM_SERIAL_OCTETS, SerialNumber
from jpki.circuit_breaker import CircuitBreaker
from jpki.crl_index import CrlDirectory, CrlIndex, RevokedCertificateEntry
from jpki.errors import CrlIndexDamaged, MalformedCertificate
from jpki.revocation import RevocationAnswer, RevocationStatus, UnknownReason, unknown_answer
from jpki.trust import TrustAnchor, TrustStore

BATCH = 1000

RESUMED_WITHIN = timedelta(days=1)
"""A sweep that stopped longer ago is given up: what it has done is out of date."""


class SweepSource(Protocol):
    """Something that knows of many certificates by their serial numbers."""

    def check_all(
        self, serial_numbers: Sequence[SerialNumber], issuer: TrustAnchor, now: datetime
    ) -> Iterator[RevocationAnswer]:
        """Yield what is known of each, in the same order; UNKNOWN where it is not."""


class CrlSweepSource:
    """The CRLs in force. All that one does not list share one answer.

    Of the CRL that was asked last the serial numbers are kept in a set: for as many questions as a sweep
    has that is quicker than searching each, and takes 130 MB for a million of them.
    """

    name = "crl"

    def __init__(self, directory: CrlDirectory) -> None:
        self._directory = directory
        self._opened: CrlIndex | None = None
        self._listed: frozenset[bytes] = frozenset()

    def check_all(
        self, serial_numbers: Sequence[SerialNumber], issuer: TrustAnchor, now: datetime
    ) -> Iterator[RevocationAnswer]:
        """See ``SweepSource``. One batch is held against one CRL, whatever is imported meanwhile."""
        try:
            index = self._directory.find_index(issuer.key_identifier)
        except CrlIndexDamaged:
            index, why = None, UnknownReason.MALFORMED
        except OSError:
            index, why = None, UnknownReason.UNREACHABLE
        else:
            why = UnknownReason.NO_SOURCE
        if index is None:
            yield from (unknown_answer(self.name, now, why) for _ in serial_numbers)
            return
        head = index.head
        good = RevocationAnswer(RevocationStatus.GOOD, self.name, head.this_update, head.next_update)
        if index is not self._opened:
            self._opened, self._listed = index, frozenset(index.serial_numbers())
        for serial_number in serial_numbers:
            listed = serial_number.value.to_bytes(MAXIMUM_SERIAL_OCTETS, "big") in self._listed
            entry = index.find(serial_number) if listed else None
            yield good if entry is None else _revoked(good, entry)


def _revoked(good: RevocationAnswer, entry: RevokedCertificateEntry) -> RevocationAnswer:
    return replace(good, status=RevocationStatus.REVOKED, revoked_at=entry.revoked_at, reason=entry.reason)


class SerialNumberSource(Protocol):
    """A source that can be asked about a certificate that is not at hand."""

    def check_serial_number(
        self, serial_number: SerialNumber, issuer: TrustAnchor, now: datetime
    ) -> RevocationAnswer:
        """Return what the source says. It never raises."""


class PacedSource:
    """Asks a source about one certificate after the other, at most ``per_second`` of them.

    A source that does not answer is left alone for a while; what would be asked meanwhile is UNKNOWN.
    """

    name = "paced"

    def __init__(
        self,
        source: SerialNumberSource,
        per_second: float,
        breaker: CircuitBreaker,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._interval = 1 / per_second
        self._breaker = breaker
        self._pause = pause

    def check_all(
        self, serial_numbers: Sequence[SerialNumber], issuer: TrustAnchor, now: datetime
    ) -> Iterator[RevocationAnswer]:
        """See ``SweepSource``."""
        for serial_number in serial_numbers:
            self._pause(self._interval)
            yield self._check(serial_number, issuer, now)

    def _check(self, serial_number: SerialNumber, issuer: TrustAnchor, now: datetime) -> RevocationAnswer:
        if not self._breaker.may_ask(now):
            return unknown_answer(self.name, now, UnknownReason.UNREACHABLE)
        answer = self._source.check_serial_number(serial_number, issuer, now)
        if answer.why is UnknownReason.UNREACHABLE:
            self._breaker.failed(now)
        else:
            self._breaker.succeeded()
        return answer


@dataclass(frozen=True)
class SweepStep:
    """One batch that is done: how far the sweep has come of *total* links, and what was suspended."""

    state: RevocationSweepState
    total: int
    suspended: Sequence[tuple[SweptLink, RevocationAnswer]]


class RevocationSweep:
    """Holds all active links against *sources*, which are asked in this order until one knows.

    ``rules`` says for each library how fresh an answer must be.
    """

    def __init__(
        self,
        environment: Environment,
        trust_store: TrustStore,
        sources: Sequence[SweepSource],
        rules: Mapping[str, RevocationRule],
        actor: Actor,
        batch: int = BATCH,
    ) -> None:
        self._environment = environment
        self._issuers = {anchor.key_identifier: anchor for anchor in trust_store.anchors}
        self._sources = sources
        self._rules = rules
        self._actor = actor
        self._batch = batch

    def run(self) -> Iterator[SweepStep]:
        """Sweep, yielding after each batch; the last step's state is finished.

        Where the caller stops, or is killed, the next run goes on.
        """
        now = self._environment.clock()
        begun = RevocationSweepState(self._environment.new_id(), now)
        with self._environment.store.reading() as transaction:
            total = transaction.count_active_links()
        while True:
            with self._environment.store.transaction() as transaction:
                state = transaction.open_sweep(begun, now - RESUMED_WITHIN)
                links = transaction.active_links_after(state.position_at, state.position, self._batch)
            step = self._sweep_batch(state, links, total)
            if step is None:
                continue  # another run was faster with this batch
            yield step
            if step.state.finished_at is not None:
                return

    def expiring(self) -> Sequence[ExpiringLink]:
        """Return the open links whose certificate ends within ``RENEWAL_NOTICE``, the earliest first."""
        now = self._environment.clock()
        with self._environment.store.reading() as transaction:
            return transaction.expiring_links(now, now + RENEWAL_NOTICE)

    def _sweep_batch(
        self, before: RevocationSweepState, links: Sequence[SweptLink], total: int
    ) -> SweepStep | None:
        now = self._environment.clock()
        findings = _Findings()
        for (library_id, issuer), serials in self._by_issuer(links).items():
            self._check(findings, library_id, issuer, serials)
        good = sum(map(len, findings.good.values()))
        after = replace(
            before,
            position_at=links[-1].linked_at if links else before.position_at,
            position=links[-1].link_id if links else before.position,
            good=before.good + good,
            suspended=before.suspended + len(findings.revoked),
            unknown=before.unknown + len(links) - good - len(findings.revoked),
            finished_at=now if len(links) < self._batch else None,
        )
        with self._environment.store.transaction() as transaction:
            if not transaction.advance_sweep(before, after):
                return None
            for answer, link_ids in findings.good.items():
                transaction.remember_revocation(link_ids, answer)
            suspended = [each for each in findings.revoked if self._suspend(transaction, *each)]
        return SweepStep(after, total, suspended)

    def _by_issuer(
        self, links: Sequence[SweptLink]
    ) -> Mapping[tuple[str, bytes], list[tuple[SweptLink, SerialNumber]]]:
        """Decrypt the serial numbers; a link whose serial number does not open is left out: unknown."""
        found = defaultdict(list)
        for link in links:
            if link.serial is None:
                continue
            try:
                record = self._environment.keys.decrypt(
                    KeyUse.SERIAL_ENCRYPTION, link.library_id, link.link_id, link.serial
                )
                issuer, serial_number = read_serial_record(record)
            except (KeyProblem, MalformedCertificate):
                continue
            found[link.library_id, issuer].append((link, serial_number))
        return found

    def _check(
        self,
        findings: _Findings,
        library_id: str,
        issuer_key_identifier: bytes,
        undecided: list[tuple[SweptLink, SerialNumber]],
    ) -> None:
        issuer = self._issuers.get(issuer_key_identifier)
        if issuer is None:
            return  # its CA is not trusted any more: nobody can tell
        now = self._environment.clock()
        freshness = self._rules.get(library_id, STRICT).freshness
        for source in self._sources:
            answers = source.check_all([serial_number for _, serial_number in undecided], issuer, now)
            still_undecided = []
            for pair, answer in zip(undecided, answers, strict=True):
                status = freshness.evaluate(answer, now).status
                if status is RevocationStatus.GOOD:
                    findings.good[answer].append(pair[0].link_id)
                elif status is RevocationStatus.REVOKED:
                    findings.revoked.append((pair[0], answer))
                else:
                    still_undecided.append(pair)
            undecided = still_undecided

    def _suspend(self, transaction: Transaction, link: SweptLink, answer: RevocationAnswer) -> bool:
        return suspend_revoked(
            self._environment, transaction, link.library_id, link.link_id, answer, self._actor
        )


class _Findings:
    """What a batch has brought: the links that are good, by the answer, and those that are revoked."""

    def __init__(self) -> None:
        self.good: dict[RevocationAnswer, list[str]] = defaultdict(list)
        self.revoked: list[tuple[SweptLink, RevocationAnswer]] = []
