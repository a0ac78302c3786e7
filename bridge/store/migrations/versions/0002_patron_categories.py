"""Moves of linked patrons between categories; links to a patron of whom only the card number is known.

Revision 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT = sa.String(255)
WORD = sa.String(64)
MOMENT = sa.DateTime(timezone=True)
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("card_link") as card_link:
        card_link.alter_column("patron_id", existing_type=sa.Integer(), nullable=True)
        card_link.add_column(sa.Column("patron_reference", TEXT))
        card_link.create_check_constraint(
            op.f("ck_card_link_patron_has_one_name"), "patron_id IS NULL OR patron_reference IS NULL"
        )
        card_link.create_check_constraint(
            op.f("ck_card_link_open_has_patron"),
            "ended_at IS NOT NULL OR patron_id IS NOT NULL OR patron_reference IS NOT NULL",
        )
        card_link.create_index("ix_card_link_patron_reference", ["library_id", "patron_reference"])
    with op.batch_alter_table("link_request") as link_request:
        link_request.alter_column("patron_id", existing_type=sa.Integer(), nullable=True)
        link_request.add_column(sa.Column("patron_reference", TEXT))
    op.create_table(
        "category_move",
        sa.Column("sequence", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("move_id", TEXT, nullable=False),
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("link_id", TEXT, nullable=False),
        sa.Column("patron_id", sa.Integer(), nullable=False),
        sa.Column("direction", WORD, nullable=False),
        sa.Column("from_category", TEXT, nullable=False),
        sa.Column("to_category", TEXT, nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("problem", TEXT),
        sa.ForeignKeyConstraint(["link_id"], ["card_link.link_id"], name=op.f("fk_category_move_link_id")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_category_move")),
        sa.UniqueConstraint("move_id", name=op.f("uq_category_move_move_id")),
    )
    op.create_index("ix_category_move_patron", "category_move", ["library_id", "patron_id", "sequence"])
    op.create_index("ix_category_move_state", "category_move", ["library_id", "state"])
