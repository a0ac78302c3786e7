"""A terminal enrols by a one-time code, and tells how it is.

Revision 0012.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

TEXT = sa.String(255)
WORD = sa.String(64)
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    for name, kind in (
        ("enrolment_digest", TEXT),
        ("enrolment_expires_at", MOMENT),
        ("enrolled_at", MOMENT),
        ("last_seen_at", MOMENT),
        ("reader", WORD),
        ("output", WORD),
        ("agent_version", TEXT),
    ):
        op.add_column("terminal", sa.Column(name, kind))
    op.create_index("uq_terminal_enrolment_digest", "terminal", ["enrolment_digest"], unique=True)
