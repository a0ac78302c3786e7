"""The check of the audit log against bare hashing."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figure import Figure, median_seconds
from bridge.audit.chain import FORMAT, GENESIS
from bridge.audit.log import AuditService, CheckedLog
from bridge.environment import Environment
from bridge.keys.ring import KeyRing, MasterKey
from bridge.models import Actor, ActorKind, AuditEvent, AuditTag
from bridge.store import SqlStore, open_engine, upgrade

EVENTS = 200_000
EVENTS_IN_A_TRANSACTION = 5_000
LIBRARY_ID = "central"
BEGUN = datetime(2026, 11, 2, tzinfo=UTC)


def measure() -> Iterator[Figure]:
    """Yield the figures: the goal is one *or* the other.

    The peer of the ratio hashes the very same messages, in memory already, one behind the other, and
    does nothing else: it reads no database and compares nothing.
    """
    with TemporaryDirectory() as folder:
        service = _service(Path(folder) / "audit.sqlite3")

        def check() -> None:
            *findings, checked = service.check(LIBRARY_ID)
            if findings or not isinstance(checked, CheckedLog) or checked.last.sequence != EVENTS:
                raise ValueError("the log that was written is not whole")

        messages = _messages(service)

        def hash_barely() -> None:
            previous = GENESIS
            for message in messages:
                previous = sha256(previous + message).digest()

        check(), hash_barely()
        # By turns, so that both see the same machine.
        pairs = [(median_seconds(check, rounds=1), median_seconds(hash_barely, rounds=1)) for _ in range(9)]
    rate = EVENTS / statistics.median(whole for whole, _ in pairs)
    ratio = statistics.median(whole / bare for whole, bare in pairs)
    yield Figure("links.audit_verify_rate", rate, "events/s", 100_000, "higher")
    yield Figure("links.audit_verify_ratio", ratio, "ratio", 3, "lower")


def _service(database: Path) -> AuditService:
    engine = open_engine(f"sqlite:///{database}")
    upgrade(engine)
    ring = KeyRing([MasterKey("bench", bytes(32))], lambda length: bytes(length))
    store = SqlStore(engine, ring)
    begun = time.perf_counter()
    for first in range(0, EVENTS, EVENTS_IN_A_TRANSACTION):
        with store.transaction() as transaction:
            for number in range(first, first + EVENTS_IN_A_TRANSACTION):
                transaction.add_audit_event(_event(number))
    print(f"  {EVENTS} events written in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    environment = Environment(store, ring, {}, lambda: BEGUN, lambda length: bytes(length))
    return AuditService(environment, store.audit_log())


def _event(number: int) -> AuditEvent:
    return AuditEvent(
        AuditTag.SESSION_OPENED,
        LIBRARY_ID,
        Actor(ActorKind.TERMINAL, f"check-{number % 20}"),
        f"{number:032x}",
        BEGUN + timedelta(milliseconds=number),
        f"check-{number % 20}",
        {"link": f"{number % 9973:032x}"},
    )


def _messages(service: AuditService) -> list[bytes]:
    """Return what is hashed for each event, as ``bridge.audit.chain`` describes it."""
    messages = []
    for line in service.export(LIBRARY_ID):
        event = json.loads(line)
        names = ("at", "tag", "actor_kind", "actor_id", "subject", "terminal_id")
        fields = [FORMAT, LIBRARY_ID, str(event["sequence"]), *(event[name] for name in names)]
        messages.append("\n".join([*fields, json.dumps(event["details"], sort_keys=True)]).encode())
    return messages
