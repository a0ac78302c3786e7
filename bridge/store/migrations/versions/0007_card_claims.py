"""A card is claimed under every key, so that it cannot be linked twice while keys change; keys retire.

Revision 0007.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TEXT = sa.String(255)
WORD = sa.String(64)

LINK_IS_OPEN = sa.text("ended_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "card_claim",
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("link_id", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["link_id"], ["card_link.link_id"], name=op.f("fk_card_claim_link_id")),
        sa.PrimaryKeyConstraint("key_id", "library_id", "kind", "digest", name=op.f("pk_card_claim")),
    )
    op.create_index(op.f("ix_card_claim_link_id"), "card_claim", ["link_id"])
    columns = ("key_id", "library_id", "kind", "digest", "link_id")
    link = sa.table("card_link", *(sa.column(name) for name in (*columns, "ended_at")))
    claim = sa.table("card_claim", *(sa.column(name) for name in columns))
    open_links = sa.select(*(link.c[name] for name in columns)).where(link.c.ended_at.is_(None))
    op.execute(sa.insert(claim).from_select(columns, open_links))
    op.create_index(
        "ix_card_link_keys",
        "card_link",
        ["key_id", "serial_key_id"],
        sqlite_where=LINK_IS_OPEN,
        postgresql_where=LINK_IS_OPEN,
    )
    op.add_column("key_check", sa.Column("retired_at", sa.DateTime(timezone=True)))
