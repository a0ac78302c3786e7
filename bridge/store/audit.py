"""The audit log: appended under a lock on the library's head, read as a stream.

What a transaction reports is kept until it commits and is appended last of all: nobody waits for another
lock while holding that of a head, and the heads of several libraries are taken in the order of their ids.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from typing import cast as cast_to

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    Row,
    Text,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bridge.audit.chain import (
    GENESIS,
    ChainedEvent,
    ChainedRow,
    ChainHead,
    EventColumns,
    details_text,
    event_hash,
    moment_text,
)
from bridge.errors import LibraryNotFound, StoreProblem
from bridge.models import REPEATABLE_TAGS, Actor, AuditEvent
from bridge.ports import AuditBlock, AuditSeal, AuditSealer, AuditSnapshot
from bridge.store.engine import is_unique_violation
from bridge.store.prepared import Prepared
from bridge.store.queries import Queries
from bridge.store.tables import AuditEventRow, AuditHeadRow, AuditRepetitionRow, table_under

TOLD_ONE_BY_ONE = 5
"""Equal refusals within one window that are events of their own. What follows is counted."""

REPETITION_WINDOW = timedelta(minutes=10)

ROWS_AT_ONCE = 2000
"""Rows that a stream holds in memory."""

BLOCK = 2000
"""Events that are checked together."""

BLOCKS_AHEAD = 2
"""Blocks that are read or asked for while one is checked: the reader need not wait to be told of the next."""

BEFORE_ALL, AFTER_ALL = -(2**63), 2**63 - 1
"""Around any number that a row can have, also one that was put in by hand."""


HEADS, EVENTS = table_under(AuditHeadRow), table_under(AuditEventRow)

LOCKED_HEAD = Prepared(select(HEADS).where(HEADS.c.library_id == bindparam("of_library")).with_for_update())

WRITE_HEAD = Prepared(
    update(HEADS).where(HEADS.c.library_id == bindparam("of_library")),
    ["sequence", "hash", "seal_key_id", "seal", "repetitions_end_at"],
)

ADD_EVENT = Prepared(insert(EVENTS), [column.key for column in EVENTS.c if column.key != "event_id"])


@dataclass
class _Head:
    """A head that this transaction has locked, as it will be written back."""

    last: ChainHead
    seal: AuditSeal | None
    repetitions_end_at: datetime | None


class AuditQueries(Queries):
    """Queries that append to the audit log."""

    def __init__(self, connection: Connection, sealer: AuditSealer | None = None) -> None:
        super().__init__(connection)
        self._sealer = sealer
        self._reported: list[AuditEvent] = []

    def add_audit_event(self, event: AuditEvent) -> None:
        """See ``bridge.ports.Transaction``."""
        self._reported.append(event)

    def append_audit_events(self) -> None:
        """Append what was reported; the last thing before the commit."""
        for library_id in sorted({event.library_id for event in self._reported}):
            head = self._locked_head(library_id)
            reported = (event for event in self._reported if event.library_id == library_id)
            self._append(head, [each for event in reported for each in self._to_be_told(head, event)])
        self._reported.clear()

    def seal_audit_log(self, library_id: str) -> None:
        """See ``bridge.ports.Transaction``."""
        last = self._session.execute(
            select(AuditEventRow.sequence, AuditEventRow.hash)
            .where(AuditEventRow.library_id == library_id)
            .order_by(AuditEventRow.sequence.desc())
            .limit(1)
        ).one_or_none()
        if last is None:
            raise LibraryNotFound(library_id)
        head = self._locked_head(library_id)
        head.last = ChainHead(library_id, *last)
        self._write(head, self._new_seal(head) or head.seal)

    def reseal_audit_logs(self, key_id: str) -> None:
        """See ``bridge.ports.Transaction``."""
        others = select(AuditHeadRow.library_id).where(AuditHeadRow.seal_key_id != key_id)
        for library_id in sorted(self._session.scalars(others)):
            head = self._locked_head(library_id)
            if self._keeps_a_seal(head):
                self._write(head, self._new_seal(head))

    def _append(self, head: _Head, events: Sequence[AuditEvent]) -> None:
        seal = head.seal
        if events:
            keeps_a_seal = self._keeps_a_seal(head)
            rows = []
            for event in events:
                sequence = head.last.sequence + 1
                chained = event_hash(head.last.hash, head.last.library_id, _chained(event, sequence))
                head.last = ChainHead(head.last.library_id, sequence, chained)
                rows.append(_columns(event) | {"at": event.at, "sequence": sequence, "hash": chained})
            self._insert(rows)
            seal = self._new_seal(head) if keeps_a_seal else None
        self._write(head, seal)

    def _insert(self, rows: Sequence[Mapping[str, Any]]) -> None:
        try:
            for row in rows:
                ADD_EVENT.change(self._connection, row)
        except IntegrityError as error:
            if not is_unique_violation(error):
                raise
            raise StoreProblem(
                f"the audit log of {rows[0]['library_id']} was changed by hand: run koha-jpki audit verify"
            ) from None

    def _new_seal(self, head: _Head) -> AuditSeal | None:
        return None if self._sealer is None else self._sealer.seal_head(head.last)

    def _keeps_a_seal(self, head: _Head) -> bool:
        """Say whether the head may be sealed anew: not where somebody else has changed it.

        A log that was tampered with would else be whole again after the next event.
        """
        if self._sealer is None or head.seal is None:
            return head.last.sequence == 0
        return self._sealer.is_sealed(head.last, head.seal)

    def _locked_head(self, library_id: str) -> _Head:
        row = LOCKED_HEAD.first(self._connection, {"of_library": library_id})
        if row is None:
            try:
                with self._connection.begin_nested():
                    first = {"library_id": library_id, "sequence": 0, "hash": GENESIS}
                    self._connection.execute(insert(HEADS), first)
            except IntegrityError as error:  # somebody else wrote the library's first event just now
                if not is_unique_violation(error):
                    raise
            (row,) = LOCKED_HEAD.rows(self._connection, {"of_library": library_id})
        return _Head(_chain_head(row), _seal(row), row.repetitions_end_at)

    def _write(self, head: _Head, seal: AuditSeal | None) -> None:
        values = {
            "of_library": head.last.library_id,
            "sequence": head.last.sequence,
            "hash": head.last.hash,
            "seal_key_id": seal and seal.key_id,
            "seal": seal and seal.mac,
            "repetitions_end_at": head.repetitions_end_at,
        }
        WRITE_HEAD.change(self._connection, values)

    def _to_be_told(self, head: _Head, event: AuditEvent) -> Iterator[AuditEvent]:
        """Yield the events to append for *event*: none where it is counted as a repetition."""
        if head.repetitions_end_at is not None and head.repetitions_end_at <= event.at:
            yield from self._counted_repetitions(head, event.at)
        if event.tag not in REPEATABLE_TAGS or not self._is_counted(head, event):
            yield event

    def _is_counted(self, head: _Head, event: AuditEvent) -> bool:
        digest = _likeness(event)
        row = self._session.get(AuditRepetitionRow, (event.library_id, digest))
        if row is None:
            ends_at = event.at + REPETITION_WINDOW
            row = AuditRepetitionRow(digest=digest, times=0, ends_at=ends_at, **_columns(event))
            self._session.add(row)
            head.repetitions_end_at = min(head.repetitions_end_at or ends_at, ends_at)
        row.times += 1
        row.last_at = event.at
        self._session.flush()
        return row.times > TOLD_ONE_BY_ONE

    def _counted_repetitions(self, head: _Head, now: datetime) -> Iterator[AuditEvent]:
        """Yield an event for each window that is over and in which more happened than was told."""
        of_library = AuditRepetitionRow.library_id == head.last.library_id
        over = select(AuditRepetitionRow).where(of_library, AuditRepetitionRow.ends_at <= now)
        for row in self._session.scalars(over.order_by(AuditRepetitionRow.last_at)).all():
            if row.times > TOLD_ONE_BY_ONE:
                yield _told_together(row, now)
            self._session.delete(row)
        self._session.flush()
        head.repetitions_end_at = self._session.scalar(
            select(func.min(AuditRepetitionRow.ends_at)).where(of_library)
        )


class AuditLog:
    """The audit logs as they stand: implements ``bridge.ports.AuditReader``."""

    def __init__(self, engine: Engine) -> None:
        # All reads of one snapshot see the same moment: SQLite's transactions always do.
        options = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        self._engine = engine.execution_options(**options)

    def libraries(self) -> Sequence[str]:
        """See ``bridge.ports.AuditReader``."""
        heads, events = select(AuditHeadRow.library_id), select(AuditEventRow.library_id)
        with self._engine.connect() as connection:
            return sorted(connection.scalars(heads.union(events)))

    @contextmanager
    def snapshot(self, library_id: str) -> Iterator[AuditSnapshot]:
        """See ``bridge.ports.AuditReader``."""
        of_library = AuditEventRow.library_id == library_id
        # The connection belongs to one thread, which reads the next block while the last one is hashed.
        with Session(self._engine) as session, ThreadPoolExecutor(1) as thread:
            head = session.get(AuditHeadRow, library_id)
            total = session.scalar(select(func.count()).where(of_library)) or 0
            yield AuditSnapshot(
                library_id,
                None if head is None else _chain_head(head),
                None if head is None else _seal(head),
                total,
                _stream(thread, session, library_id),
                _blocks(thread, session, library_id, total),
            )

    def last_sequence(self, library_id: str) -> int:
        """See ``bridge.ports.AuditReader``."""
        with Session(self._engine) as session:
            last = select(func.max(AuditEventRow.sequence)).where(AuditEventRow.library_id == library_id)
            return session.scalar(last) or 0

    def events_after(self, library_id: str, sequence: int) -> Iterator[ChainedEvent]:
        """See ``bridge.ports.AuditReader``."""
        with Session(self._engine) as session, ThreadPoolExecutor(1) as thread:
            yield from map(ChainedEvent._make, _stream(thread, session, library_id, sequence))


def _blocks(thread: Executor, session: Session, library_id: str, total: int) -> Iterator[AuditBlock]:
    """Yield a whole log of *total* events in blocks, and then whatever else has the library's name."""
    statement = _block(session.get_bind().dialect.name)

    def read(first: int) -> EventColumns:
        last = min(first + BLOCK - 1, total)
        parameters = {"of_library": library_id, "first": first, "last": last}
        ((*fields, hashes),) = statement.rows(session.connection(), parameters)
        return EventColumns(first, last, tuple(fields), hashes)

    def rows(after: int, last: int) -> Callable[[], Iterator[ChainedRow]]:
        return lambda: _stream(thread, session, library_id, after, last)

    yield AuditBlock(None, rows(BEFORE_ALL, 0))
    firsts = iter(range(1, total + 1, BLOCK))
    reading = deque(thread.submit(read, first) for first in islice(firsts, BLOCKS_AHEAD))
    while reading:
        columns = reading.popleft().result()
        reading.extend(thread.submit(read, first) for first in islice(firsts, 1))
        yield AuditBlock(columns, rows(columns.first - 1, columns.last))
    yield AuditBlock(None, rows(total, AFTER_ALL))


def _stream(
    thread: Executor, session: Session, library_id: str, after: int = BEFORE_ALL, last: int = AFTER_ALL
) -> Iterator[ChainedRow]:
    """Yield the events after a number and up to another, unchanged: a conversion costs as much as a hash."""
    chunk = (
        select(*_fields(session.get_bind().dialect.name), EVENTS.c.hash)
        .where(
            EVENTS.c.library_id == library_id,
            EVENTS.c.sequence > bindparam("after"),
            EVENTS.c.sequence <= last,
        )
        .order_by(EVENTS.c.sequence)
        .limit(ROWS_AT_ONCE)
    )

    def read(after: int) -> Sequence[ChainedRow]:
        result = session.connection().execute(chunk, {"after": after})
        # From the driver's own cursor: SQLAlchemy's rows would take half as long again.
        rows = [] if result.cursor is None else cast_to(Sequence[ChainedRow], result.cursor.fetchall())
        result.close()
        return rows

    while rows := thread.submit(read, after).result():
        yield from rows
        after = rows[-1][0]


def _fields(dialect: str) -> Sequence[ColumnElement[Any]]:
    """Return the fields of a ``ChainedEvent`` but its hash, as they are hashed."""
    at: ColumnElement[str]
    details: ColumnElement[str]
    if dialect == "sqlite":  # it keeps what ``moment_text`` and ``details_text`` write
        at, details = type_coerce(EVENTS.c.at, Text), type_coerce(EVENTS.c.details, Text)
    else:
        at = func.to_char(func.timezone("UTC", EVENTS.c.at), "YYYY-MM-DD HH24:MI:SS.US")
        details = cast(EVENTS.c.details, Text)
    return (
        EVENTS.c.sequence,
        at,
        EVENTS.c.tag,
        EVENTS.c.actor_kind,
        EVENTS.c.actor_id,
        EVENTS.c.subject,
        func.coalesce(EVENTS.c.terminal_id, ""),
        details,
    )


def _block(dialect: str) -> Prepared:
    """Return the query for ``EventColumns``: one row, however many events it is made of.

    Every event of a whole log adds one value to each column, between line feeds, and 32 bytes to the hashes,
    between commas. No other log gives the same: a value that is missing is given as a line feed, which no
    value has in it, and an event with a hash of another length is left out.
    """
    columns = [*(_joined(field, dialect) for field in _fields(dialect)), _joined_hashes(dialect)]
    named: Sequence[ColumnElement[Any]] = list(map(ColumnElement.label, columns, ChainedEvent._fields))
    return Prepared(
        select(*named).where(
            EVENTS.c.library_id == bindparam("of_library"),
            EVENTS.c.sequence.between(bindparam("first"), bindparam("last")),
            func.length(EVENTS.c.hash) == len(GENESIS),
        )
    )


def _joined(field: ColumnElement[Any], dialect: str) -> ColumnElement[bytes]:
    line_feed: ColumnElement[str] = literal_column("'\n'")
    if dialect == "sqlite":
        return cast(func.group_concat(func.coalesce(field, line_feed), line_feed), LargeBinary)
    value = func.coalesce(cast(field, Text), line_feed)
    return func.convert_to(func.string_agg(value, _in_order(line_feed)), "UTF8")


def _joined_hashes(dialect: str) -> ColumnElement[bytes]:
    if dialect == "sqlite":
        # A comma is what SQLite takes by itself: for any other it allocates memory twice with every hash.
        return cast(func.group_concat(EVENTS.c.hash), LargeBinary)
    return func.string_agg(EVENTS.c.hash, _in_order(literal_column("','::bytea")))


def _in_order(separator: ColumnElement[Any]) -> aggregate_order_by[Any]:
    # SQLite gives events in this order by itself, from the index over library and sequence.
    return aggregate_order_by(separator, EVENTS.c.sequence)


def _columns(event: AuditEvent) -> dict[str, Any]:
    return {
        "library_id": event.library_id,
        "tag": event.tag,
        "actor_kind": event.actor.kind,
        "actor_id": event.actor.actor_id,
        "subject": event.subject,
        "terminal_id": event.terminal_id,
        "details": dict(sorted(event.details.items())),
    }


def _chained(event: AuditEvent, sequence: int) -> ChainedEvent:
    return ChainedEvent(
        sequence,
        moment_text(event.at),
        event.tag.value,
        event.actor.kind.value,
        event.actor.actor_id,
        event.subject,
        event.terminal_id or "",
        details_text(event.details),
        b"",
    )


def _likeness(event: AuditEvent) -> bytes:
    """Return what equal events have in common: all but the moment."""
    fields = _chained(event, 0)._replace(at="")
    return event_hash(GENESIS, event.library_id, fields)


def _told_together(row: AuditRepetitionRow, now: datetime) -> AuditEvent:
    repeated = {"repeated": str(row.times - TOLD_ONE_BY_ONE), "until": row.last_at.isoformat()}
    return AuditEvent(
        row.tag,
        row.library_id,
        Actor(row.actor_kind, row.actor_id),
        row.subject,
        now,
        row.terminal_id,
        {**row.details, **repeated},
    )


def _chain_head(row: AuditHeadRow | Row[Any]) -> ChainHead:
    return ChainHead(row.library_id, row.sequence, row.hash)


def _seal(row: AuditHeadRow | Row[Any]) -> AuditSeal | None:
    if row.seal_key_id is None or row.seal is None:
        return None
    return AuditSeal(row.seal_key_id, row.seal)
