"""Requests to end many links, which a second person approves, and the links that each names.

Revision 0019.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

TEXT = sa.String(255)
WORD = sa.String(64)
MOMENT = sa.DateTime(timezone=True)
CHECKS = {
    "known_state": "state IN ('requested', 'approved', 'executed', 'declined', 'withdrawn', 'expired')",
    "decided_by_another": "decided_by <> requested_by",
    "decided_with_a_reason": (
        "(state IN ('approved', 'executed', 'declined')) = "
        "(decided_by IS NOT NULL AND decided_at IS NOT NULL AND decision IS NOT NULL)"
    ),
    "closed_at_its_end": "(state IN ('requested', 'approved')) = (closed_at IS NULL)",
    "counts_what_it_names": "ended + skipped <= link_count",
}


def upgrade() -> None:
    op.create_table(
        "bulk_unlinking",
        sa.Column("bulk_id", TEXT, nullable=False),
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("reason", WORD, nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("link_count", sa.Integer(), nullable=False),
        sa.Column("requested_by", TEXT, nullable=False),
        sa.Column("requested_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("decided_by", TEXT),
        sa.Column("decided_at", MOMENT),
        sa.Column("decision", TEXT),
        sa.Column("ended", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("closed_at", MOMENT),
        *(
            sa.CheckConstraint(condition, name=op.f(f"ck_bulk_unlinking_{name}"))
            for name, condition in CHECKS.items()
        ),
        *(
            sa.ForeignKeyConstraint(
                [column], ["librarian.librarian_id"], name=op.f(f"fk_bulk_unlinking_{column}")
            )
            for column in ("requested_by", "decided_by")
        ),
        sa.PrimaryKeyConstraint("bulk_id", name=op.f("pk_bulk_unlinking")),
    )
    op.create_index("ix_bulk_unlinking_newest", "bulk_unlinking", ["library_id", "requested_at"])
    op.create_index("ix_bulk_unlinking_state", "bulk_unlinking", ["library_id", "state", "requested_at"])
    op.create_table(
        "bulk_unlinking_link",
        sa.Column("bulk_id", TEXT, nullable=False),
        sa.Column("link_id", TEXT, nullable=False),
        sa.Column("ended", sa.Boolean()),
        sa.ForeignKeyConstraint(
            ["bulk_id"], ["bulk_unlinking.bulk_id"], name=op.f("fk_bulk_unlinking_link_bulk_id")
        ),
        sa.ForeignKeyConstraint(
            ["link_id"], ["card_link.link_id"], name=op.f("fk_bulk_unlinking_link_link_id")
        ),
        sa.PrimaryKeyConstraint("bulk_id", "link_id", name=op.f("pk_bulk_unlinking_link")),
    )
    op.create_index(op.f("ix_bulk_unlinking_link_link_id"), "bulk_unlinking_link", ["link_id"])
    open_only = sa.text("ended IS NULL")
    op.create_index(
        "ix_bulk_unlinking_link_to_end",
        "bulk_unlinking_link",
        ["bulk_id", "link_id"],
        sqlite_where=open_only,
        postgresql_where=open_only,
    )
