"""A second factor for the log-in of staff: its secret, encrypted, and the last code that was used.

Revision 0016.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    for name, kind in (
        ("second_factor_key_id", sa.String(255)),
        ("second_factor_nonce", sa.LargeBinary()),
        ("second_factor_ciphertext", sa.LargeBinary()),
        ("second_factor_confirmed_at", sa.DateTime(timezone=True)),
        ("second_factor_last_step", sa.BigInteger()),
    ):
        op.add_column("librarian", sa.Column(name, kind))
