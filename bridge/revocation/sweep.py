"""The sweep: every active link held against what is known of revocation.

It finds what nobody uses: a certificate is checked at each use anyway. Where a CRL has the first word, the
links of a whole library are done at once: each bears a keyed tag of its serial number, so the tags of all
that the CRL lists tell which links to look at, and the others are good without being touched. The
remaining links are taken in the order in which they were made, a batch at a time.

What a step brings about and how far the sweep has come are written in one transaction. So a sweep that is
killed goes on where it stopped, and two at the same time share the work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bridge.environment import Environment
from bridge.errors import KeyProblem
from bridge.keys.ring import KeyUse
from bridge.links.life import suspend_revoked
from bridge.links.serial_record import read_serial_record
from bridge.models import Actor
from bridge.ports import (
    ExpiringLink,
    LinkGroup,
    RevocationSweepState,
    RevocationTag,
    SweptLink,
    Transaction,
)
from bridge.revocation.sources import CompleteList, SweepSource
from bridge.rules import RENEWAL_NOTICE, STRICT, RevocationRule
from jpki.certificate import SerialNumber
from jpki.errors import MalformedCertificate
from jpki.revocation import RevocationAnswer, RevocationPolicy, RevocationStatus
from jpki.trust import TrustStore

BATCH = 1000

RESUMED_WITHIN = timedelta(days=1)
"""A sweep that stopped longer ago is given up: what it has done is out of date."""


TagProgress = Callable[[int, int], None]
"""Called with how many links that had no tag were looked at, and with how many there are."""


def show_no_tagging(done: int, total: int) -> None:
    """Show nobody how far the making of tags is."""


@dataclass(frozen=True)
class SweepStep:
    """One step that is done: how far the sweep has come of *total* links, and what was suspended."""

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

    def run(self, tagging: TagProgress = show_no_tagging) -> Iterator[SweepStep]:
        """Sweep, yielding after each step; the last step's state is finished.

        Links without a tag get theirs first, which is told to *tagging* after each batch. Where the caller
        stops, or is killed, the next run goes on.
        """
        begun = RevocationSweepState(self._environment.new_id(), self._environment.clock())
        groups = self._active_link_groups()
        tagged = [group for group in groups if group.issuer_key_identifier is not None]
        if len(tagged) < len(groups):
            self._tag_links(tagged, sum(groups.values()) - sum(map(groups.__getitem__, tagged)), tagging)
            groups = self._active_link_groups()
        total = sum(groups.values())
        is_all = True
        for group in groups:
            is_done = yield from self._sweep_group(group, begun, total)
            is_all = is_all and is_done
        yield from self._sweep_links(begun, total, is_nothing_left=is_all)

    def expiring(self) -> Sequence[ExpiringLink]:
        """Return the open links whose certificate ends within ``RENEWAL_NOTICE``, the earliest first."""
        now = self._environment.clock()
        with self._environment.store.reading() as transaction:
            return transaction.expiring_links(now, now + RENEWAL_NOTICE)

    def unswept(self) -> int:
        """Return how many active links no sweep can speak for: they hold another system's identifier."""
        with self._environment.store.reading() as transaction:
            return transaction.count_unswept_links()

    def _active_link_groups(self) -> Mapping[LinkGroup, int]:
        with self._environment.store.reading() as transaction:
            return transaction.active_link_groups()

    def _tag_links(self, tagged: Collection[LinkGroup], total: int, progress: TagProgress) -> None:
        """Give their tags to links that were made before there were any, as far as they can be read."""
        last: SweptLink | None = None
        done = 0
        while True:
            with self._environment.store.reading() as transaction:
                links = transaction.active_links_after(
                    last and last.linked_at, last.link_id if last else "", self._batch, but_for=tagged
                )
            tags = [(link.link_id, tag) for link in links if (tag := self._tag(link)) is not None]
            with self._environment.store.transaction() as transaction:
                for link_id, tag in tags:
                    transaction.tag_link(link_id, tag, self._environment.clock())
            done += len(links)
            progress(done, max(total, done))
            if len(links) < self._batch:
                return
            last = links[-1]

    def _tag(self, link: SweptLink) -> RevocationTag | None:
        opened = self._open(link)
        if opened is None or link.serial is None:
            return None
        issuer, serial_number = opened
        tag = self._environment.keys.revocation_tag(link.library_id, link.serial.key_id, serial_number)
        return RevocationTag(issuer, tag)

    def _sweep_group(
        self, group: LinkGroup, begun: RevocationSweepState, total: int
    ) -> Generator[SweepStep, None, bool]:
        """Do a group at once, where a list can decide it; the revoked ones of it a batch at a time.

        Return whether all of the group is known to be done.
        """
        now = self._environment.clock()
        revoked = self._find_list(group, now)
        if revoked is None or group.key_id is None:
            return False
        with self._environment.store.reading() as transaction:
            tags = transaction.revocation_tags(group)
        listed = sorted(
            tags.intersection(
                self._environment.keys.revocation_tags(group.library_id, group.key_id, revoked.tagged)
            )
        )
        # The clocks of several nodes may differ: of a link made just now its own answer must do.
        tagged_before = now - self._freshness(group.library_id).clock_skew
        statement = _Statement(group, revoked, tagged_before, len(tags) - len(listed))
        batches = [listed[start : start + self._batch] for start in range(0, len(listed), self._batch)]
        is_done = True
        for number, batch in enumerate(batches or [[]], start=1):
            found = self._sweep_listed(statement, batch, begun, total, is_last=number >= len(batches))
            if found is None:
                return False
            step, is_read = found
            is_done = is_done and is_read
            yield step
        return is_done

    def _find_list(self, group: LinkGroup, now: datetime) -> CompleteList | None:
        """Return the list that decides a group: of the first source, and fresh enough for the library."""
        issuer = self._issuers.get(group.issuer_key_identifier or b"")
        if issuer is None or not self._sources or group.key_id not in self._environment.keys:
            return None
        found = self._sources[0].find_list(issuer)
        if found is None:
            return None
        is_fresh = self._freshness(group.library_id).evaluate(found.good, now).status is RevocationStatus.GOOD
        return found if is_fresh else None

    def _sweep_listed(
        self,
        statement: _Statement,
        tags: Sequence[int],
        begun: RevocationSweepState,
        total: int,
        *,
        is_last: bool,
    ) -> tuple[SweepStep, bool] | None:
        """Suspend the links of a group that bear *tags*; with the last of them say that the others are good.

        Return the step, and whether each of these links could be read; None where another run has done
        the group meanwhile.
        """
        while True:
            with self._environment.store.transaction() as transaction:
                before = transaction.open_sweep(begun, begun.started_at - RESUMED_WITHIN)
                if statement.group in transaction.swept_groups(before.sweep_id):
                    return None
                findings = self._confirm(
                    transaction.active_links_with_tags(statement.group, tags), statement.revoked
                )
                after = replace(
                    before,
                    good=before.good + findings.good_count + (statement.unlisted if is_last else 0),
                    suspended=before.suspended + len(findings.revoked),
                )
                if not transaction.advance_sweep(before, after):
                    continue  # another run was faster
                for link in findings.unreadable:
                    # It is left to the sweep by links, and no statement holds for it.
                    transaction.tag_link(link.link_id, None, self._environment.clock())
                suspended = self._suspend(transaction, findings)
                if is_last:
                    transaction.keep_swept_group(
                        statement.group, after.sweep_id, statement.tagged_before, statement.revoked.good
                    )
            return SweepStep(after, total, suspended), not findings.unreadable

    def _confirm(self, links: Sequence[SweptLink], revoked: CompleteList) -> _Findings:
        """Ask about links whose tags are on a list once more, by their serial numbers."""
        findings = _Findings()
        for link in links:
            opened = self._open(link)
            if opened is None:
                findings.unreadable.append(link)
                continue
            answer = revoked.check(opened[1])
            if answer.status is RevocationStatus.REVOKED:
                findings.revoked.append((link, answer))
            else:
                findings.good[answer].append(link.link_id)
        return findings

    def _sweep_links(
        self, begun: RevocationSweepState, total: int, *, is_nothing_left: bool
    ) -> Iterator[SweepStep]:
        """Do the links of which no list decides, a batch at a time, and finish the sweep.

        To look for them takes long where there are many others: not where it is known that there are none.
        """
        while True:
            with self._environment.store.transaction() as transaction:
                state = transaction.open_sweep(begun, begun.started_at - RESUMED_WITHIN)
                swept = transaction.swept_groups(state.sweep_id)
            links: Sequence[SweptLink] = []
            if not is_nothing_left:
                with self._environment.store.reading() as transaction:
                    links = transaction.active_links_after(
                        state.position_at, state.position, self._batch, but_for=swept
                    )
            step = self._sweep_batch(state, links, total)
            if step is None:
                continue  # another run was faster with this batch
            yield step
            if step.state.finished_at is not None:
                return

    def _sweep_batch(
        self, before: RevocationSweepState, links: Sequence[SweptLink], total: int
    ) -> SweepStep | None:
        now = self._environment.clock()
        findings = _Findings()
        for (library_id, issuer), serials in self._by_issuer(links).items():
            self._check(findings, library_id, issuer, serials)
        good, revoked = findings.good_count, len(findings.revoked)
        after = replace(
            before,
            position_at=links[-1].linked_at if links else before.position_at,
            position=links[-1].link_id if links else before.position,
            good=before.good + good,
            suspended=before.suspended + revoked,
            unknown=before.unknown + len(links) - good - revoked,
            finished_at=now if len(links) < self._batch else None,
        )
        with self._environment.store.transaction() as transaction:
            if not transaction.advance_sweep(before, after):
                return None
            for answer, link_ids in findings.good.items():
                transaction.remember_revocation(link_ids, answer)
            suspended = self._suspend(transaction, findings)
        return SweepStep(after, total, suspended)

    def _open(self, link: SweptLink) -> tuple[bytes, SerialNumber] | None:
        """Decrypt issuer key identifier and serial number; None where they do not open."""
        if link.serial is None:
            return None
        try:
            record = self._environment.keys.decrypt(
                KeyUse.SERIAL_ENCRYPTION, link.library_id, link.link_id, link.serial
            )
            return read_serial_record(record)
        except (KeyProblem, MalformedCertificate):
            return None

    def _by_issuer(
        self, links: Sequence[SweptLink]
    ) -> Mapping[tuple[str, bytes], list[tuple[SweptLink, SerialNumber]]]:
        """Decrypt the serial numbers; a link whose serial number does not open is left out: unknown."""
        found = defaultdict(list)
        for link in links:
            opened = self._open(link)
            if opened is not None:
                issuer, serial_number = opened
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
        freshness = self._freshness(library_id)
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

    def _suspend(
        self, transaction: Transaction, findings: _Findings
    ) -> Sequence[tuple[SweptLink, RevocationAnswer]]:
        """Suspend what is revoked; return what was active until now."""
        by_library: dict[str, dict[str, RevocationAnswer]] = defaultdict(dict)
        for link, answer in findings.revoked:
            by_library[link.library_id][link.link_id] = answer
        suspended: set[str] = set()
        for library_id, answers in by_library.items():
            suspended.update(
                suspend_revoked(self._environment, transaction, library_id, answers, self._actor)
            )
        return [(link, answer) for link, answer in findings.revoked if link.link_id in suspended]

    def _freshness(self, library_id: str) -> RevocationPolicy:
        return self._rules.get(library_id, STRICT).freshness


@dataclass(frozen=True)
class _Statement:
    """What is to be said at once of a group: GOOD, but for what is revoked.

    It holds for links that were tagged before a moment; ``unlisted`` is how many were found on no list.
    """

    group: LinkGroup
    revoked: CompleteList
    tagged_before: datetime
    unlisted: int


@dataclass
class _Findings:
    """What a batch has brought: the links that are good, by the answer, and those that are revoked."""

    good: dict[RevocationAnswer, list[str]] = field(default_factory=lambda: defaultdict(list))
    revoked: list[tuple[SweptLink, RevocationAnswer]] = field(default_factory=list)
    unreadable: list[SweptLink] = field(default_factory=list)

    @property
    def good_count(self) -> int:
        return sum(map(len, self.good.values()))
