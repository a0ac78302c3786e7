"""The audit log is chained, for each library, and only added to; its heads can be sealed.

What is in the log already is chained in the order in which it was written. The heads are left without a
seal, for which the key is needed: ``koha-jpki audit seal``.

Revision 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bridge.audit.chain import GENESIS, ChainedEvent, details_text, event_hash, moment_text
from bridge.store.columns import UtcDateTime

revision = "0006"
down_revision = "0005"

TEXT = sa.String(255)
WORD = sa.String(64)
MOMENT = sa.DateTime(timezone=True)
BYTES = sa.LargeBinary()
NUMBER = sa.BigInteger()

ROWS_AT_ONCE = 1000

EVENT = sa.table(
    "audit_event",
    sa.column("event_id", NUMBER),
    sa.column("at", UtcDateTime()),
    sa.column("library_id", TEXT),
    sa.column("tag", TEXT),
    sa.column("actor_kind", TEXT),
    sa.column("actor_id", TEXT),
    sa.column("subject", TEXT),
    sa.column("terminal_id", TEXT),
    sa.column("details", sa.JSON()),
    sa.column("sequence", NUMBER),
    sa.column("hash", BYTES),
)

REFUSAL = "the audit log is only added to"

SQLITE_TRIGGERS = [
    f"CREATE TRIGGER audit_event_refuses_{what.lower()} BEFORE {what} ON audit_event "
    f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    for what in ("UPDATE", "DELETE")
]

POSTGRESQL_TRIGGERS = [
    (
        "CREATE FUNCTION audit_event_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    ),
    (
        "CREATE TRIGGER audit_event_refuses_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_event_refuse()"
    ),
]


def upgrade() -> None:
    op.create_table(
        "audit_head",
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("sequence", NUMBER, nullable=False),
        sa.Column("hash", BYTES, nullable=False),
        sa.Column("seal_key_id", TEXT),
        sa.Column("seal", BYTES),
        sa.Column("repetitions_end_at", MOMENT),
        sa.PrimaryKeyConstraint("library_id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "audit_repetition",
        sa.Column("library_id", TEXT, nullable=False),
        sa.Column("digest", BYTES, nullable=False),
        sa.Column("tag", WORD, nullable=False),
        sa.Column("actor_kind", WORD, nullable=False),
        sa.Column("actor_id", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("terminal_id", TEXT),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("times", NUMBER, nullable=False),
        sa.Column("ends_at", MOMENT, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("library_id", "digest", name=op.f("pk_audit_repetition")),
    )
    op.add_column("audit_event", sa.Column("sequence", NUMBER))
    op.add_column("audit_event", sa.Column("hash", BYTES))
    _chain(op.get_bind())
    with op.batch_alter_table("audit_event") as audit_event:
        audit_event.alter_column("sequence", existing_type=NUMBER, nullable=False)
        audit_event.alter_column("hash", existing_type=BYTES, nullable=False)
        audit_event.create_unique_constraint(op.f("uq_audit_event_sequence"), ["library_id", "sequence"])
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for trigger in SQLITE_TRIGGERS if is_sqlite else POSTGRESQL_TRIGGERS:
        op.execute(trigger)


def _chain(connection: sa.Connection) -> None:
    heads: dict[str, tuple[int, bytes]] = {}
    done = 0
    while True:
        query = sa.select(EVENT).where(EVENT.c.event_id > done).order_by(EVENT.c.event_id)
        rows = connection.execute(query.limit(ROWS_AT_ONCE)).all()
        if not rows:
            break
        done = rows[-1].event_id
        connection.execute(
            sa.update(EVENT)
            .where(EVENT.c.event_id == sa.bindparam("of_event"))
            .values(
                at=sa.bindparam("moment"),
                details=sa.bindparam("sorted"),
                sequence=sa.bindparam("number"),
                hash=sa.bindparam("own"),
            ),
            [_chained(row, heads) for row in rows],
        )
    for library_id, (sequence, digest) in heads.items():
        connection.execute(
            sa.insert(
                sa.table("audit_head", *(sa.column(name) for name in ("library_id", "sequence", "hash")))
            ).values(library_id=library_id, sequence=sequence, hash=digest)
        )


def _chained(row: sa.Row[tuple[object, ...]], heads: dict[str, tuple[int, bytes]]) -> dict[str, object]:
    """Give the next number and the hash to an event; remember both as the head of its library."""
    sequence, previous = heads.get(row.library_id, (0, GENESIS))
    details = dict(sorted(row.details.items()))
    event = ChainedEvent(
        sequence + 1,
        moment_text(row.at),
        row.tag,
        row.actor_kind,
        row.actor_id,
        row.subject,
        row.terminal_id or "",
        details_text(details),
        b"",
    )
    heads[row.library_id] = sequence + 1, event_hash(previous, row.library_id, event)
    return {
        "of_event": row.event_id,
        "moment": row.at,
        "sorted": details,
        "number": sequence + 1,
        "own": heads[row.library_id][1],
    }
