"""Whose password in Koha a member of staff signs in with; nobody's, until somebody says so.

Revision 0020.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column("librarian", sa.Column("koha_patron_id", sa.Integer()))
    op.create_index("uq_librarian_koha_patron", "librarian", ["library_id", "koha_patron_id"], unique=True)
