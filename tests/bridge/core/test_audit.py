"""The audit log: chained, sealed, checked; on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest
from click.testing import CliRunner
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from bridge.audit.chain import GENESIS, ChainedEvent, ChainHead, ChainVerifier, FindingKind, event_hash
from bridge.audit.log import AuditService, CheckedLog, check_export, read_anchors
from bridge.cli import main
from bridge.errors import AuditFileMalformed, KeyProblem, LibraryNotFound, LogInFailed, StoreProblem
from bridge.keys.ring import KeyRing, MasterKey
from bridge.models import Actor, ActorKind, AuditEvent, AuditTag
from bridge.store import SqlStore, open_engine
from bridge.store.audit import REPETITION_WINDOW, TOLD_ONE_BY_ONE

TIME_LIMIT = 90
CENTRAL = "central"
TERMINAL = Actor(ActorKind.TERMINAL, "check-1")


@pytest.fixture
def sealed(store, key_ring, clock):
    """A store whose audit logs are sealed."""
    return SqlStore(store._engine, key_ring)


@pytest.fixture
def service(sealed, key_ring, clock, make_place, pki):
    place = make_place(sealed, key_ring, clock, pki)
    return AuditService(place.environment, sealed.audit_log())


def event_at(clock, number: int = 0, tag: AuditTag = AuditTag.SESSION_OPENED, library: str = CENTRAL):
    at = clock.now + timedelta(seconds=number)
    return AuditEvent(tag, library, TERMINAL, f"session-{number}", at, "check-1", {"z": "1", "link": "山"})


def fill(store, clock, count: int = 10, library: str = CENTRAL) -> None:
    for number in range(count):
        with store.transaction() as transaction:
            transaction.add_audit_event(event_at(clock, number, library=library))


def found(service, library: str = CENTRAL, anchor: ChainHead | None = None):
    *findings, checked = service.check(library, anchor)
    assert isinstance(checked, CheckedLog)
    assert checked.whole == (not findings)
    return [(each.kind, each.first, each.last) for each in findings]


@contextmanager
def by_hand(store):
    """Write as somebody who owns the database and takes its triggers away."""
    engine = store._engine
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            triggers = connection.execute(
                text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            ).all()
            for name, _ in triggers:
                connection.execute(text(f"DROP TRIGGER {name}"))
            yield connection
            for _, sql in triggers:
                connection.execute(text(sql))
        else:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            yield connection


def rehash(connection, store, first: int) -> None:
    """Give every event from *first* on the hash that it should have, as the algorithm is public."""
    before = connection.execute(text("SELECT hash FROM audit_event WHERE sequence = :n"), {"n": first - 1})
    previous = before.scalar() or GENESIS
    rows = connection.execute(
        text(
            "SELECT sequence, tag, actor_kind, actor_id, subject, terminal_id, details, at "
            "FROM audit_event WHERE sequence >= :n ORDER BY sequence"
        ),
        {"n": first},
    ).all()
    for row in rows:
        details = row.details if isinstance(row.details, str) else json.dumps(row.details, sort_keys=True)
        at = str(row.at).removesuffix("+00:00")
        at = at if "." in at else f"{at}.000000"
        fields = (
            row.sequence,
            at,
            row.tag,
            row.actor_kind,
            row.actor_id,
            row.subject,
            row.terminal_id,
            details,
        )
        previous = event_hash(previous, CENTRAL, ChainedEvent(*fields, b""))
        connection.execute(
            text("UPDATE audit_event SET hash = :h WHERE sequence = :n"), {"h": previous, "n": row.sequence}
        )


def renumber(connection, first: int, by: int) -> None:
    rows = connection.execute(
        text("SELECT event_id, sequence FROM audit_event WHERE sequence >= :n"), {"n": first}
    ).all()
    for event_id, sequence in sorted(rows, key=lambda row: -by * row.sequence):
        connection.execute(
            text("UPDATE audit_event SET sequence = :n WHERE event_id = :e"),
            {"n": sequence + by, "e": event_id},
        )


COPY = (
    "INSERT INTO audit_event (at, library_id, tag, actor_kind, actor_id, subject, terminal_id, details, "
    "sequence, hash) SELECT at, library_id, tag, actor_kind, actor_id, 'put-in', terminal_id, details, {to}, "
    "hash FROM audit_event WHERE sequence = {of}"
)

CHANGED, MISSING = FindingKind.CHANGED, FindingKind.MISSING
BEYOND_HEAD, HEAD_CHANGED = FindingKind.BEYOND_HEAD, FindingKind.HEAD_CHANGED

TAMPERING = {
    "an event is changed": (
        ["UPDATE audit_event SET subject = 'other' WHERE sequence = 5"],
        [(CHANGED, 5, 5)],
    ),
    "a time is changed": (
        ["UPDATE audit_event SET at = '2026-11-02 04:00:00' WHERE sequence = 1"],
        [(CHANGED, 1, 1)],
    ),
    "details are changed": (["UPDATE audit_event SET details = '{}' WHERE sequence = 2"], [(CHANGED, 2, 2)]),
    "details are no JSON of ours": (
        ["""UPDATE audit_event SET details = '{"link": "\\u5c71",  "z": "1"}' WHERE sequence = 2"""],
        [(CHANGED, 2, 2)],
    ),
    "a hash is changed": (
        [
            (
                "UPDATE audit_event SET hash = (SELECT hash FROM audit_event WHERE sequence = 1) "
                "WHERE sequence = 5"
            ),
        ],
        [(CHANGED, 5, 6)],
    ),
    "a hash gives its end to the next": (
        [
            (
                "UPDATE audit_event SET hash = CAST((SELECT substr(hash, 17) FROM audit_event "
                "WHERE sequence = 5) || hash AS BLOB) WHERE sequence = 6"
            ),
            "UPDATE audit_event SET hash = substr(hash, 1, 16) WHERE sequence = 5",
        ],
        [(CHANGED, 5, 7)],
    ),
    "an event is removed": (["DELETE FROM audit_event WHERE sequence = 5"], [(MISSING, 5, 5)]),
    "the first is removed": (["DELETE FROM audit_event WHERE sequence = 1"], [(MISSING, 1, 1)]),
    "the last is removed": (["DELETE FROM audit_event WHERE sequence = 10"], [(MISSING, 10, 10)]),
    "the last three are removed": (["DELETE FROM audit_event WHERE sequence > 7"], [(MISSING, 8, 10)]),
    "all are removed": (["DELETE FROM audit_event"], [(MISSING, 1, 10)]),
    "one is added at the end": ([COPY.format(of=10, to=11)], [(CHANGED, 11, 11), (BEYOND_HEAD, 11, 11)]),
    "two change places": (
        [
            "UPDATE audit_event SET sequence = 99 WHERE sequence = 5",
            "UPDATE audit_event SET sequence = 5 WHERE sequence = 6",
            "UPDATE audit_event SET sequence = 6 WHERE sequence = 99",
        ],
        [(CHANGED, 5, 7)],
    ),
    "an event goes to another library": (
        ["UPDATE audit_event SET library_id = 'harbour' WHERE sequence = 5"],
        [(MISSING, 5, 5)],
    ),
    "a field swallows its neighbour": (
        [
            "UPDATE audit_event SET actor_id = actor_id || CHAR || subject, subject = '' WHERE sequence = 5",
        ],
        [(CHANGED, 5, 5)],
    ),
    "the last is removed and the head set back": (
        [
            "DELETE FROM audit_event WHERE sequence = 10",
            "UPDATE audit_head SET sequence = 9, hash = (SELECT hash FROM audit_event WHERE sequence = 9)",
        ],
        [(HEAD_CHANGED, 9, 9)],
    ),
    "the head is removed": (["DELETE FROM audit_head"], [(BEYOND_HEAD, 1, 10)]),
    "the head's hash is changed": (
        ["UPDATE audit_head SET hash = (SELECT hash FROM audit_event WHERE sequence = 9)"],
        [(HEAD_CHANGED, 10, 10), (HEAD_CHANGED, 10, 10)],
    ),
    "the seal is taken away": (["UPDATE audit_head SET seal = NULL"], [(FindingKind.NOT_SEALED, 10, 10)]),
}


@pytest.mark.parametrize(("statements", "expected"), TAMPERING.values(), ids=TAMPERING)
def test_what_was_done_by_hand_is_found_and_where(sealed, service, clock, monkeypatch, statements, expected):
    fill(sealed, clock)
    assert found(service) == []
    is_sqlite = sealed._engine.dialect.name == "sqlite"
    with by_hand(sealed) as connection:
        for statement in statements:
            statement = statement.replace("CHAR", "CHAR(10)" if is_sqlite else "CHR(10)")
            connection.exec_driver_sql(statement.replace("BLOB", "BLOB" if is_sqlite else "BYTEA"))
    assert found(service) == expected
    for block in (1, 3, 5):
        monkeypatch.setattr("bridge.store.audit.BLOCK", block)
        assert found(service) == expected


def test_a_whole_log_is_checked_without_looking_at_each_event(sealed, service, clock, monkeypatch):
    fill(sealed, clock, 7)
    monkeypatch.setattr("bridge.store.audit.BLOCK", 3)
    one_by_one = []
    follow = ChainVerifier.follow

    def watched(verifier, events):
        events = list(events)
        one_by_one.extend(event[0] for event in events)
        return follow(verifier, events)

    monkeypatch.setattr(ChainVerifier, "follow", watched)
    assert found(service) == []
    assert one_by_one == []
    anchor = read_anchors(service.export(CENTRAL))[CENTRAL]
    assert found(service, anchor=anchor) == []
    assert one_by_one == [7], "the block with the anchor"
    with by_hand(sealed) as connection:
        connection.exec_driver_sql("UPDATE audit_event SET subject = 'other' WHERE sequence = 5")
    one_by_one.clear()
    assert found(service) == [(CHANGED, 5, 5)]
    assert one_by_one == [4, 5, 6]


def test_a_missing_value_is_found_although_the_next_event_has_it(
    new_engine, key_ring, clock, make_place, pki
):
    sealed = SqlStore(new_engine, key_ring)
    service = AuditService(make_place(sealed, key_ring, clock, pki).environment, sealed.audit_log())
    fill(sealed, clock)
    line_feed = "CHAR(10)" if sealed._engine.dialect.name == "sqlite" else "CHR(10)"
    with by_hand(sealed) as connection:
        for statement in (
            # A table without constraints in place of the bridge's own.
            "CREATE TABLE loose AS SELECT * FROM audit_event",
            "DROP TABLE audit_event",
            "ALTER TABLE loose RENAME TO audit_event",
            (
                "UPDATE audit_event SET subject = (SELECT subject FROM audit_event WHERE sequence = 5) "
                f"|| {line_feed} || subject WHERE sequence = 6"
            ),
            "UPDATE audit_event SET subject = NULL WHERE sequence = 5",
        ):
            connection.exec_driver_sql(statement)
    assert found(service) == [(CHANGED, 5, 6)]


def test_a_hash_cut_at_a_comma_is_found_although_the_next_event_has_its_end(sealed, service, clock):
    fill(sealed, clock, 40)
    of_number = text("SELECT hash FROM audit_event WHERE sequence = :n")
    with by_hand(sealed) as connection:
        hashes = {n: connection.execute(of_number, {"n": n}).scalar_one() for n in range(1, 39)}
        cut = next(n for n in hashes if b"," in hashes[n])
        beginning, _, end = hashes[cut].partition(b",")
        update = text("UPDATE audit_event SET hash = :h WHERE sequence = :n")
        connection.execute(update, {"h": beginning, "n": cut})
        connection.execute(update, {"h": end + b"," + hashes[cut + 1], "n": cut + 1})
    assert found(service) == [(CHANGED, cut, cut + 2)]


def test_a_check_that_is_given_up_gives_its_connection_back(sealed, service, clock, monkeypatch):
    fill(sealed, clock, 9)
    monkeypatch.setattr("bridge.store.audit.BLOCK", 2)
    with sealed.audit_log().snapshot(CENTRAL) as snapshot:
        blocks = iter(snapshot.blocks)
        next(blocks)
        assert next(blocks).columns.last == 2
    assert sealed._engine.pool.checkedout() == 0


def test_an_event_put_in_among_others_is_found(sealed, service, clock):
    fill(sealed, clock)
    with by_hand(sealed) as connection:
        renumber(connection, 5, +1)
        connection.execute(text(COPY.format(of=4, to=5)))
    assert found(service) == [(CHANGED, 5, 11), (BEYOND_HEAD, 11, 11)]


def test_an_event_removed_with_the_others_moved_up_is_found(sealed, service, clock):
    fill(sealed, clock)
    with by_hand(sealed) as connection:
        connection.execute(text("DELETE FROM audit_event WHERE sequence = 5"))
        renumber(connection, 6, -1)
    assert found(service) == [(CHANGED, 5, 9), (MISSING, 10, 10)]


def test_an_event_rewritten_with_its_hash_breaks_the_one_behind_it(sealed, service, clock):
    fill(sealed, clock)
    with by_hand(sealed) as connection:
        connection.execute(text("UPDATE audit_event SET subject = 'other' WHERE sequence = 5"))
        kept = connection.execute(text("SELECT sequence, hash FROM audit_event WHERE sequence > 5")).all()
        rehash(connection, sealed, 5)
        for sequence, digest in kept:
            update = text("UPDATE audit_event SET hash = :h WHERE sequence = :n")
            connection.execute(update, {"h": digest, "n": sequence})
    assert found(service) == [(CHANGED, 6, 6)]


def test_a_whole_chain_computed_anew_is_found_by_its_seal_and_by_an_anchor(sealed, service, clock):
    fill(sealed, clock)
    *_, before = service.check(CENTRAL)
    with by_hand(sealed) as connection:
        connection.execute(text("UPDATE audit_event SET subject = 'other' WHERE sequence = 5"))
        rehash(connection, sealed, 5)
        connection.execute(
            text("UPDATE audit_head SET hash = (SELECT hash FROM audit_event WHERE sequence = 10)")
        )
    assert found(service) == [(HEAD_CHANGED, 10, 10)]
    assert found(service, anchor=before.last) == [
        (FindingKind.OTHER_THAN_ANCHOR, 10, 10),
        (HEAD_CHANGED, 10, 10),
    ]


def test_a_log_set_back_with_an_old_head_is_found_by_an_anchor_alone(sealed, service, clock):
    fill(sealed, clock, 5)
    with sealed._engine.connect() as connection:
        old = connection.execute(text("SELECT sequence, hash, seal_key_id, seal FROM audit_head")).one()
    fill(sealed, clock, 5)
    *_, later = service.check(CENTRAL)
    with by_hand(sealed) as connection:
        connection.execute(text("DELETE FROM audit_event WHERE sequence > 5"))
        connection.execute(
            text("UPDATE audit_head SET sequence = :sequence, hash = :hash, seal = :seal"),
            {"sequence": old.sequence, "hash": old.hash, "seal": old.seal},
        )
    assert found(service) == []  # who could do this had a copy of the head of that time
    assert found(service, anchor=later.last) == [(MISSING, 6, 10)]


def test_a_log_that_was_tampered_with_is_not_sealed_again_by_the_next_event(sealed, service, clock):
    fill(sealed, clock)
    with by_hand(sealed) as connection:
        connection.execute(text("DELETE FROM audit_event WHERE sequence = 10"))
        connection.execute(
            text(
                "UPDATE audit_head SET sequence = 9, hash = (SELECT hash FROM audit_event WHERE sequence = 9)"
            )
        )
    fill(sealed, clock, 2)
    assert found(service) == [(FindingKind.NOT_SEALED, 11, 11)]
    service.seal(TERMINAL, CENTRAL)
    assert found(service) == []


def test_an_event_added_behind_the_head_stops_the_log_until_it_was_looked_into(sealed, service, clock):
    fill(sealed, clock)
    with by_hand(sealed) as connection:
        connection.execute(text(COPY.format(of=10, to=11)))
    with pytest.raises(StoreProblem, match="audit verify"):
        fill(sealed, clock, 1)
    service.seal(TERMINAL, CENTRAL)
    fill(sealed, clock, 1)
    assert found(service) == [(CHANGED, 11, 11)]


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_event SET subject = 'x'", "DELETE FROM audit_event", "TRUNCATE audit_event"]
)
def test_the_database_itself_refuses_to_change_or_remove_an_event(sealed, service, clock, statement):
    if statement.startswith("TRUNCATE") and sealed._engine.dialect.name == "sqlite":
        statement = "DELETE FROM audit_event WHERE true"  # SQLite has no TRUNCATE
    fill(sealed, clock, 1)
    with pytest.raises(IntegrityError, match="only added to"), sealed._engine.begin() as connection:
        connection.execute(text(statement))
    assert found(service) == []


def test_each_library_has_a_chain_of_its_own(sealed, service, clock):
    with sealed.transaction() as transaction:
        for number in range(3):
            transaction.add_audit_event(event_at(clock, number))
            transaction.add_audit_event(event_at(clock, number, library="harbour"))
    assert service.libraries() == [CENTRAL, "harbour"]
    for library in service.libraries():
        assert found(service, library) == []
        *_, checked = service.check(library)
        assert checked.last.sequence == 3
    with pytest.raises(LibraryNotFound):
        list(service.check("nowhere"))


def test_what_is_rolled_back_leaves_no_gap(sealed, service, clock):
    fill(sealed, clock, 2)
    refused = [event_at(clock, 3), replace(event_at(clock, 4), subject="a\nb")]
    with pytest.raises(ValueError, match="line feed"), sealed.transaction() as transaction:
        list(map(transaction.add_audit_event, refused))
    fill(sealed, clock, 1)
    *_, checked = service.check(CENTRAL)
    assert (checked.last.sequence, checked.whole) == (3, True)


def test_a_line_feed_in_an_event_is_refused(sealed, clock):
    event = replace(event_at(clock), subject="a\nb")
    with pytest.raises(ValueError, match="line feed"), sealed.transaction() as transaction:
        transaction.add_audit_event(event)


def test_a_node_without_the_key_of_the_seal_does_not_write(sealed, clock):
    fill(sealed, clock, 1)
    other = SqlStore(sealed._engine, KeyRing([MasterKey("k9", bytes(32))], bytes))
    with pytest.raises(KeyProblem, match="k1 is missing"):
        fill(other, clock, 1)


def test_many_threads_append_without_gap_or_fork(sealed, service, clock):
    barrier = Barrier(8, timeout=TIME_LIMIT)

    def write(worker: int) -> None:
        barrier.wait()
        for number in range(10):
            with sealed.transaction() as transaction:
                libraries = [CENTRAL, "harbour"] if worker % 2 else ["harbour", CENTRAL]
                for library in libraries:
                    transaction.add_audit_event(event_at(clock, 100 * worker + number, library=library))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8), timeout=TIME_LIMIT))
    for library in (CENTRAL, "harbour"):
        *_, checked = service.check(library)
        assert (checked.last.sequence, checked.whole) == (80, True)


PROCESS = """
import sys
from datetime import UTC, datetime
from bridge.keys.ring import KeyRing, MasterKey
from bridge.models import Actor, ActorKind, AuditEvent, AuditTag
from bridge.store import SqlStore, open_engine

ring = KeyRing([MasterKey("k1", bytes(range(32)))], bytes)
store = SqlStore(open_engine(sys.argv[1]), ring)
actor = Actor(ActorKind.COMMAND, "test")
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    with store.transaction() as transaction:
        transaction.add_audit_event(
            AuditEvent(AuditTag.SESSION_OPENED, "central", actor, sys.argv[2], datetime.now(UTC))
        )
"""


def test_several_processes_append_without_gap_or_fork(sealed, service):
    url = sealed._engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", PROCESS, url]
    processes = [
        subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.wait(TIME_LIMIT) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=TIME_LIMIT)
    *_, checked = service.check(CENTRAL)
    assert (checked.last.sequence, checked.whole) == (60, True)


# Repetitions


def refuse(store, clock, times: int, subject: str = "check-1") -> None:
    event = replace(
        event_at(clock, tag=AuditTag.SESSION_DENIED), subject=subject, details={"problem": "not-linked"}
    )
    for _ in range(times):
        with store.transaction() as transaction:
            transaction.add_audit_event(event)


def subjects_and_details(store):
    with store._engine.connect() as connection:
        rows = connection.execute(text("SELECT subject, details FROM audit_event ORDER BY sequence")).all()
    return [(subject, json.loads(each) if isinstance(each, str) else each) for subject, each in rows]


def test_equal_refusals_in_a_row_are_counted_and_told_with_the_next_event(sealed, service, clock):
    refuse(sealed, clock, TOLD_ONE_BY_ONE + 40)
    refuse(sealed, clock, 1, subject="check-2")
    assert len(subjects_and_details(sealed)) == TOLD_ONE_BY_ONE + 1
    last_at = clock.now
    clock.advance(seconds=REPETITION_WINDOW.total_seconds())
    refuse(sealed, clock, 1)
    *_, counted, refused = subjects_and_details(sealed)
    assert counted == ("check-1", {"problem": "not-linked", "repeated": "40", "until": last_at.isoformat()})
    assert refused == ("check-1", {"problem": "not-linked"})
    assert found(service) == []


def test_what_is_no_refusal_is_never_counted(sealed, clock):
    event = event_at(clock)
    for _ in range(20):
        with sealed.transaction() as transaction:
            transaction.add_audit_event(event)
    assert len(subjects_and_details(sealed)) == 20


def test_nobody_fills_the_log_with_names_that_do_not_exist(place):
    for number in range(30):
        with pytest.raises(LogInFailed):
            place.staff.log_in(f"stranger-{number}", "password")
    assert len(place.audit(AuditTag.LOGIN_FAILED)) == TOLD_ONE_BY_ONE
    place.clock.advance(minutes=11)
    with pytest.raises(LogInFailed):
        place.staff.log_in("stranger", "password")
    *_, counted, _ = place.audit(AuditTag.LOGIN_FAILED)
    assert counted.library_id == "-"
    assert counted.details["repeated"] == "25"


# The file


def test_an_export_is_checked_without_the_database(sealed, service, clock):
    fill(sealed, clock)
    lines = list(service.export(CENTRAL))
    assert [*check_export(lines)] == [CheckedLog(ChainHead(CENTRAL, 10, _hash_of(lines[-1])), whole=True)]
    assert read_anchors(lines) == {CENTRAL: ChainHead(CENTRAL, 10, _hash_of(lines[-1]))}


def _hash_of(line: str) -> bytes:
    return bytes.fromhex(json.loads(line)["hash"])


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (lambda lines: lines[:4] + lines[5:], [(MISSING, 5, 5)]),
        (lambda lines: [lines[0], *lines], [(CHANGED, 1, 1)]),
        (
            lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]],
            [(MISSING, 5, 5), (CHANGED, 5, 5), (MISSING, 6, 6)],
        ),
        (lambda lines: [line.replace("session-4", "session-7") for line in lines], [(CHANGED, 5, 5)]),
        (lambda lines: lines[:7], [(MISSING, 8, 10)]),
    ],
)
def test_an_export_that_was_changed_is_found_out(sealed, service, clock, tamper, expected):
    fill(sealed, clock)
    lines = list(service.export(CENTRAL))
    *findings, checked = check_export(tamper(lines), CENTRAL, read_anchors(lines))
    assert [(each.kind, each.first, each.last) for each in findings] == expected
    assert not checked.whole


@pytest.mark.parametrize("line", ["", "{}", "[]", "7", "x", '{"library_id": "central", "sequence": "1"}'])
def test_a_file_that_is_no_export_is_refused(line):
    with pytest.raises(AuditFileMalformed, match="line 1"):
        list(check_export([line]))


def test_the_script_of_the_documentation_checks_an_export(sealed, service, clock, tmp_path):
    fill(sealed, clock)
    page = (Path(__file__).parents[3] / "docs" / "keys-and-audit.md").read_text("utf-8")
    script = page.split("```python\n")[1].split("```")[0]
    lines = list(service.export(CENTRAL))

    def run(lines):
        return subprocess.run(
            [sys.executable, "-c", script],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
        )

    good = run(lines)
    assert (good.returncode, good.stdout) == (0, f"central 10 {json.loads(lines[-1])['hash']}\n")
    bad = run([line.replace("session-4", "session-7") for line in lines])
    assert (bad.returncode, bad.stdout.splitlines()[0]) == (1, "central 5 does not fit")


# The commands


@pytest.fixture
def run(installation):
    def call(*arguments: str):
        return CliRunner().invoke(main, ["-c", str(installation.path), *arguments])

    assert call("keys", "generate", str(installation.key_file)).exit_code == 0
    assert call("init-db").exit_code == 0
    added = call("terminal", "add", "--library", CENTRAL, "--id", "c1", "--name", "c", "--kind", "counter")
    assert added.exit_code == 0
    return call


def test_the_commands_check_export_and_find(run, installation, tmp_path):
    checked = run("audit", "verify")
    assert checked.exit_code == 0
    assert checked.stdout.startswith("central: whole; the last event is 1, ")
    anchor = tmp_path / "anchor.jsonl"
    anchor.write_text(run("audit", "verify", "--json").stdout)
    exported = tmp_path / "audit.jsonl"
    exported.write_text(run("audit", "export").stdout)
    assert run("audit", "verify", str(exported), "--against", str(anchor)).exit_code == 0
    store = SqlStore(open_engine(f"sqlite:///{installation.database}"))
    with by_hand(store) as connection:
        connection.execute(text("UPDATE audit_event SET subject = 'x'"))
    store.dispose()
    for arguments in (
        ("audit", "verify"),
        ("audit", "verify", "--library", CENTRAL, "--against", str(anchor)),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.stdout.startswith("central: event 1: changed")
    told = json.loads(run("audit", "verify", "--json").stdout)
    assert told["whole"] is False
    assert told["findings"] == [{"library_id": CENTRAL, "kind": "changed", "first": 1, "last": 1}]


def test_the_export_is_written_to_a_file_that_must_be_new(run, tmp_path):
    file = tmp_path / "audit.jsonl"
    told = json.loads(run("audit", "export", "--file", str(file), "--json").stdout)
    assert told == {"file": str(file), "libraries": [CENTRAL], "events": 1}
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == run("audit", "export").stdout
    assert run("audit", "verify", str(file)).exit_code == 0
    assert run("audit", "export", "--file", str(file)).exit_code == 1


def test_the_checks_of_several_days_in_one_file_are_an_anchor(run, tmp_path):
    anchors = tmp_path / "anchors.jsonl"
    days = [run("audit", "verify", "--json").stdout]
    run("audit", "seal")
    days.append(run("audit", "verify", "--json").stdout)
    assert [day.count("\n") for day in days] == [1, 1]
    anchors.write_text("".join(days))
    last = json.loads(days[1])["logs"][0]
    with anchors.open() as lines:
        assert read_anchors(lines)[CENTRAL].sequence == last["sequence"] == 2
    assert run("audit", "verify", "--against", str(anchors)).exit_code == 0


def test_the_commands_refuse_what_they_cannot_read(run, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("no export\n")
    for arguments in (
        ("verify", str(broken)),
        ("verify", "--against", str(broken)),
        ("verify", "--library", "nowhere"),
    ):
        result = run("audit", *arguments)
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)


def test_sealing_is_told_in_the_log(run):
    assert run("audit", "seal").stdout == "central: sealed\n"
    assert "audit_log:sealed" in run("audit", "export").stdout
    assert run("audit", "verify").exit_code == 0
