"""A librarian's sessions can be ended before their time: a generation that each of them carries.

Revision 0008.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column(
        "librarian", sa.Column("session_generation", sa.Integer(), nullable=False, server_default="0")
    )
