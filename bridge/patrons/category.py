"""The category for linked patrons (連携した利用者の区分): into it when a card is linked, back at the end.

A library may lend more to who came with a card, for instance twelve books in place of six. The number
stands in Koha's circulation rules; what moves is the patron's category. Each move is kept in the
database before it is tried, in the same transaction as the link or its end, and made afterwards: Koha
is never asked inside a transaction, and a move that fails does not undo the link. Every step may be
repeated. A patron whom staff moved meanwhile is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum, StrEnum, auto, unique

from bridge.environment import Environment, Library
from bridge.errors import CategoryRefused, KohaNotReachable, NoSuchPatron, PatronChanged
from bridge.links.upgrade import upgrade_links
from bridge.models import (
    Actor,
    AuditTag,
    CardLink,
    CategoryMove,
    MoveDirection,
    MoveState,
)
from bridge.ports import CategoryDetails, PatronRecord, Transaction

TRIES = 3
"""How often a patron is read again at once where somebody changed it between reading and writing."""

UNANSWERED_LIMIT = 3
"""After so many patrons in a row for whom Koha did not answer, a reconciliation stops."""

SETTLED = frozenset({MoveState.DONE, MoveState.LEFT_ALONE, MoveState.SUPERSEDED})

MOVE_EVENTS: Mapping[MoveState, AuditTag] = {
    MoveState.DONE: AuditTag.CATEGORY_MOVED,
    MoveState.LEFT_ALONE: AuditTag.CATEGORY_LEFT_ALONE,
    MoveState.FAILED: AuditTag.CATEGORY_MOVE_FAILED,
}
"""What an attempt is called in the audit log, by how it left the move."""


# What is due, decided without asking anybody


@unique
class Verdict(Enum):
    """What becomes of a move, seen against the category in which the patron is now."""

    MOVE = auto()
    ALREADY_THERE = auto()
    LEAVE_ALONE = auto()


@dataclass(frozen=True)
class Way:
    """A move that is due."""

    direction: MoveDirection
    from_category: str
    to_category: str

    def judge(self, category_id: str) -> Verdict:
        """Decide for a patron who is in *category_id* now."""
        if category_id == self.to_category:
            return Verdict.ALREADY_THERE
        return Verdict.MOVE if category_id == self.from_category else Verdict.LEAVE_ALONE


def way_of(move: CategoryMove) -> Way:
    """Return where a kept move goes."""
    return Way(move.direction, move.from_category, move.to_category)


def due_move(
    category_id: str | None,
    last: CategoryMove | None,
    living_links: Collection[str],
    linked_category: Mapping[str, str],
) -> Way | None:
    """Return the move that a patron is due beyond those that are kept already, None where none is.

    *last* is the patron's latest move, *living_links* are the ids of the links that are alive,
    *linked_category* is the library's table. *category_id* is where the patron is now; None where that
    is not known, which is enough to go back.
    """
    if not living_links:
        if last is None or last.direction is MoveDirection.BACK or last.state is MoveState.LEFT_ALONE:
            return None
        return Way(MoveDirection.BACK, last.to_category, last.from_category)
    if last is not None and last.direction is MoveDirection.LINKED:
        left_alone_before = last.state is MoveState.LEFT_ALONE and last.link_id not in living_links
        if not left_alone_before:
            return None
    if last is not None and last.direction is MoveDirection.BACK and last.state.is_open:
        return Way(MoveDirection.LINKED, last.to_category, last.from_category)
    if category_id is None or category_id not in linked_category:
        return None
    return Way(MoveDirection.LINKED, category_id, linked_category[category_id])


def was_moved_by_staff(category_id: str, last: CategoryMove | None, living_links: Collection[str]) -> bool:
    """Say whether a linked patron is no longer in the category into which the link moved it."""
    return (
        bool(living_links)
        and last is not None
        and last.direction is MoveDirection.LINKED
        and last.state is MoveState.DONE
        and category_id != last.to_category
    )


@unique
class SideEffect(StrEnum):
    """What Koha may do besides, when a patron changes the category."""

    ENROLMENT_FEE = "enrolment_fee"
    GUARANTORS_REMOVED = "guarantors_removed"
    NOT_KNOWN = "not_known"
    CATEGORY_MISSING = "category_missing"


@dataclass(frozen=True)
class MovePreview:
    """The move that a link would bring about, for the librarian's eyes before the link."""

    before: CategoryDetails
    after: CategoryDetails
    side_effects: tuple[SideEffect, ...]

    @property
    def enrolment_fee(self) -> Decimal | None:
        """What Koha charges where its preference FeeOnChangePatronCategory is on."""
        return self.after.enrolment_fee


def preview_of(way: Way, known: Mapping[str, CategoryDetails]) -> MovePreview:
    """Return what stands before a move, from what Koha tells of its categories."""
    before = known.get(way.from_category, CategoryDetails(way.from_category))
    after = known.get(way.to_category, CategoryDetails(way.to_category))
    if not known:
        return MovePreview(before, after, (SideEffect.NOT_KNOWN,))
    if way.to_category not in known:
        return MovePreview(before, after, (SideEffect.CATEGORY_MISSING,))
    effects = []
    if after.enrolment_fee:
        effects.append(SideEffect.ENROLMENT_FEE)
    if after.can_be_guarantee is False and before.can_be_guarantee is not False:
        effects.append(SideEffect.GUARANTORS_REMOVED)
    return MovePreview(before, after, tuple(effects))


# What is done about it


@unique
class ReconcileAction(StrEnum):
    """What a reconciliation found, or did, for one patron."""

    IN_ORDER = "in_order"
    UPGRADED = "upgraded"
    MOVED = "moved"
    LEFT_ALONE = "left_alone"
    FAILED = "failed"


@dataclass(frozen=True)
class ReconciledPatron:
    """One patron after a reconciliation; in a dry run, what would become of it.

    ``patron_id`` is None for a link to a card number that nobody has.
    """

    patron_id: int | None
    action: ReconcileAction
    from_category: str | None = None
    to_category: str | None = None
    problem: str | None = None


ACTIONS: Mapping[MoveState, ReconcileAction] = {
    MoveState.DONE: ReconcileAction.MOVED,
    MoveState.LEFT_ALONE: ReconcileAction.LEFT_ALONE,
    MoveState.FAILED: ReconcileAction.FAILED,
}

FORESEEN: Mapping[Verdict, ReconcileAction] = {
    Verdict.MOVE: ReconcileAction.MOVED,
    Verdict.ALREADY_THERE: ReconcileAction.IN_ORDER,
    Verdict.LEAVE_ALONE: ReconcileAction.LEFT_ALONE,
}


class CategoryService:
    """Plans moves together with links, makes them, and puts right what was left over."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def preview(self, library_id: str, patron: PatronRecord) -> MovePreview | None:
        """Return what a link made now would change, None where nothing. Raises ``KohaNotReachable``."""
        library = self._environment.library(library_id)
        if library.categories is None or patron.patron_id is None:
            return None
        with self._environment.store.reading() as transaction:
            last = transaction.last_category_move(library_id, patron.patron_id)
            living = self._living_links(transaction, library_id, patron.patron_id)
        way = due_move(patron.category_id, last, living | {"the new link"}, library.linked_category)
        if way is None:
            return None
        return preview_of(way, library.categories.describe((way.from_category, way.to_category)))

    def plan(
        self,
        transaction: Transaction,
        library_id: str,
        *,
        patron_id: int,
        link_id: str,
        category_id: str | None = None,
    ) -> None:
        """Keep the move that is due after a link was made or ended in *transaction*.

        ``run`` makes it, after the transaction. *category_id* is where the patron is now, if known.
        """
        library = self._environment.library(library_id)
        last = transaction.last_category_move(library_id, patron_id)
        living = self._living_links(transaction, library_id, patron_id)
        way = due_move(category_id, last, living, library.linked_category)
        if way is None:
            return
        now = self._environment.clock()
        if last is not None and last.state.is_open:
            superseded = replace(last, state=MoveState.SUPERSEDED, updated_at=now)
            transaction.update_category_move(superseded, unless=SETTLED)
        transaction.add_category_move(
            CategoryMove(
                move_id=self._environment.new_id(),
                library_id=library_id,
                link_id=link_id,
                patron_id=patron_id,
                direction=way.direction,
                from_category=way.from_category,
                to_category=way.to_category,
                state=MoveState.PENDING,
                created_at=now,
                updated_at=now,
            )
        )

    def run(self, library_id: str, patron_id: int, actor: Actor) -> CategoryMove | None:
        """Make the move that a patron is due; return it as it stands then, None where there is none.

        Never raises for what Koha does or does not: a failed move is kept, and tried again by
        ``reconcile``.
        """
        library = self._environment.library(library_id)
        while True:
            with self._environment.store.reading() as transaction:
                move = transaction.last_category_move(library_id, patron_id)
            if move is None or not move.state.is_open:
                return None
            attempted = self._attempt(library, move)
            if self._record(move, attempted, actor):
                return attempted

    def move_of_link(self, library_id: str, link_id: str, direction: MoveDirection) -> CategoryMove | None:
        """Return the move that a link, or its end, brought about."""
        with self._environment.store.reading() as transaction:
            return transaction.category_move_of_link(library_id, link_id, direction)

    def patrons(self, library_id: str) -> list[int]:
        """Return whom a reconciliation of a library looks at. Raises ``LibraryNotFound``."""
        self._environment.library(library_id)
        with self._environment.store.reading() as transaction:
            return list(transaction.patrons_with_categories(library_id))

    def reconcile(self, library_id: str, actor: Actor, *, dry_run: bool) -> Iterator[ReconciledPatron]:
        """Put every patron of a library right, one after the other: what failed, what was never planned.

        Links made over SIP2 alone are upgraded first. A dry run writes nothing anywhere. Raises
        ``KohaNotReachable`` where Koha does not answer for several patrons in a row, and
        ``CategoryRefused`` where there are no categories to write.
        """
        library = self._environment.library(library_id)
        if library.categories is None:
            raise CategoryRefused("SIP2 alone cannot move patrons between categories")
        for link, upgraded in upgrade_links(self._environment, library_id, actor, dry_run=dry_run):
            if upgraded:
                yield ReconciledPatron(link.patron_id, ReconcileAction.UPGRADED)
            else:
                yield ReconciledPatron(None, ReconcileAction.LEFT_ALONE, problem=NoSuchPatron.slug)
        unanswered = 0
        for patron_id in self.patrons(library_id):
            result = self._reconcile(library, patron_id, actor, dry_run=dry_run)
            yield result
            unanswered = unanswered + 1 if result.problem == KohaNotReachable.slug else 0
            if unanswered == UNANSWERED_LIMIT:
                raise KohaNotReachable("stopped: Koha did not answer for several patrons in a row")

    def _reconcile(
        self, library: Library, patron_id: int, actor: Actor, *, dry_run: bool
    ) -> ReconciledPatron:
        try:
            category_id = library.patrons.get(patron_id).category_id
        except KohaNotReachable as error:
            return ReconciledPatron(patron_id, ReconcileAction.FAILED, problem=error.slug)
        except NoSuchPatron:
            category_id = None
        if dry_run:
            return self._foresee(library, patron_id, category_id)
        with self._environment.store.transaction() as transaction:
            last = transaction.last_category_move(library.library_id, patron_id)
            links = transaction.open_links_of_patron(library.library_id, patron_id)
            living = self._living_links(transaction, library.library_id, patron_id)
            if last is not None and category_id is not None and was_moved_by_staff(category_id, last, living):
                left = replace(last, state=MoveState.LEFT_ALONE, updated_at=self._environment.clock())
                transaction.update_category_move(left, unless={MoveState.LEFT_ALONE})
                self._tell(transaction, left, actor)
            link_id = _cause(living, links, last)
            if link_id is not None:
                self.plan(
                    transaction,
                    library.library_id,
                    patron_id=patron_id,
                    link_id=link_id,
                    category_id=category_id,
                )
        move = self.run(library.library_id, patron_id, actor)
        if move is not None:
            return _reconciled(move)
        return self._foresee(library, patron_id, category_id)

    def _foresee(self, library: Library, patron_id: int, category_id: str | None) -> ReconciledPatron:
        """Say what a reconciliation would do, or that there is nothing to do."""
        with self._environment.store.reading() as transaction:
            last = transaction.last_category_move(library.library_id, patron_id)
            living = self._living_links(transaction, library.library_id, patron_id)
        way = due_move(category_id, last, living, library.linked_category)
        if way is None and last is not None and last.state.is_open:
            way = way_of(last)
        if category_id is None:
            return ReconciledPatron(patron_id, ReconcileAction.LEFT_ALONE, problem=NoSuchPatron.slug)
        if way is not None:
            action = FORESEEN[way.judge(category_id)]
            return ReconciledPatron(patron_id, action, way.from_category, way.to_category)
        if last is not None and (
            last.state is MoveState.LEFT_ALONE or was_moved_by_staff(category_id, last, living)
        ):
            return ReconciledPatron(
                patron_id,
                ReconcileAction.LEFT_ALONE,
                last.from_category,
                last.to_category,
                last.problem,
            )
        return ReconciledPatron(patron_id, ReconcileAction.IN_ORDER)

    def _attempt(self, library: Library, move: CategoryMove) -> CategoryMove:
        """Ask Koha, move the patron if that is right, and return the move as it is after that."""
        state = MoveState.FAILED
        problem: str | None = CategoryRefused.slug  # no categories here: SIP2 alone
        for _ in range(TRIES if library.categories is not None else 0):
            try:
                state, problem = self._ask_and_move(library, move), None
                break
            except NoSuchPatron as error:
                state, problem = MoveState.LEFT_ALONE, error.slug
                break
            except PatronChanged as error:
                problem = error.slug
            except (KohaNotReachable, CategoryRefused) as error:
                problem = error.slug
                break
        return replace(
            move,
            state=state,
            problem=problem,
            attempts=move.attempts + 1,
            updated_at=self._environment.clock(),
        )

    @staticmethod
    def _ask_and_move(library: Library, move: CategoryMove) -> MoveState:
        patron = library.patrons.get(move.patron_id)
        verdict = way_of(move).judge(patron.category_id)
        if verdict is Verdict.LEAVE_ALONE:
            return MoveState.LEFT_ALONE
        if verdict is Verdict.MOVE and library.categories is not None:
            library.categories.move(patron, move.to_category)
        return MoveState.DONE

    def _record(self, before: CategoryMove, attempted: CategoryMove, actor: Actor) -> bool:
        """Keep the outcome of an attempt; say False where another move has taken its place meanwhile.

        What was written to Koha then may have undone that other move: it is opened again.
        """
        with self._environment.store.transaction() as transaction:
            if transaction.update_category_move(attempted, unless=SETTLED):
                if (before.state, before.problem) != (attempted.state, attempted.problem):
                    self._tell(transaction, attempted, actor)
                return True
            last = transaction.last_category_move(attempted.library_id, attempted.patron_id)
            if last is None or last.move_id == attempted.move_id:
                return True  # another process has made the same move
            opened = replace(last, state=MoveState.PENDING, updated_at=self._environment.clock())
            transaction.update_category_move(opened, unless={MoveState.SUPERSEDED})
            return False

    def _tell(self, transaction: Transaction, move: CategoryMove, actor: Actor) -> None:
        details = {"from": move.from_category, "to": move.to_category}
        if move.problem is not None:
            details["problem"] = move.problem
        transaction.add_audit_event(
            self._environment.event(MOVE_EVENTS[move.state], move.library_id, actor, move.link_id, **details)
        )

    def _living_links(self, transaction: Transaction, library_id: str, patron_id: int) -> frozenset[str]:
        now = self._environment.clock()
        links = transaction.open_links_of_patron(library_id, patron_id)
        return frozenset(link.link_id for link in links if link.is_living(now))


def _cause(living: Collection[str], links: Sequence[CardLink], last: CategoryMove | None) -> str | None:
    """Return the link on whose account a patron is moved: one that lives, else the latest there was."""
    if living:
        return max(living)
    if links:
        return links[-1].link_id
    return None if last is None else last.link_id


def _reconciled(move: CategoryMove) -> ReconciledPatron:
    return ReconciledPatron(
        move.patron_id, ACTIONS[move.state], move.from_category, move.to_category, move.problem
    )
