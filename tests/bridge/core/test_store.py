"""The store on SQLite and on PostgreSQL: what the database itself guarantees."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, make_url, select, text
from sqlalchemy.exc import IntegrityError, StatementError

from bridge.errors import (
    AlreadyLinked,
    LinkNotFound,
    LinkRequestNotFound,
    LinkRequestPending,
    NameTaken,
    StoreProblem,
    StoreUnavailable,
    TerminalNotFound,
)
from bridge.models import (
    Actor,
    ActorKind,
    AuditEvent,
    AuditTag,
    CardIdentifier,
    CardLink,
    CardSession,
    IdentifierKind,
    Librarian,
    LibrarianRole,
    LinkRequest,
    LinkRequestState,
    LinkState,
    Terminal,
    TerminalKind,
)
from bridge.ports import EncryptedValue, PendingChallenge
from bridge.store import CardLinkRow, SqlStore, check_version, open_engine, upgrade
from bridge.store.schema import head_revision
from bridge.store.tables import Base, CardSessionRow
from jpki.challenge import Challenge, ChallengeNonce, ChallengePurpose
from jpki.errors import ChallengeAlreadyUsed, ChallengeUnknown
from jpki.revocation import RevocationAnswer, RevocationStatus

NOW = datetime(2026, 11, 2, 3, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
COUNTER = Terminal("counter-1", "central", "カウンター 1", TerminalKind.COUNTER)
SELF_CHECK = Terminal("check-1", "central", "自動貸出機 1", TerminalKind.SELF_CHECK, "sc1")
LIBRARIAN = Librarian("l1", "central", "hanako", "花子", LibrarianRole.LIBRARIAN)
IDENTIFIER = CardIdentifier(IdentifierKind.SERIAL_NUMBER, "k1", "d1")
SEALED = EncryptedValue("k1", b"n" * 12, b"c" * 20)
LINK = CardLink(
    "link-1", "central", 51, IDENTIFIER.kind, LinkState.ACTIVE, LATER, linked_at=NOW, linked_by="l1"
)
REQUEST = LinkRequest("r1", "central", "counter-1", 51, "l1", LinkRequestState.WAITING_FOR_CARD, NOW, LATER)
CHALLENGE = Challenge(
    challenge_id="ch1",
    purpose=ChallengePurpose.LINK,
    library_id="central",
    terminal_id="counter-1",
    nonce=ChallengeNonce(bytes(32)),
    issued_at=NOW,
    expires_at=LATER,
    certificate_digest=bytes(32),
)
PENDING = PendingChallenge(CHALLENGE, RevocationAnswer(RevocationStatus.GOOD, "ocsp", NOW, next_update=LATER))
SESSION = CardSession("s1", "central", "check-1", "link-1", NOW, LATER, cardnumber="")


@pytest.fixture
def furnished(store: SqlStore) -> SqlStore:
    with store.transaction() as transaction:
        transaction.add_terminal(COUNTER, "t1")
        transaction.add_terminal(SELF_CHECK, "t2")
        transaction.add_librarian(LIBRARIAN, "hash")
    return store


# The version of the database


def test_setting_up_twice_changes_nothing(new_engine):
    assert upgrade(new_engine) == (head_revision(), head_revision())
    check_version(new_engine)


def test_the_migrations_give_exactly_the_mapped_tables(new_engine):
    with new_engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_database_that_was_not_set_up_is_refused(database_url):
    engine = open_engine(database_url)
    with pytest.raises(StoreProblem, match="init-db"):
        check_version(engine)
    engine.dispose()


def test_a_database_of_another_version_is_refused(new_engine):
    with new_engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreProblem, match="9999"):
        check_version(new_engine)


def test_looking_for_a_database_does_not_make_one(tmp_path):
    path = tmp_path / "none.sqlite3"
    with pytest.raises(StoreProblem):
        check_version(open_engine(f"sqlite:///{path}"))
    assert not path.exists()


def test_a_server_that_does_not_answer_is_a_store_problem(tmp_path):
    with pytest.raises(StoreProblem, match="reached"):
        check_version(open_engine(f"postgresql+psycopg://bridge@/none?host={tmp_path}"))


def test_a_sqlite_file_is_readable_by_its_owner_only(tmp_path):
    path = tmp_path / "private.sqlite3"
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# All or nothing


def test_an_exception_undoes_the_whole_transaction(furnished):
    def fail_after_writing():
        with furnished.transaction() as transaction:
            transaction.add_link(LINK, IDENTIFIER, SEALED)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_writing()
    with furnished.transaction() as transaction:
        assert transaction.find_link("central", "link-1") is None


def test_times_come_back_as_they_went_in_and_in_utc(furnished):
    in_japan = NOW.astimezone(timezone(timedelta(hours=9)))
    with furnished.transaction() as transaction:
        transaction.add_link(replace(LINK, linked_at=in_japan), IDENTIFIER, SEALED)
        found = transaction.find_link("central", "link-1")
    assert found == LINK
    assert found.linked_at.tzinfo is UTC


def test_a_naive_time_is_refused(furnished):
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(StatementError, match="naive"), furnished.transaction() as transaction:
        transaction.add_link(replace(LINK, linked_at=naive), IDENTIFIER, SEALED)


def test_an_error_of_the_database_shows_no_values(furnished):
    with pytest.raises(AlreadyLinked) as caught:
        link_twice(furnished)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# Reading


def test_reading_waits_for_no_writer_and_sees_one_snapshot(furnished):
    with furnished.transaction() as writing:
        writing.add_link(LINK, IDENTIFIER, SEALED)
        with furnished.reading() as reading:
            assert reading.find_link("central", "link-1") is None
    with furnished.reading() as reading:
        assert reading.find_link("central", "link-1") == LINK
        with furnished.transaction() as writing:
            writing.end_link("central", "link-1", "mistake", NOW)
        assert reading.find_open_link("central", [IDENTIFIER]) == LINK


def test_nothing_is_written_where_only_reading_is_allowed(furnished):
    with pytest.raises(StoreUnavailable), furnished.reading() as reading:
        reading.add_link(LINK, IDENTIFIER, SEALED)
    with furnished.transaction() as writing:
        assert writing.find_link("central", "link-1") is None
        writing.add_link(LINK, IDENTIFIER, SEALED)


# Terminals and librarians


def test_a_terminal_is_found_by_id_token_and_sip2_login(furnished):
    with furnished.transaction() as transaction:
        assert transaction.find_terminal("central", "check-1") == SELF_CHECK
        assert transaction.find_terminal_by_token("t2") == SELF_CHECK
        assert transaction.find_terminal_by_sip2_login("central", "sc1") == SELF_CHECK
        assert transaction.find_terminal("harbour", "check-1") is None
        assert transaction.find_terminal_by_sip2_login("harbour", "sc1") is None
        assert list(transaction.terminals("central")) == [SELF_CHECK, COUNTER]


@pytest.mark.parametrize(
    "terminal", [replace(COUNTER, name="other"), replace(SELF_CHECK, terminal_id="check-9")]
)
def test_a_terminals_id_and_sip2_login_are_unique_in_its_library(furnished, terminal):
    with pytest.raises(NameTaken), furnished.transaction() as transaction:
        transaction.add_terminal(terminal, "t9")
    with furnished.transaction() as transaction:
        transaction.add_terminal(replace(terminal, library_id="harbour"), "t9")


def test_a_removed_terminal_is_gone_and_its_id_free(furnished):
    with furnished.transaction() as transaction:
        transaction.remove_terminal("central", "check-1")
        assert transaction.find_terminal("central", "check-1") is None
        assert transaction.find_terminal_by_token("t2") is None
        transaction.add_terminal(SELF_CHECK, "t3")
    with furnished.transaction() as transaction:
        assert transaction.find_terminal_by_token("t3") == SELF_CHECK


def test_a_terminal_is_removed_once(furnished):
    with furnished.transaction() as transaction:
        transaction.remove_terminal("central", "check-1")
    with pytest.raises(TerminalNotFound), furnished.transaction() as transaction:
        transaction.remove_terminal("central", "check-1")


def test_a_log_in_name_is_unique(furnished):
    with pytest.raises(NameTaken), furnished.transaction() as transaction:
        transaction.add_librarian(replace(LIBRARIAN, librarian_id="l2"), "hash")


def test_failed_log_ins_are_counted_until_a_success(furnished):
    with furnished.transaction() as transaction:
        assert [transaction.count_failed_log_in("l1", NOW) for _ in range(3)] == [1, 2, 3]
        transaction.lock_account("l1", LATER)
        account = transaction.find_account("hanako")
        assert (account.failed_log_ins, account.locked_until) == (3, LATER)
        assert transaction.count_failed_log_in("l1", NOW) is None
        assert transaction.count_failed_log_in("l1", LATER) == 4  # goes on: the next lock is longer
        transaction.clear_failed_log_ins("l1")
        transaction.set_password_hash("l1", "new")
    with furnished.transaction() as transaction:
        account = transaction.find_account("hanako")
    assert (account.librarian, account.locked_until, account.password_hash) == (LIBRARIAN, None, "new")
    assert "new" not in repr(account)


# Links


def link_twice(store: SqlStore) -> None:
    with store.transaction() as transaction:
        transaction.add_link(LINK, IDENTIFIER, SEALED)
    with store.transaction() as transaction:
        transaction.add_link(replace(LINK, link_id="link-2", patron_id=52), IDENTIFIER, SEALED)


def test_the_database_keeps_a_card_to_one_open_link_in_a_library(furnished):
    with pytest.raises(AlreadyLinked):
        link_twice(furnished)
    with furnished.transaction() as transaction:
        assert transaction.find_open_link("central", [IDENTIFIER]) == LINK
        assert list(transaction.open_links_of_patron("central", 52)) == []
        in_harbour = replace(LINK, link_id="link-3", library_id="harbour")
        transaction.add_link(in_harbour, IDENTIFIER, SEALED)


def test_another_broken_constraint_is_not_taken_for_a_second_link(furnished):
    with pytest.raises(IntegrityError), furnished.transaction() as transaction:
        transaction.add_link(LINK, replace(IDENTIFIER, digest=None), SEALED)


def test_an_ended_link_recognises_nobody(furnished):
    with furnished.transaction() as transaction:
        transaction.add_link(LINK, IDENTIFIER, SEALED)
    with furnished.transaction() as transaction:
        ended = transaction.end_link("central", "link-1", "card_lost", LATER)
        assert (ended.state, ended.ended_at, ended.ended_reason) == (LinkState.ENDED, LATER, "card_lost")
        assert transaction.find_open_link("central", [IDENTIFIER]) is None
    session = furnished.scoped_session()
    row = session.scalars(select(CardLinkRow)).one()
    wiped = (row.digest, row.serial_key_id, row.serial_nonce, row.serial_ciphertext)
    session.remove()
    assert wiped == (None, None, None, None)
    with furnished.transaction() as transaction:
        transaction.add_link(replace(LINK, link_id="link-2"), IDENTIFIER, SEALED)


@pytest.mark.parametrize("library_id", ["central", "harbour"])
def test_a_link_ends_once_and_in_its_own_library(furnished, library_id):
    with furnished.transaction() as transaction:
        transaction.add_link(LINK, IDENTIFIER, SEALED)
        if library_id == "central":
            transaction.end_link("central", "link-1", "mistake", NOW)
    with pytest.raises(LinkNotFound), furnished.transaction() as transaction:
        transaction.end_link(library_id, "link-1", "mistake", LATER)


def test_a_card_is_found_under_any_of_its_identifiers(furnished):
    with furnished.transaction() as transaction:
        transaction.add_link(LINK, IDENTIFIER, SEALED)
        newer = replace(IDENTIFIER, key_id="k2", digest="d2")
        assert transaction.find_open_link("central", [newer, IDENTIFIER]) == LINK
        assert transaction.find_open_link("central", [newer]) is None
        assert transaction.find_open_link("central", [replace(IDENTIFIER, key_id="k2")]) is None


def test_a_use_of_a_link_keeps_the_newest_answer(furnished):
    new = RevocationAnswer(RevocationStatus.GOOD, "ocsp", NOW)
    old = RevocationAnswer(RevocationStatus.GOOD, "crl", NOW - timedelta(hours=1))
    with furnished.transaction() as transaction:
        transaction.add_link(LINK, IDENTIFIER, SEALED)
    for answer, at in ((new, NOW), (old, LATER)):
        with furnished.transaction() as transaction:
            transaction.use_link("link-1", at, answer)
            link = transaction.find_link("central", "link-1")
        assert (link.last_used_at, link.revocation) == (at, new)


# Link requests


def test_the_database_keeps_a_counter_to_one_open_request(furnished):
    with furnished.transaction() as transaction:
        transaction.add_link_request(REQUEST)
        assert transaction.find_open_link_request(COUNTER, NOW) == REQUEST
    with pytest.raises(LinkRequestPending), furnished.transaction() as transaction:
        transaction.add_link_request(replace(REQUEST, request_id="r2"))


def test_an_expired_request_makes_room(furnished):
    with furnished.transaction() as transaction:
        transaction.add_link_request(REQUEST)
        assert transaction.find_open_link_request(COUNTER, LATER) is None
    with furnished.transaction() as transaction:
        later = replace(REQUEST, request_id="r2", started_at=LATER, expires_at=LATER + timedelta(minutes=5))
        transaction.add_link_request(later)
    with furnished.transaction() as transaction:
        assert transaction.find_link_request("central", "r1").state is LinkRequestState.EXPIRED


@pytest.mark.parametrize("state", [state for state in LinkRequestState if not state.is_open])
def test_a_request_that_is_over_does_not_change_again(furnished, state):
    with furnished.transaction() as transaction:
        transaction.add_link_request(REQUEST)
        transaction.update_link_request(replace(REQUEST, state=state, problem="why"))
    with pytest.raises(LinkRequestNotFound), furnished.transaction() as transaction:
        transaction.update_link_request(REQUEST)
    with furnished.transaction() as transaction:
        assert transaction.find_link_request("central", "r1") == replace(REQUEST, state=state, problem="why")
        assert transaction.find_link_request("harbour", "r1") is None


# Challenges


def test_a_challenge_is_taken_once_and_comes_back_whole(furnished):
    with furnished.transaction() as transaction:
        transaction.add_challenge(PENDING)
    with furnished.transaction() as transaction:
        assert transaction.find_challenge("ch1") == transaction.unused_challenge("ch1") == PENDING
        transaction.consume_challenge("ch1", NOW)
        assert transaction.find_challenge("ch1") == PENDING
    for challenge_id, refusal in (("ch1", ChallengeAlreadyUsed), ("ch2", ChallengeUnknown)):
        with pytest.raises(refusal), furnished.transaction() as transaction:
            transaction.consume_challenge(challenge_id, NOW)
        with pytest.raises(refusal), furnished.reading() as transaction:
            transaction.unused_challenge(challenge_id)


def test_old_challenges_are_deleted(furnished):
    with furnished.transaction() as transaction:
        transaction.add_challenge(PENDING)
        assert transaction.purge_challenges(LATER) == 0
        assert transaction.purge_challenges(LATER + timedelta(seconds=1)) == 1
        assert transaction.find_challenge("ch1") is None


# Card sessions


@pytest.fixture
def in_session(furnished: SqlStore) -> SqlStore:
    with furnished.transaction() as transaction:
        transaction.add_link(LINK, IDENTIFIER, SEALED)
        transaction.add_session(SESSION, "k1", "td1", SEALED)
    return furnished


def test_a_session_is_found_by_its_token_in_its_library(in_session):
    with in_session.transaction() as transaction:
        assert transaction.find_session_by_token("central", ["x", "td1"]) == (SESSION, SEALED)
        assert transaction.find_session_by_token("harbour", ["td1"]) is None
        transaction.touch_session("s1", LATER)
        assert list(transaction.open_sessions_of_links(["link-1"])) != []
    with in_session.transaction() as transaction:
        found, _ = transaction.find_session_by_token("central", ["td1"])
    assert found.last_used_at == LATER


def test_a_session_closes_once_and_loses_the_card_number(in_session):
    with in_session.transaction() as transaction:
        closed = transaction.close_session("s1", LATER, "idle")
        assert closed == replace(SESSION, closed_at=LATER)
        assert transaction.close_session("s1", LATER, "idle") is None
        assert transaction.find_session_by_token("central", ["td1"]) == (closed, None)
        assert list(transaction.open_sessions_of_links(["link-1"])) == []
    session = in_session.scoped_session()
    row = session.scalars(select(CardSessionRow)).one()
    wiped = (row.cardnumber_key_id, row.cardnumber_nonce, row.cardnumber_ciphertext)
    session.remove()
    assert wiped == (None, None, None)


def test_a_token_is_never_given_twice_in_a_library(in_session):
    with pytest.raises(IntegrityError), in_session.transaction() as transaction:
        transaction.add_session(replace(SESSION, session_id="s2"), "k1", "td1", SEALED)


@pytest.mark.parametrize(
    ("now", "idle_since", "overdue"),
    [
        (NOW, NOW, False),
        (LATER, NOW, True),
        (NOW, NOW + timedelta(microseconds=1), True),
    ],
)
def test_sessions_that_expired_or_idled_are_overdue(in_session, now, idle_since, overdue):
    with in_session.transaction() as transaction:
        assert bool(transaction.overdue_sessions(now, idle_since)) is overdue


# Audit


def test_an_audit_event_is_kept_as_given(furnished):
    event = AuditEvent(
        AuditTag.LINK_REFUSED,
        "central",
        Actor(ActorKind.TERMINAL, "counter-1"),
        "r1",
        NOW,
        "counter-1",
        {"problem": "already-linked"},
    )
    with furnished.transaction() as transaction:
        transaction.add_audit_event(event)
    session = furnished.scoped_session()
    row = session.execute(text("SELECT tag, actor_kind, details FROM audit_event")).one()
    session.remove()
    assert tuple(row[:2]) == ("card_link:refused", "terminal")
    assert "already-linked" in str(row.details)


def test_the_file_and_its_log_do_not_keep_what_was_wiped(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/wiped.sqlite3"
    engine = open_engine(url)
    upgrade(engine)
    store = SqlStore(engine)
    with store.transaction() as transaction:
        transaction.add_link(LINK, replace(IDENTIFIER, digest="f" * 64), SEALED)
    with store.transaction() as transaction:
        transaction.end_link("central", "link-1", "mistake", NOW)
    engine.dispose()  # the last connection writes the log back and removes it
    assert b"f" * 64 not in Path(make_url(url).database).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["wiped.sqlite3"]


@pytest.mark.parametrize("references", [(), ("k1:a", "k1:b")])
@pytest.mark.parametrize("patron_id", [None, 51])
def test_the_open_links_of_a_patron_are_found_without_those_of_the_library(
    sqlite_store, patron_id, references
):
    """Each end of a link asks for them, and each look at a patron."""
    asked = []

    def note(connection, cursor, statement, parameters, *rest):
        asked.append((statement, parameters))

    engine = sqlite_store.scoped_session()().get_bind()
    event.listen(engine, "before_cursor_execute", note)
    with sqlite_store.reading() as transaction:
        assert transaction.open_links_of_patron("central", patron_id, references) == []
    event.remove(engine, "before_cursor_execute", note)
    selects = [each for each in asked if each[0].startswith("SELECT")]
    assert len(selects) == len(references) + (patron_id is not None)
    with engine.connect() as connection:
        for statement, parameters in selects:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            steps = [step[-1] for step in plan if "card_link" in step[-1]]
            assert not [step for step in steps if step.startswith("SCAN") or step.endswith("(library_id=?)")]
