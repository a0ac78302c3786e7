"""An index by which the audit log is searched for a reference.

Revision 0021.
"""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.create_index("ix_audit_event_subject", "audit_event", ["library_id", "subject", "at"])
