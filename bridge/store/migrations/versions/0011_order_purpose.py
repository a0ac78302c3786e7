"""What an order at a counter wants the card for: to link it, or to tell whose it is.

Revision 0011.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("link_request", sa.Column("purpose", sa.String(64), nullable=False, server_default="link"))
