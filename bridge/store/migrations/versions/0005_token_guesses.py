"""Tokens that were guessed at a self-check machine, counted for all nodes together.

Revision 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

TEXT = sa.String(255)
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "token_guesses",
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("sip2_login", TEXT, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("wrong", sa.Integer(), nullable=False),
        sa.Column("locked_until", MOMENT),
        sa.Column("last_digest", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("library_id", "sip2_login", name=op.f("pk_token_guesses")),
    )
