"""By which the admin's lists show their first rows without looking at the others.

Revision 0013.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

BY_LIBRARIANS = sa.text("actor_kind = 'librarian'")


def upgrade() -> None:
    op.create_index("ix_card_link_newest", "card_link", ["library_id", "linked_at"])
    op.create_index("ix_card_link_state", "card_link", ["library_id", "state", "linked_at"])
    op.create_index("ix_card_link_not_after", "card_link", ["library_id", "not_after"])
    op.create_index("ix_category_move_newest", "category_move", ["library_id", "updated_at"])
    op.create_index("ix_audit_event_tag", "audit_event", ["library_id", "tag", "at"])
    op.create_index("ix_audit_event_terminal", "audit_event", ["library_id", "terminal_id", "at"])
    op.create_index(
        "ix_audit_event_librarian",
        "audit_event",
        ["library_id", "actor_id", "at"],
        sqlite_where=BY_LIBRARIANS,
        postgresql_where=BY_LIBRARIANS,
    )
