"""What is last known of a link's certificate, why a link is suspended, and how far a sweep has come.

A challenge may wait for its revocation answer, and keeps the answer's reasons. A request for a link says
more closely why it was refused.

Revision 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TEXT = sa.String(255)
WORD = sa.String(64)
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("card_link", sa.Column("revocation_status", WORD))
    op.add_column("card_link", sa.Column("revocation_source", TEXT))
    op.add_column("card_link", sa.Column("revocation_as_of", MOMENT))
    op.add_column("card_link", sa.Column("revocation_reason", TEXT))
    op.add_column("card_link", sa.Column("suspended_at", MOMENT))
    op.add_column("card_link", sa.Column("suspended_reason", TEXT))
    op.create_index("ix_card_link_linked_at", "card_link", ["linked_at", "link_id"])
    op.add_column("link_request", sa.Column("problem_why", TEXT))
    op.add_column("challenge", sa.Column("revocation_reason", TEXT))
    op.add_column("challenge", sa.Column("revocation_why", WORD))
    with op.batch_alter_table("challenge") as challenge:
        challenge.alter_column(
            "revocation_status", existing_type=WORD, existing_nullable=False, nullable=True
        )
        challenge.alter_column(
            "revocation_source", existing_type=TEXT, existing_nullable=False, nullable=True
        )
        challenge.alter_column(
            "revocation_as_of", existing_type=MOMENT, existing_nullable=False, nullable=True
        )
    op.create_table(
        "revocation_sweep",
        sa.Column("sweep_id", TEXT, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("position_at", MOMENT),
        sa.Column("position", TEXT, nullable=False),
        sa.Column("good", sa.Integer(), nullable=False),
        sa.Column("suspended", sa.Integer(), nullable=False),
        sa.Column("unknown", sa.Integer(), nullable=False),
        sa.Column("finished_at", MOMENT),
        sa.PrimaryKeyConstraint("sweep_id", name=op.f("pk_revocation_sweep")),
    )
