"""A card session keeps the revocation answer that let it be opened.

Sessions from before have none; nobody can say that theirs is fresh, so they are refused and end.

Revision 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("card_session", sa.Column("revocation_status", sa.String(64)))
    op.add_column("card_session", sa.Column("revocation_source", sa.String(255)))
    op.add_column("card_session", sa.Column("revocation_as_of", sa.DateTime(timezone=True)))
    op.add_column("card_session", sa.Column("revocation_next_update", sa.DateTime(timezone=True)))
