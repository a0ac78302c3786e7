"""The desk in Koha's staff pages: plugins, whose accounts of Koha are which librarian's, and passes.

Revision 0015.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

TEXT = sa.String(255)
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "koha_plugin",
        sa.Column("plugin_id", TEXT, nullable=False),
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("secret_digest", TEXT, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("locked_until", MOMENT),
        sa.PrimaryKeyConstraint("plugin_id", name=op.f("pk_koha_plugin")),
    )
    op.create_index(op.f("ix_koha_plugin_library_id"), "koha_plugin", ["library_id"])
    op.create_table(
        "koha_account",
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("koha_patron_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("librarian_id", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["librarian_id"], ["librarian.librarian_id"], name=op.f("fk_koha_account_librarian_id")
        ),
        sa.PrimaryKeyConstraint("library_id", "koha_patron_id", name=op.f("pk_koha_account")),
    )
    op.create_table(
        "desk_pass",
        sa.Column("token_digest", TEXT, nullable=False),
        sa.Column("librarian_id", TEXT, nullable=False),
        sa.Column("plugin_id", TEXT),
        sa.Column("session_generation", sa.Integer(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["librarian_id"], ["librarian.librarian_id"], name=op.f("fk_desk_pass_librarian_id")
        ),
        sa.ForeignKeyConstraint(
            ["plugin_id"], ["koha_plugin.plugin_id"], name=op.f("fk_desk_pass_plugin_id")
        ),
        sa.PrimaryKeyConstraint("token_digest", name=op.f("pk_desk_pass")),
    )
    op.create_index(op.f("ix_desk_pass_librarian_id"), "desk_pass", ["librarian_id"])
    op.create_index(op.f("ix_desk_pass_plugin_id"), "desk_pass", ["plugin_id"])
    op.create_index(op.f("ix_desk_pass_expires_at"), "desk_pass", ["expires_at"])
