"""Moves of patrons between categories."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Select, select, union, update

from bridge.models import CategoryMove, MoveDirection, MoveState
from bridge.store.queries import Queries
from bridge.store.tables import CardLinkRow, CategoryMoveRow

OPEN_MOVE_STATES = [state for state in MoveState if state.is_open]


def _move(row: CategoryMoveRow) -> CategoryMove:
    return CategoryMove(
        move_id=row.move_id,
        library_id=row.library_id,
        link_id=row.link_id,
        patron_id=row.patron_id,
        direction=row.direction,
        from_category=row.from_category,
        to_category=row.to_category,
        state=row.state,
        created_at=row.created_at,
        updated_at=row.updated_at,
        attempts=row.attempts,
        problem=row.problem,
    )


class CategoryMoveQueries(Queries):
    """Queries on moves between categories."""

    def add_category_move(self, move: CategoryMove) -> None:
        """Keep a new move."""
        self._add(
            CategoryMoveRow(
                move_id=move.move_id,
                library_id=move.library_id,
                link_id=move.link_id,
                patron_id=move.patron_id,
                direction=move.direction,
                from_category=move.from_category,
                to_category=move.to_category,
                state=move.state,
                created_at=move.created_at,
                updated_at=move.updated_at,
                attempts=move.attempts,
                problem=move.problem,
            )
        )

    def last_category_move(self, library_id: str, patron_id: int) -> CategoryMove | None:
        """See ``bridge.ports.Transaction``."""
        return self._latest(
            select(CategoryMoveRow).where(
                CategoryMoveRow.library_id == library_id,
                CategoryMoveRow.patron_id == patron_id,
                CategoryMoveRow.state != MoveState.SUPERSEDED,
            )
        )

    def category_move_of_link(
        self, library_id: str, link_id: str, direction: MoveDirection
    ) -> CategoryMove | None:
        """See ``bridge.ports.Transaction``."""
        return self._latest(
            select(CategoryMoveRow).where(
                CategoryMoveRow.library_id == library_id,
                CategoryMoveRow.link_id == link_id,
                CategoryMoveRow.direction == direction,
            )
        )

    def update_category_move(self, move: CategoryMove, *, unless: Collection[MoveState]) -> bool:
        """See ``bridge.ports.Transaction``."""
        met = self._changed(
            update(CategoryMoveRow)
            .where(CategoryMoveRow.move_id == move.move_id, CategoryMoveRow.state.not_in(unless))
            .values(
                state=move.state, attempts=move.attempts, problem=move.problem, updated_at=move.updated_at
            )
        )
        return met == 1

    def patrons_with_categories(self, library_id: str) -> Sequence[int]:
        """See ``bridge.ports.Transaction``."""
        linked = select(CardLinkRow.patron_id).where(
            CardLinkRow.library_id == library_id,
            CardLinkRow.patron_id.is_not(None),
            CardLinkRow.ended_at.is_(None),
        )
        moving = select(CategoryMoveRow.patron_id).where(
            CategoryMoveRow.library_id == library_id, CategoryMoveRow.state.in_(OPEN_MOVE_STATES)
        )
        return sorted(self._session.scalars(union(linked, moving)))

    def _latest(self, moves: Select[CategoryMoveRow]) -> CategoryMove | None:
        row = self._session.scalar(moves.order_by(CategoryMoveRow.sequence.desc()).limit(1))
        return None if row is None else _move(row)
