"""What libraries ask their patrons to agree to, in their own words.

Revision 0018.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

TEXT = sa.String(255)
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "consent_wording",
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("japanese", sa.Text(), nullable=False),
        sa.Column("english", sa.Text(), nullable=False),
        sa.Column("set_at", MOMENT, nullable=False),
        sa.CheckConstraint("revision >= 1", name=op.f("ck_consent_wording_revision_from_one")),
        sa.PrimaryKeyConstraint("library_id", "revision", name=op.f("pk_consent_wording")),
        sa.UniqueConstraint("library_id", "version", name=op.f("uq_consent_wording_library_id")),
    )
