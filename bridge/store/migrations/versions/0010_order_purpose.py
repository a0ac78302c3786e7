"""What an order at a counter wants the card for: to link it, or to tell whose it is.

Revision 0010.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("link_request", sa.Column("purpose", sa.String(64), nullable=False, server_default="link"))
