"""Ending many links at once (一括解除), which takes two members of staff of the library.

One requests it for the links that were chosen, by their ids; another approves or declines. Then the links
end in small transactions, so that nobody waits long for the database and a program that is killed goes on
where it stopped. The patrons' categories are left to ``CategoryService.reconcile`` at night: Koha is not
asked a thousand times while the library is open.

No operator of the server is bound by this: ``bridge.links.records`` ends one link for each command.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bridge.counter.service import librarian_actor, require_counter_role
from bridge.environment import Environment
from bridge.errors import (
    BulkUnlinkingNotFound,
    BulkUnlinkingOver,
    LinkNotFound,
    SecondPersonNeeded,
    StoreUnavailable,
    TooManyLinksAtOnce,
)
from bridge.links.life import end
from bridge.models import (
    Actor,
    ActorKind,
    ApprovalReason,
    AuditTag,
    BulkUnlinking,
    BulkUnlinkingState,
    BulkUnlinkReason,
    CardLink,
    DeclineReason,
    IdentifierKind,
    Librarian,
    LinkState,
)
from bridge.patrons.category import CategoryService
from bridge.ports import Transaction
from bridge.unexpected import log_unexpected

MAXIMUM_LINKS = 100_000
"""That one request names: more than any library of a city has."""

LINKS_AT_ONCE = 25
"""That end in one transaction. A longer one would keep the counters and the machines waiting."""

SAMPLE = 20
"""Links that are shown of a request."""

_log = logging.getLogger(__name__)

Begin = Callable[[Callable[[], None]], None]
"""Runs work now or soon, in this process."""


def at_once(work: Callable[[], None]) -> None:
    """Run work now: for programs in which nobody waits for a page."""
    work()


@dataclass(frozen=True)
class BulkOverview:
    """A request with how many of its links are in each state now, by kind, and the first of them."""

    bulk: BulkUnlinking
    counts: Mapping[tuple[IdentifierKind, LinkState], int]
    sample: Sequence[CardLink]


class BulkUnlinkingService:
    """Requests to end many links, and their ends; *begin* runs what takes longer than a page may.

    *rest* lets others write between two transactions, where the database keeps no queue of them.
    What a librarian does raises ``NotAllowed`` where the role does not permit it; ``overview`` and
    ``find`` only show, and any role may look.
    """

    def __init__(
        self,
        environment: Environment,
        categories: CategoryService,
        begin: Begin,
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        self._environment = environment
        self._categories = categories
        self._begin = begin
        self._rest = rest

    def limit_of_one_person(self, librarian: Librarian) -> int:
        """Return how many links one member of staff may end at once in this library."""
        return self._environment.library(librarian.library_id).links.ends_without_approval

    def end_alone(
        self, librarian: Librarian, link_ids: Sequence[str], *, reason: BulkUnlinkReason
    ) -> Sequence[CardLink]:
        """End a few links at once; return those that had not ended yet.

        Raises ``SecondPersonNeeded`` where they are more than one person may end.
        """
        require_counter_role(librarian)
        chosen = sorted(set(link_ids))
        if len(chosen) > self.limit_of_one_person(librarian):
            raise SecondPersonNeeded
        with self._environment.store.transaction() as transaction:
            return self._end(transaction, librarian.library_id, chosen, reason, librarian_actor(librarian))

    def request(
        self, librarian: Librarian, link_ids: Sequence[str], *, reason: BulkUnlinkReason
    ) -> BulkUnlinking:
        """Ask for the end of links; what has ended, or is another library's, is left out.

        Raises ``LinkNotFound`` where none is left, and ``TooManyLinksAtOnce``.
        """
        require_counter_role(librarian)
        chosen = sorted(set(link_ids))
        if len(chosen) > MAXIMUM_LINKS:
            raise TooManyLinksAtOnce
        now = self._environment.clock()
        policy = self._environment.library(librarian.library_id).links
        bulk = BulkUnlinking(
            bulk_id=self._environment.new_id(),
            library_id=librarian.library_id,
            reason=reason,
            link_count=0,
            requested_by=librarian.librarian_id,
            requested_at=now,
            expires_at=now + policy.approval_time,
        )
        with self._environment.store.transaction() as transaction:
            bulk = transaction.add_bulk_unlinking(bulk, chosen)
            if not bulk.link_count:
                raise LinkNotFound
            self._tell(transaction, AuditTag.BULK_UNLINKING_REQUESTED, bulk, librarian_actor(librarian))
        return bulk

    def approve(self, librarian: Librarian, bulk_id: str, *, reason: ApprovalReason) -> BulkUnlinking:
        """Approve a request of somebody else, and begin to end its links.

        Raises ``BulkUnlinkingNotFound``, ``BulkUnlinkingOver``, ``SecondPersonNeeded``.
        """
        approved = self._decide(
            librarian, bulk_id, BulkUnlinkingState.APPROVED, AuditTag.BULK_UNLINKING_APPROVED, reason
        )
        self._begin(partial(self._carry_out_or_log, approved))
        return self.find(librarian, bulk_id)

    def decline(self, librarian: Librarian, bulk_id: str, *, reason: DeclineReason) -> BulkUnlinking:
        """Decline a request of somebody else. Raises what ``approve`` raises."""
        return self._decide(
            librarian, bulk_id, BulkUnlinkingState.DECLINED, AuditTag.BULK_UNLINKING_DECLINED, reason
        )

    def withdraw(self, librarian: Librarian, bulk_id: str) -> BulkUnlinking:
        """Take the own request back.

        Raises ``BulkUnlinkingNotFound``, somebody else's included, and ``BulkUnlinkingOver``.
        """
        require_counter_role(librarian)
        with self._environment.store.transaction() as transaction:
            bulk = self._open(transaction, librarian, bulk_id)
            if bulk.requested_by != librarian.librarian_id:
                raise BulkUnlinkingNotFound
            withdrawn = replace(bulk, state=BulkUnlinkingState.WITHDRAWN, closed_at=self._environment.clock())
            transaction.update_bulk_unlinking(withdrawn)
            self._tell(transaction, AuditTag.BULK_UNLINKING_WITHDRAWN, bulk, librarian_actor(librarian))
        return withdrawn

    def carry_on(self, librarian: Librarian, bulk_id: str) -> BulkUnlinking:
        """Go on with an approved request that was cut off; harmless where it is under way.

        Raises ``BulkUnlinkingNotFound``, and ``BulkUnlinkingOver`` where nothing is left to do.
        """
        require_counter_role(librarian)
        bulk = self.find(librarian, bulk_id)
        if bulk.state is not BulkUnlinkingState.APPROVED:
            raise BulkUnlinkingOver
        self._begin(partial(self._carry_out_or_log, bulk))
        return self.find(librarian, bulk_id)

    def find(self, librarian: Librarian, bulk_id: str) -> BulkUnlinking:
        """Return a request of the librarian's library. Raises ``BulkUnlinkingNotFound``."""
        with self._environment.store.reading() as transaction:
            return _found(transaction.find_bulk_unlinking(librarian.library_id, bulk_id))

    def overview(self, librarian: Librarian, bulk_id: str) -> BulkOverview:
        """Return a request with what it is about. Raises ``BulkUnlinkingNotFound``."""
        with self._environment.store.reading() as transaction:
            bulk = _found(transaction.find_bulk_unlinking(librarian.library_id, bulk_id))
            return BulkOverview(
                bulk, transaction.count_bulk_links(bulk_id), transaction.bulk_links(bulk_id, SAMPLE)
            )

    def count_waiting(self, librarian: Librarian) -> int:
        """Return how many requests of others wait for somebody of this library to decide them."""
        with self._environment.store.reading() as transaction:
            return transaction.count_waiting_bulk_unlinkings(
                librarian.library_id, self._environment.clock(), but_of=librarian.librarian_id
            )

    # what time and other programs bring

    def resume(self) -> None:
        """Begin to go on with whatever was approved and cut off; a database that is away is left."""
        try:
            for bulk in self.unfinished():
                self._begin(partial(self._carry_out_or_log, bulk))
        except StoreUnavailable as error:
            _log.warning("approved ends of links are not looked for: the database is away (%s)", error.code)

    def unfinished(self) -> Sequence[BulkUnlinking]:
        """Return the approved requests of all libraries of the settings whose links are still ending."""
        with self._environment.store.reading() as transaction:
            return [
                bulk
                for library_id in self._environment.libraries
                for bulk in transaction.bulk_unlinkings(library_id, BulkUnlinkingState.APPROVED)
            ]

    def carry_out(self, bulk: BulkUnlinking) -> BulkUnlinking:
        """End the links of an approved request that have not ended yet; return how it came out.

        It may be killed at any moment, and be run by several programs at once: each link ends once.
        """
        while bulk.state is BulkUnlinkingState.APPROVED:
            with self._environment.store.transaction() as transaction:
                bulk = _found(transaction.find_bulk_unlinking(bulk.library_id, bulk.bulk_id, to_change=True))
                if bulk.state is BulkUnlinkingState.APPROVED:
                    bulk = self._end_next(transaction, bulk)
            if bulk.state is BulkUnlinkingState.APPROVED:
                self._rest()
        return bulk

    def overdue(self) -> Iterator[BulkUnlinking]:
        """Yield the requests of all libraries that nobody decided in time."""
        now = self._environment.clock()
        with self._environment.store.reading() as transaction:
            asked = [
                bulk
                for library_id in self._environment.libraries
                for bulk in transaction.bulk_unlinkings(library_id, BulkUnlinkingState.REQUESTED)
            ]
        yield from (bulk for bulk in asked if bulk.state_at(now) is BulkUnlinkingState.EXPIRED)

    def expire(self, overdue: BulkUnlinking, actor: Actor) -> bool:
        """Write down that nobody decided a request in time; say whether it was open until now."""
        with self._environment.store.transaction() as transaction:
            found = transaction.find_bulk_unlinking(overdue.library_id, overdue.bulk_id, to_change=True)
            if found is None or found.state is not BulkUnlinkingState.REQUESTED:
                return False
            expired = replace(found, state=BulkUnlinkingState.EXPIRED, closed_at=self._environment.clock())
            transaction.update_bulk_unlinking(expired)
            self._tell(transaction, AuditTag.BULK_UNLINKING_EXPIRED, expired, actor)
        return True

    def _decide(
        self,
        librarian: Librarian,
        bulk_id: str,
        state: BulkUnlinkingState,
        tag: AuditTag,
        reason: ApprovalReason | DeclineReason,
    ) -> BulkUnlinking:
        require_counter_role(librarian)
        now = self._environment.clock()
        with self._environment.store.transaction() as transaction:
            bulk = self._open(transaction, librarian, bulk_id)
            if bulk.requested_by == librarian.librarian_id:
                raise SecondPersonNeeded
            decided = replace(
                bulk,
                state=state,
                decided_by=librarian.librarian_id,
                decided_at=now,
                decision=reason.value,
                closed_at=now if state is BulkUnlinkingState.DECLINED else None,
            )
            transaction.update_bulk_unlinking(decided)
            self._tell(transaction, tag, decided, librarian_actor(librarian), decision=reason.value)
        return decided

    def _open(self, transaction: Transaction, librarian: Librarian, bulk_id: str) -> BulkUnlinking:
        """Return a request that can still be decided, kept from others until the transaction is over."""
        bulk = _found(transaction.find_bulk_unlinking(librarian.library_id, bulk_id, to_change=True))
        if bulk.state_at(self._environment.clock()) is not BulkUnlinkingState.REQUESTED:
            raise BulkUnlinkingOver
        return bulk

    def _carry_out_or_log(self, bulk: BulkUnlinking) -> None:
        try:
            self.carry_out(bulk)
        except StoreUnavailable as error:
            _log.warning("the end of many links has stopped, and is to be resumed (%s)", error.code)
        except Exception as error:  # noqa: BLE001  # nobody above would tell of it
            log_unexpected(error)

    def _end_next(self, transaction: Transaction, bulk: BulkUnlinking) -> BulkUnlinking:
        """End the next links of a request; after the last ones it is executed."""
        if bulk.decided_by is None:  # which the database forbids
            raise BulkUnlinkingOver
        approver = Actor(ActorKind.LIBRARIAN, bulk.decided_by)
        link_ids = transaction.bulk_links_to_end(bulk.bulk_id, LINKS_AT_ONCE)
        details = {"bulk": bulk.bulk_id, "requested_by": bulk.requested_by}
        ended = self._end(transaction, bulk.library_id, link_ids, bulk.reason, approver, **details)
        transaction.keep_bulk_outcomes(bulk.bulk_id, link_ids, {link.link_id for link in ended})
        bulk = replace(
            bulk,
            ended=bulk.ended + len(ended),
            skipped=bulk.skipped + len(link_ids) - len(ended),
        )
        if len(link_ids) < LINKS_AT_ONCE:
            # What is missing by now was deleted for good, after it had ended.
            bulk = replace(
                bulk,
                state=BulkUnlinkingState.EXECUTED,
                skipped=bulk.link_count - bulk.ended,
                closed_at=self._environment.clock(),
            )
            self._tell(
                transaction,
                AuditTag.BULK_UNLINKING_EXECUTED,
                bulk,
                approver,
                requested_by=bulk.requested_by,
                ended=str(bulk.ended),
                skipped=str(bulk.skipped),
            )
        transaction.update_bulk_unlinking(bulk)
        return bulk

    def _end(
        self,
        transaction: Transaction,
        library_id: str,
        link_ids: Sequence[str],
        reason: BulkUnlinkReason,
        actor: Actor,
        **details: str,
    ) -> Sequence[CardLink]:
        """End links one by one, always in the order of their ids; return those that had not ended yet."""
        ended = []
        for link_id in link_ids:
            try:
                link = end(self._environment, transaction, library_id, link_id, reason, actor, **details)
            except LinkNotFound:
                continue
            if link.patron_id is not None:
                self._categories.plan(transaction, library_id, patron_id=link.patron_id, link_id=link_id)
            ended.append(link)
        return ended

    def _tell(
        self, transaction: Transaction, tag: AuditTag, bulk: BulkUnlinking, actor: Actor, **details: str
    ) -> None:
        transaction.add_audit_event(
            self._environment.event(
                tag,
                bulk.library_id,
                actor,
                bulk.bulk_id,
                reason=bulk.reason.value,
                links=str(bulk.link_count),
                **details,
            )
        )


def _found(bulk: BulkUnlinking | None) -> BulkUnlinking:
    if bulk is None:
        raise BulkUnlinkingNotFound
    return bulk
