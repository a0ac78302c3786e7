"""The tables of the first product.

Revision 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT = sa.String(255)
WORD = sa.String(64)
MOMENT = sa.DateTime(timezone=True)
BYTES = sa.LargeBinary()
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

LINK_IS_OPEN = sa.text("ended_at IS NULL")
REQUEST_IS_OPEN = sa.text("state IN ('waiting_for_card', 'waiting_for_pin')")
SESSION_IS_OPEN = sa.text("closed_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "terminal",
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("terminal_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("sip2_login", TEXT),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("token_digest", TEXT),
        sa.PrimaryKeyConstraint("library_id", "terminal_id", name=op.f("pk_terminal")),
        sa.UniqueConstraint("library_id", "sip2_login", name=op.f("uq_terminal_sip2_login")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_terminal_token_digest")),
    )
    op.create_table(
        "librarian",
        sa.Column("librarian_id", TEXT, nullable=False),
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("login_name", TEXT, nullable=False),
        sa.Column("display_name", TEXT, nullable=False),
        sa.Column("role", WORD, nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("password_hash", TEXT, nullable=False),
        sa.Column("failed_log_ins", sa.Integer(), nullable=False),
        sa.Column("locked_until", MOMENT),
        sa.PrimaryKeyConstraint("librarian_id", name=op.f("pk_librarian")),
        sa.UniqueConstraint("login_name", name=op.f("uq_librarian_login_name")),
    )
    op.create_table(
        "card_link",
        sa.Column("link_id", TEXT, nullable=False),
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("patron_id", sa.Integer(), nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("digest", TEXT),
        sa.Column("serial_key_id", TEXT),
        sa.Column("serial_nonce", BYTES),
        sa.Column("serial_ciphertext", BYTES),
        sa.Column("state", WORD, nullable=False),
        sa.Column("not_after", MOMENT, nullable=False),
        sa.Column("linked_at", MOMENT, nullable=False),
        sa.Column("linked_by", TEXT, nullable=False),
        sa.Column("last_used_at", MOMENT),
        sa.Column("ended_at", MOMENT),
        sa.Column("ended_reason", TEXT),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (digest IS NOT NULL)",
            name=op.f("ck_card_link_open_has_identifier"),
        ),
        sa.PrimaryKeyConstraint("link_id", name=op.f("pk_card_link")),
    )
    op.create_index("ix_card_link_patron", "card_link", ["library_id", "patron_id"])
    op.create_index(
        "uq_card_link_open_identifier",
        "card_link",
        ["library_id", "kind", "key_id", "digest"],
        unique=True,
        sqlite_where=LINK_IS_OPEN,
        postgresql_where=LINK_IS_OPEN,
    )
    op.create_table(
        "link_request",
        sa.Column("request_id", TEXT, nullable=False),
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("terminal_id", TEXT, nullable=False),
        sa.Column("patron_id", sa.Integer(), nullable=False),
        sa.Column("librarian_id", TEXT, nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("problem", TEXT),
        sa.Column("attempts_remaining", sa.Integer()),
        sa.Column("link_id", TEXT),
        sa.ForeignKeyConstraint(
            ["library_id", "terminal_id"],
            ["terminal.library_id", "terminal.terminal_id"],
            name=op.f("fk_link_request_library_id"),
        ),
        sa.ForeignKeyConstraint(
            ["librarian_id"],
            ["librarian.librarian_id"],
            name=op.f("fk_link_request_librarian_id"),
        ),
        sa.ForeignKeyConstraint(["link_id"], ["card_link.link_id"], name=op.f("fk_link_request_link_id")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_link_request")),
    )
    op.create_index("ix_link_request_terminal", "link_request", ["library_id", "terminal_id", "expires_at"])
    op.create_index(
        "uq_link_request_open",
        "link_request",
        ["library_id", "terminal_id"],
        unique=True,
        sqlite_where=REQUEST_IS_OPEN,
        postgresql_where=REQUEST_IS_OPEN,
    )
    op.create_table(
        "challenge",
        sa.Column("challenge_id", TEXT, nullable=False),
        sa.Column("purpose", WORD, nullable=False),
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("terminal_id", TEXT, nullable=False),
        sa.Column("nonce", BYTES, nullable=False),
        sa.Column("issued_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("certificate_digest", BYTES, nullable=False),
        sa.Column("revocation_status", WORD, nullable=False),
        sa.Column("revocation_source", TEXT, nullable=False),
        sa.Column("revocation_as_of", MOMENT, nullable=False),
        sa.Column("revocation_next_update", MOMENT),
        sa.Column("link_request_id", TEXT),
        sa.Column("used_at", MOMENT),
        sa.ForeignKeyConstraint(
            ["link_request_id"],
            ["link_request.request_id"],
            name=op.f("fk_challenge_link_request_id"),
        ),
        sa.PrimaryKeyConstraint("challenge_id", name=op.f("pk_challenge")),
    )
    op.create_index(op.f("ix_challenge_expires_at"), "challenge", ["expires_at"])
    op.create_table(
        "card_session",
        sa.Column("session_id", TEXT, nullable=False),
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("terminal_id", TEXT, nullable=False),
        sa.Column("link_id", TEXT, nullable=False),
        sa.Column("opened_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("last_used_at", MOMENT),
        sa.Column("closed_at", MOMENT),
        sa.Column("closed_reason", TEXT),
        sa.Column("token_key_id", TEXT, nullable=False),
        sa.Column("token_digest", TEXT, nullable=False),
        sa.Column("cardnumber_key_id", TEXT),
        sa.Column("cardnumber_nonce", BYTES),
        sa.Column("cardnumber_ciphertext", BYTES),
        sa.CheckConstraint(
            "(closed_at IS NULL) = (cardnumber_ciphertext IS NOT NULL)",
            name=op.f("ck_card_session_closed_is_wiped"),
        ),
        sa.ForeignKeyConstraint(
            ["library_id", "terminal_id"],
            ["terminal.library_id", "terminal.terminal_id"],
            name=op.f("fk_card_session_library_id"),
        ),
        sa.ForeignKeyConstraint(["link_id"], ["card_link.link_id"], name=op.f("fk_card_session_link_id")),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_card_session")),
        sa.UniqueConstraint("library_id", "token_digest", name=op.f("uq_card_session_token_digest")),
    )
    op.create_index(
        "ix_card_session_open",
        "card_session",
        ["link_id"],
        sqlite_where=SESSION_IS_OPEN,
        postgresql_where=SESSION_IS_OPEN,
    )
    op.create_table(
        "audit_event",
        sa.Column("event_id", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("tag", WORD, nullable=False),
        sa.Column("actor_kind", WORD, nullable=False),
        sa.Column("actor_id", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("terminal_id", TEXT),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_audit_event")),
    )
    op.create_index("ix_audit_event_library", "audit_event", ["library_id", "at"])
    op.create_table(
        "key_check",
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("check_value", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_key_check")),
    )
