"""Housekeeping: ends the links that have lasted too long, and deletes for good what is over.

What it finds was refused at each use anyway. It works in small batches, each in a transaction of its own,
so that it may be killed and run again at any time; Koha is asked outside of them. A patron whom Koha does
not know any more may be missing by mistake (the wrong Koha, a restored copy): the links rest at first, are
restored when the patron is back, and end only after a time. That Koha does not answer says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum, unique

from bridge.environment import Environment, Library
from bridge.errors import Denied, KohaNotReachable, LinkNotFound, NoSuchPatron
from bridge.links.bulk_unlinking import BulkUnlinkingService
from bridge.links.life import end, restore, suspend
from bridge.models import Actor, AuditTag, CardLink, LinkEndReason, LinkState, SuspensionReason
from bridge.patrons.category import CategoryService
from bridge.rules import Decision, judge_duration, judge_retention

BATCH = 200

UNANSWERED_LIMIT = 3
"""After so many links in a row for which Koha did not answer, the rest of a library is left for next time."""

FIRST = ""
"""Before the id of every link."""


@unique
class Chore(StrEnum):
    """What housekeeping does."""

    END_LINK = "end_link"
    SUSPEND_LINK = "suspend_link"
    RESTORE_LINK = "restore_link"
    KOHA_NOT_REACHABLE = "koha_not_reachable"
    DELETE_LINK = "delete_link"
    CLOSE_SESSION = "close_session"
    DELETE_REQUESTS = "delete_requests"
    DELETE_SESSIONS = "delete_sessions"
    EXPIRE_BULK_UNLINKING = "expire_bulk_unlinking"
    END_APPROVED_LINKS = "end_approved_links"


@dataclass(frozen=True)
class ChoreDone:
    """One thing done, or to be done in a dry run: to one link, or to *count* records that are over."""

    chore: Chore
    library_id: str | None = None
    link_id: str | None = None
    reason: str | None = None
    count: int = 1


class Housekeeping:
    """Ends and deletes, for all libraries of the settings, in the name of *actor*.

    ``account_gone`` is how long the links of a patron rest whom Koha does not know; ``session_retention``
    how long closed sessions and requests that are over are kept; ``idle_limit`` that of a session.
    """

    def __init__(
        self,
        environment: Environment,
        categories: CategoryService,
        bulk_unlinking: BulkUnlinkingService,
        actor: Actor,
        *,
        account_gone: timedelta,
        session_retention: timedelta,
        idle_limit: timedelta,
    ) -> None:
        self._environment = environment
        self._categories = categories
        self._bulk_unlinking = bulk_unlinking
        self._actor = actor
        self._account_gone = account_gone
        self._session_retention = session_retention
        self._idle_limit = idle_limit

    def run(self, *, dry_run: bool) -> Iterator[ChoreDone]:
        """Do what is to be done, yielding each thing after it is done; a dry run writes nothing."""
        yield from self._settle_bulk_unlinkings(dry_run=dry_run)
        for library in self._environment.libraries.values():
            yield from self._end_outlived(library, dry_run=dry_run)
            yield from self._look_for_patrons(library, dry_run=dry_run)
            yield from self._delete_links(library, dry_run=dry_run)
        yield from self._close_sessions(dry_run=dry_run)
        yield from self._delete_what_is_over(dry_run=dry_run)

    def _settle_bulk_unlinkings(self, *, dry_run: bool) -> Iterator[ChoreDone]:
        """Close what nobody approved in time; go on with what was approved and cut off."""
        for bulk in self._bulk_unlinking.overdue():
            if dry_run or self._bulk_unlinking.expire(bulk, self._actor):
                yield ChoreDone(Chore.EXPIRE_BULK_UNLINKING, bulk.library_id)
        for bulk in self._bulk_unlinking.unfinished():
            left = bulk.link_count - bulk.ended - bulk.skipped
            if not dry_run:
                left = self._bulk_unlinking.carry_out(bulk).ended - bulk.ended
            yield ChoreDone(Chore.END_APPROVED_LINKS, bulk.library_id, count=left)

    def _end_outlived(self, library: Library, *, dry_run: bool) -> Iterator[ChoreDone]:
        position: str | None = FIRST
        while position is not None:
            now, today = self._environment.clock(), library.today(self._environment.clock())
            maximum_age = library.links.maximum_age
            with self._environment.store.transaction() as transaction:
                links = transaction.outlived_links(
                    library.library_id,
                    now=now,
                    linked_until=None if maximum_age is None else now - maximum_age,
                    today=today,
                    position=position,
                    limit=BATCH,
                )
            for link in links:
                reason = _end_reason(judge_duration(link, now, today, library.links))
                if reason is not None:
                    yield from self._end(link, reason, dry_run=dry_run)
            position = _next(links)

    def _look_for_patrons(self, library: Library, *, dry_run: bool) -> Iterator[ChoreDone]:
        position: str | None = FIRST
        unanswered = 0
        while position is not None:
            with self._environment.store.transaction() as transaction:
                links = transaction.links_of_library(
                    library.library_id, with_ended=False, position=position, limit=BATCH
                )
            for link in links:
                try:
                    self._environment.patron_of(link)
                except KohaNotReachable:
                    unanswered += 1
                    if unanswered == UNANSWERED_LIMIT:
                        yield ChoreDone(Chore.KOHA_NOT_REACHABLE, library.library_id)
                        return
                except NoSuchPatron:
                    unanswered = 0
                    yield from self._patron_is_gone(link, dry_run=dry_run)
                else:
                    unanswered = 0
                    yield from self._patron_is_there(link, dry_run=dry_run)
            position = _next(links)

    def _patron_is_gone(self, link: CardLink, *, dry_run: bool) -> Iterator[ChoreDone]:
        reason = SuspensionReason.ACCOUNT_GONE
        if link.state is LinkState.ACTIVE:
            if not dry_run:
                with self._environment.store.transaction() as transaction:
                    suspended = suspend(
                        self._environment, transaction, link.library_id, link.link_id, reason, self._actor
                    )
                if not suspended:
                    return  # somebody else was faster
            yield ChoreDone(Chore.SUSPEND_LINK, link.library_id, link.link_id, reason)
            return
        gone_at = link.suspended_at if link.suspended_reason == reason else link.patron_gone_at
        if gone_at is None:
            # It rests for a reason of its own, which must not be lost should the patron be back.
            if not dry_run:
                self._keep_patron_gone(link, self._environment.clock())
        elif self._environment.clock() >= gone_at + self._account_gone:
            yield from self._end(link, LinkEndReason.ACCOUNT_GONE, dry_run=dry_run)

    def _keep_patron_gone(self, link: CardLink, at: datetime | None) -> None:
        with self._environment.store.transaction() as transaction:
            transaction.set_patron_gone(link.link_id, at)

    def _patron_is_there(self, link: CardLink, *, dry_run: bool) -> Iterator[ChoreDone]:
        reason = SuspensionReason.ACCOUNT_GONE
        if link.patron_gone_at is not None and not dry_run:
            self._keep_patron_gone(link, None)
        if link.suspended_reason != reason:
            return
        if not dry_run:
            try:
                self._restore(link, reason)
            except (LinkNotFound, Denied):
                return  # somebody else was faster
        yield ChoreDone(Chore.RESTORE_LINK, link.library_id, link.link_id)

    def _restore(self, link: CardLink, reason: SuspensionReason) -> None:
        with self._environment.store.transaction() as transaction:
            restore(
                self._environment,
                transaction,
                link.library_id,
                link.link_id,
                self._actor,
                frozenset({reason}),
            )

    def _end(self, link: CardLink, reason: LinkEndReason, *, dry_run: bool) -> Iterator[ChoreDone]:
        if not dry_run:
            try:
                self._end_now(link, reason)
            except LinkNotFound:
                return  # somebody else was faster
        yield ChoreDone(Chore.END_LINK, link.library_id, link.link_id, reason)

    def _end_now(self, link: CardLink, reason: LinkEndReason) -> None:
        with self._environment.store.transaction() as transaction:
            end(self._environment, transaction, link.library_id, link.link_id, reason, self._actor)
            if link.patron_id is not None:
                self._categories.plan(
                    transaction, link.library_id, patron_id=link.patron_id, link_id=link.link_id
                )
        if link.patron_id is not None:
            self._categories.run(link.library_id, link.patron_id, self._actor)

    def _delete_links(self, library: Library, *, dry_run: bool) -> Iterator[ChoreDone]:
        position: str | None = FIRST
        while position is not None:
            now = self._environment.clock()
            retention = library.links.retention
            with self._environment.store.transaction() as transaction:
                links = transaction.deletable_links(library.library_id, now - retention, position, BATCH)
                over = [
                    link
                    for link in links
                    if link.ended_at is not None
                    and not judge_retention(link.ended_at, now, retention).allowed
                ]
                if not dry_run:
                    for link in over:
                        transaction.delete_link(link.link_id)
                        transaction.add_audit_event(
                            self._environment.event(
                                AuditTag.LINK_DELETED, library.library_id, self._actor, link.link_id
                            )
                        )
            for link in over:
                yield ChoreDone(Chore.DELETE_LINK, library.library_id, link.link_id)
            position = _next(links)

    def _close_sessions(self, *, dry_run: bool) -> Iterator[ChoreDone]:
        """Close what nobody came back for, so that its card number is wiped."""
        now = self._environment.clock()
        with self._environment.store.transaction() as transaction:
            overdue = transaction.overdue_sessions(now, now - self._idle_limit)
            for session in () if dry_run else overdue:
                if transaction.close_session(session.session_id, now, "overdue") is not None:
                    transaction.add_audit_event(
                        self._environment.event(
                            AuditTag.SESSION_CLOSED,
                            session.library_id,
                            self._actor,
                            session.session_id,
                            terminal_id=session.terminal_id,
                            reason="overdue",
                        )
                    )
        for session in overdue:
            yield ChoreDone(Chore.CLOSE_SESSION, session.library_id)

    def _delete_what_is_over(self, *, dry_run: bool) -> Iterator[ChoreDone]:
        before = self._environment.clock() - self._session_retention
        if dry_run:
            with self._environment.store.transaction() as transaction:
                requests, sessions = transaction.count_over(before)
            yield ChoreDone(Chore.DELETE_REQUESTS, count=requests)
            yield ChoreDone(Chore.DELETE_SESSIONS, count=sessions)
            return
        for chore in (Chore.DELETE_REQUESTS, Chore.DELETE_SESSIONS):
            deleted = BATCH
            while deleted == BATCH:
                with self._environment.store.transaction() as transaction:
                    delete = (
                        transaction.delete_link_requests
                        if chore is Chore.DELETE_REQUESTS
                        else transaction.delete_sessions
                    )
                    deleted = delete(before, BATCH)
                yield ChoreDone(chore, count=deleted)


def _end_reason(decision: Decision) -> LinkEndReason | None:
    """Return why a link ends that has lasted too long: the reasons have the names of the refusals."""
    return None if decision.denial is None else LinkEndReason(decision.denial.value)


def _is_over(link: CardLink, now: datetime, retention: timedelta) -> bool:
    return link.ended_at is not None and not judge_retention(link.ended_at, now, retention).allowed


def _next(links: Sequence[CardLink]) -> str | None:
    """Return where the next batch begins; None after the last."""
    return links[-1].link_id if len(links) == BATCH else None
