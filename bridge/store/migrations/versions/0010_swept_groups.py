"""By what a sweep finds the links of revoked certificates at once, and what it has said of all the others.

The links that are there get their tags from the first sweep: only the master key can make them.

Revision 0010.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

TEXT = sa.String(255)
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("card_link", sa.Column("issuer_key_identifier", sa.LargeBinary()))
    op.add_column("card_link", sa.Column("revocation_tag", sa.BigInteger()))
    op.add_column("card_link", sa.Column("tagged_at", MOMENT))
    op.create_index(
        "ix_card_link_swept",
        "card_link",
        ["library_id", "issuer_key_identifier", "serial_key_id", "revocation_tag"],
        sqlite_where=sa.text("state = 'active' AND kind = 'serial_number'"),
        postgresql_where=sa.text("state = 'active' AND kind = 'serial_number'"),
    )
    op.create_table(
        "swept_group",
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("issuer_key_identifier", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("sweep_id", TEXT, nullable=False),
        sa.Column("tagged_before", MOMENT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("as_of", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["sweep_id"], ["revocation_sweep.sweep_id"], name=op.f("fk_swept_group_sweep_id")
        ),
        sa.PrimaryKeyConstraint("library_id", "issuer_key_identifier", "key_id", name=op.f("pk_swept_group")),
    )
