"""A link keeps since when its patron is not known any more.

Revision 0014.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("card_link", sa.Column("patron_gone_at", sa.DateTime(timezone=True)))
