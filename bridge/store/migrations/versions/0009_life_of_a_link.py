"""What a patron agreed to, who acts for a child, what a link replaced; one open session on a link.

Rules that the services keep are now kept by the database, too: a state and its reasons belong together,
the open links of a patron are numbered, and no link is replaced twice. Of several sessions that were open
on one link all but the latest are closed.

Revision 0009.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

TEXT = sa.String(255)
MOMENT = sa.DateTime(timezone=True)
LINK_IS_OPEN = sa.text("ended_at IS NULL")
SESSION_IS_OPEN = sa.text("closed_at IS NULL")

CHECKS = {
    "known_state": "state IN ('active', 'suspended', 'ended')",
    "ended_at_its_end": "(state = 'ended') = (ended_at IS NOT NULL)",
    "ended_for_a_reason": "ended_at IS NULL OR ended_reason IS NOT NULL",
    "suspended_for_a_reason": (
        "state <> 'suspended' OR (suspended_at IS NOT NULL AND suspended_reason IS NOT NULL)"
    ),
    "represented_was_checked": "(represented_until IS NULL) = (representative_checks IS NULL)",
    "slot_from_one": "slot >= 1",
}

NUMBER_THE_OPEN_LINKS = """
    UPDATE card_link SET slot = (
        SELECT count(*) FROM card_link AS earlier
        WHERE earlier.library_id = card_link.library_id
          AND earlier.ended_at IS NULL
          AND (earlier.patron_id = card_link.patron_id
               OR earlier.patron_reference = card_link.patron_reference)
          AND (earlier.linked_at, earlier.link_id) <= (card_link.linked_at, card_link.link_id)
    )
    WHERE ended_at IS NULL
"""

CLOSE_ALL_SESSIONS_BUT_THE_LATEST = """
    UPDATE card_session
    SET closed_at = CURRENT_TIMESTAMP, closed_reason = 'superseded',
        cardnumber_key_id = NULL, cardnumber_nonce = NULL, cardnumber_ciphertext = NULL
    WHERE closed_at IS NULL AND EXISTS (
        SELECT 1 FROM card_session AS later
        WHERE later.link_id = card_session.link_id
          AND later.closed_at IS NULL
          AND (later.opened_at, later.session_id) > (card_session.opened_at, card_session.session_id)
    )
"""


def upgrade() -> None:
    for table in ("card_link", "link_request"):
        op.add_column(table, sa.Column("consent_version", TEXT))
        op.add_column(table, sa.Column("represented_until", sa.Date()))
        op.add_column(table, sa.Column("representative_checks", sa.JSON(none_as_null=True)))
        op.add_column(table, sa.Column("replaces", TEXT))
    op.add_column("card_link", sa.Column("consented_at", MOMENT))
    op.add_column("card_link", sa.Column("slot", sa.Integer()))
    op.execute("UPDATE card_link SET slot = 1")
    op.execute(NUMBER_THE_OPEN_LINKS)
    with op.batch_alter_table("card_link") as card_link:
        card_link.alter_column("slot", existing_type=sa.Integer(), nullable=False)
        for name, condition in CHECKS.items():
            card_link.create_check_constraint(op.f(f"ck_card_link_{name}"), condition)
        card_link.create_unique_constraint(op.f("uq_card_link_replaces"), ["replaces"])
    for patron in ("patron_id", "patron_reference"):
        op.create_index(
            f"uq_card_link_open_{patron}_slot",
            "card_link",
            ["library_id", patron, "slot"],
            unique=True,
            sqlite_where=LINK_IS_OPEN,
            postgresql_where=LINK_IS_OPEN,
        )
    op.execute(CLOSE_ALL_SESSIONS_BUT_THE_LATEST)
    op.drop_index("ix_card_session_open", "card_session")
    op.create_index(
        "uq_card_session_open",
        "card_session",
        ["link_id"],
        unique=True,
        sqlite_where=SESSION_IS_OPEN,
        postgresql_where=SESSION_IS_OPEN,
    )
