"""A database of an earlier revision, with data in it, brought up to date."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from alembic import command
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from bridge.audit.chain import ChainVerifier
from bridge.errors import KohaAccountTaken
from bridge.links.consent import ConsentWording, OwnConsent
from bridge.models import (
    ConsentLanguage,
    DeskPass,
    KohaAccount,
    KohaPlugin,
    Librarian,
    LibrarianRole,
    LinkState,
)
from bridge.ports import NO_PASSWORD, LinkGroup
from bridge.store import SqlStore, open_engine, upgrade
from bridge.store.audit import AuditLog
from bridge.store.engine import tables_may_be_rebuilt
from bridge.store.schema import _config, head_revision

ROWS = (
    "INSERT INTO terminal VALUES ('central', 'counter-1', 'c', 'counter', NULL, true, 't1')",
    "INSERT INTO terminal VALUES ('central', 'check-1', 's', 'self_check', 'sc1', true, 't2')",
    "INSERT INTO librarian VALUES ('l1', 'central', 'hanako', 'Hanako', 'librarian', true, 'hash', 0, NULL)",
    (
        "INSERT INTO card_link (link_id, library_id, patron_id, kind, key_id, digest, state, not_after, "
        "linked_at, linked_by) VALUES ('link-1', 'central', 51, 'serial_number', 'k1', 'd1', 'active', "
        "'2030-01-01 00:00:00', '2026-01-01 00:00:00', 'l1')"
    ),
    (
        "INSERT INTO link_request (request_id, library_id, terminal_id, patron_id, librarian_id, state, "
        "started_at, expires_at, link_id) VALUES ('r1', 'central', 'counter-1', 51, 'l1', 'completed', "
        "'2026-01-01 00:00:00', '2026-01-01 00:05:00', 'link-1')"
    ),
    (
        "INSERT INTO card_session (session_id, library_id, terminal_id, link_id, opened_at, expires_at, "
        "token_key_id, token_digest, closed_at) VALUES ('s1', 'central', 'check-1', 'link-1', "
        "'2026-01-01 00:00:00', '2026-01-01 00:15:00', 'k1', 't', '2026-01-01 00:01:00')"
    ),
)
OTHER_LIBRARIAN = (
    "INSERT INTO librarian (librarian_id, library_id, login_name, display_name, role, active, password_hash, "
    "failed_log_ins) VALUES ('l2', 'central', 'taro', 'Taro', 'librarian', true, 'hash', 0)"
)
OPEN_SESSION = (
    "INSERT INTO card_session (session_id, library_id, terminal_id, link_id, opened_at, expires_at, "
    "token_key_id, token_digest, cardnumber_key_id, cardnumber_nonce, cardnumber_ciphertext) VALUES ('ID', "
    "'central', 'check-1', 'link-1', '2026-01-01 00:MM:00', '2026-01-01 00:15:00', "
    "'k1', 'ID', 'k1', 'n', 'c')"
)
CHALLENGE = (
    "INSERT INTO challenge (challenge_id, purpose, library_id, terminal_id, nonce, issued_at, expires_at, "
    "certificate_digest, revocation_status, revocation_source, revocation_as_of) VALUES ('c1', 'borrow', "
    "'central', 'check-1', 'n', '2026-01-01 00:00:00', '2026-01-01 00:02:00', 'd', 'good', 'ocsp', "
    "'2026-01-01 00:00:00')"
)


@pytest.fixture
def first_revision(request, database_url):
    engine = open_engine(database_url)
    config = _config()
    with engine.connect() as connection, tables_may_be_rebuilt(connection), connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for row in ROWS:
            connection.execute(text(row))
        command.upgrade(config, getattr(request, "param", "0001"))
    yield engine
    engine.dispose()


def test_links_requests_and_sessions_survive_the_rebuilding_of_their_tables(first_revision):
    assert upgrade(first_revision) == ("0001", head_revision())
    with first_revision.connect() as connection:
        link = connection.execute(text("SELECT patron_id, patron_reference, digest FROM card_link")).one()
        assert link == (51, None, "d1")
        assert connection.execute(text("SELECT link_id FROM link_request")).scalars().all() == ["link-1"]
        assert connection.execute(text("SELECT link_id FROM card_session")).scalars().all() == ["link-1"]


@pytest.mark.parametrize(
    "broken",
    [
        "DELETE FROM card_link",  # a session refers to it
        "UPDATE card_link SET digest = NULL",
        "UPDATE card_link SET patron_id = NULL",
        "UPDATE card_link SET patron_reference = 'k1:x'",
        "UPDATE card_link SET state = 'resting'",
        "UPDATE card_link SET state = 'suspended'",
        "UPDATE card_link SET state = 'ended'",
        "UPDATE card_link SET ended_at = linked_at, digest = NULL, ended_reason = 'mistake'",
        "UPDATE card_link SET state = 'ended', ended_at = linked_at, digest = NULL",
        "UPDATE card_link SET represented_until = '2030-01-01'",
        "UPDATE card_link SET slot = 0",
    ],
)
def test_references_and_constraints_hold_after_the_rebuilding(first_revision, broken):
    upgrade(first_revision)
    with pytest.raises(IntegrityError), first_revision.begin() as connection:
        connection.execute(text(broken))


def test_one_link_has_one_open_session(first_revision):
    upgrade(first_revision)
    with first_revision.begin() as connection:
        connection.execute(text(OPEN_SESSION.replace("ID", "a").replace("MM", "01")))
    with pytest.raises(IntegrityError), first_revision.begin() as connection:
        connection.execute(text(OPEN_SESSION.replace("ID", "b").replace("MM", "02")))


def test_two_open_links_of_a_patron_have_not_the_same_number(first_revision):
    upgrade(first_revision)
    second = ROWS[3].replace("link-1", "link-2").replace("'d1'", "'d2'")
    second = second.replace("linked_by)", "linked_by, slot)").replace("'l1')", "'l1', 1)")
    with pytest.raises(IntegrityError), first_revision.begin() as connection:
        connection.execute(text(second))


def test_an_open_identifier_is_still_unique_after_the_rebuilding(first_revision):
    upgrade(first_revision)
    same_card = ROWS[3].replace("link-1", "link-2").replace("51", "52")
    same_card = same_card.replace("linked_by)", "linked_by, slot)").replace("'l1')", "'l1', 1)")
    with pytest.raises(IntegrityError), first_revision.begin() as connection:
        connection.execute(text(same_card))


@pytest.mark.parametrize("first_revision", ["0003"], indirect=True)
def test_a_challenge_on_its_way_keeps_its_answer_and_a_new_one_may_wait_for_it(first_revision):
    with first_revision.begin() as connection:
        connection.execute(text(CHALLENGE))
    assert upgrade(first_revision) == ("0003", head_revision())
    with first_revision.begin() as connection:
        kept = connection.execute(text("SELECT revocation_status, revocation_why FROM challenge")).one()
        assert kept == ("good", None)
        waiting = CHALLENGE.replace("'c1'", "'c2'").replace("'good', 'ocsp'", "NULL, NULL")
        connection.execute(text(waiting))
        link = connection.execute(
            text("SELECT state, revocation_status, suspended_reason FROM card_link")
        ).one()
        assert link == ("active", None, None)


@pytest.mark.parametrize("first_revision", ["0004"], indirect=True)
def test_links_and_sessions_stay_while_machines_get_a_place_for_guesses(first_revision):
    assert upgrade(first_revision) == ("0004", head_revision())
    with first_revision.begin() as connection:
        assert connection.execute(text("SELECT link_id FROM card_session")).scalars().all() == ["link-1"]
        assert connection.execute(text("SELECT count(*) FROM token_guesses")).scalar_one() == 0


@pytest.mark.parametrize("first_revision", ["0005"], indirect=True)
def test_events_of_before_are_chained_and_can_no_longer_be_changed(first_revision):
    with first_revision.begin() as connection:
        for number in range(7):
            connection.execute(
                text(
                    "INSERT INTO audit_event (at, library_id, tag, actor_kind, actor_id, subject, "
                    "terminal_id, details) VALUES ('2026-01-01 00:00:00.5', :library, "
                    "'card_session:denied', 'terminal', 'c1', 's1', NULL, :details)"
                ),
                {"library": ("central", "harbour")[number % 2], "details": '{"why": "x", "problem": "y"}'},
            )
    upgrade(first_revision)
    log = AuditLog(first_revision)
    assert log.libraries() == ["central", "harbour"]
    for library_id, count in (("central", 4), ("harbour", 3)):
        with log.snapshot(library_id) as snapshot:
            verifier = ChainVerifier(library_id)
            assert [*verifier.follow(snapshot.events), *verifier.end(snapshot.head)] == []
            assert (verifier.head.sequence, snapshot.seal) == (count, None)
    with pytest.raises(IntegrityError), first_revision.begin() as connection:
        connection.execute(text("DELETE FROM audit_event"))


@pytest.mark.parametrize("first_revision", ["0006"], indirect=True)
def test_the_cards_of_open_links_are_claimed(first_revision):
    upgrade(first_revision)
    with first_revision.connect() as connection:
        claims = connection.execute(text("SELECT key_id, library_id, digest, link_id FROM card_claim")).all()
    assert claims == [("k1", "central", "d1", "link-1")]


@pytest.mark.parametrize("first_revision", ["0007"], indirect=True)
def test_a_librarian_of_before_begins_with_the_first_generation_of_sessions(first_revision):
    assert upgrade(first_revision) == ("0007", head_revision())
    with first_revision.connect() as connection:
        assert connection.execute(text("SELECT session_generation FROM librarian")).scalars().all() == [0]


@pytest.mark.parametrize("first_revision", ["0008"], indirect=True)
def test_open_links_of_one_patron_are_numbered_and_one_session_on_a_link_stays_open(first_revision):
    more = (
        ROWS[3].replace("link-1", "link-2").replace("'d1'", "'d2'").replace("'2026-01-01", "'2026-02-01"),
        ROWS[3].replace("link-1", "link-3").replace("'d1'", "'d3'").replace("51", "52"),
        (
            "INSERT INTO card_link (link_id, library_id, patron_id, kind, key_id, state, not_after,"
            " linked_at, linked_by, ended_at, ended_reason) VALUES ('over', 'central', 51, 'serial_number',"
            " 'k1', 'ended', '2030-01-01 00:00:00', '2025-01-01 00:00:00', 'l1', '2025-06-01 00:00:00',"
            " 'card_lost')"
        ),
        *(OPEN_SESSION.replace("ID", f"open-{minute}").replace("MM", f"0{minute}") for minute in (1, 2, 3)),
    )
    with first_revision.begin() as connection:
        for row in more:
            connection.execute(text(row))
    assert upgrade(first_revision) == ("0008", head_revision())
    with first_revision.begin() as connection:
        slots = dict(connection.execute(text("SELECT link_id, slot FROM card_link")).all())
        assert slots == {"link-1": 1, "link-2": 2, "link-3": 1, "over": 1}
        still_open = "SELECT session_id FROM card_session WHERE closed_at IS NULL"
        assert connection.execute(text(still_open)).scalars().all() == ["open-3"]
        kept = "SELECT count(*) FROM card_session WHERE cardnumber_ciphertext IS NOT NULL"
        assert connection.execute(text(kept)).scalar_one() == 1


@pytest.mark.parametrize("first_revision", ["0014"], indirect=True)
def test_the_desk_is_opened_for_a_librarian_of_before(first_revision):
    assert upgrade(first_revision) == ("0014", head_revision())
    with SqlStore(first_revision).transaction() as transaction:
        transaction.add_plugin(KohaPlugin("p1", "central", "Koha"), "digest")
        transaction.add_koha_account(KohaAccount("central", 51, "l1"))
        desk_pass = DeskPass("l1", 0, "p1", datetime(2026, 11, 20, tzinfo=UTC))
        transaction.add_desk_pass(desk_pass, "token")
        assert transaction.find_desk_pass("token") == desk_pass


@pytest.mark.parametrize("first_revision", ["0009"], indirect=True)
def test_a_link_made_before_there_were_tags_bears_none_and_no_sweep_speaks_for_it(first_revision):
    with first_revision.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO revocation_sweep VALUES"
                " ('s', '2026-01-01 00:00:00', NULL, '', 1, 0, 0, '2026-01-01 00:00:01')"
            )
        )
    assert upgrade(first_revision) == ("0009", head_revision())
    with SqlStore(first_revision).transaction() as transaction:
        link = transaction.find_link("central", "link-1")
        assert (link.state, link.revocation) == (LinkState.ACTIVE, None)
        assert transaction.active_link_groups() == {LinkGroup("central", None, None): 1}
        assert transaction.swept_groups("s") == set()


@pytest.mark.parametrize("first_revision", ["0011"], indirect=True)
def test_terminals_of_before_keep_their_tokens_and_were_never_seen(first_revision):
    assert upgrade(first_revision) == ("0011", head_revision())
    with first_revision.begin() as connection:
        columns = "token_digest, enrolment_digest, last_seen_at, reader, output, agent_version"
        rows = connection.execute(text(f"SELECT {columns} FROM terminal ORDER BY token_digest")).all()
        assert rows == [("t1", *[None] * 5), ("t2", *[None] * 5)]
        connection.execute(text("UPDATE terminal SET enrolment_digest = 'e' WHERE token_digest = 't1'"))
    with pytest.raises(IntegrityError), first_revision.begin() as connection:
        connection.execute(text("UPDATE terminal SET enrolment_digest = 'e' WHERE token_digest = 't2'"))


@pytest.mark.parametrize("first_revision", ["0012"], indirect=True)
def test_what_there_is_already_is_found_by_the_indexes_of_the_lists(first_revision):
    assert upgrade(first_revision) == ("0012", head_revision())
    with first_revision.connect() as connection:
        found = {
            index["name"] for table in ("card_link", "audit_event") for index in indexes(connection, table)
        }
        newest = "SELECT link_id FROM card_link WHERE library_id = 'central' ORDER BY linked_at DESC"
        assert connection.scalars(text(newest)).all() == ["link-1"]
    assert found >= {
        "ix_card_link_newest",
        "ix_card_link_state",
        "ix_card_link_not_after",
        "ix_audit_event_tag",
        "ix_audit_event_terminal",
        "ix_audit_event_librarian",
    }


def indexes(connection, table):
    return inspect(connection).get_indexes(table)


@pytest.mark.parametrize("first_revision", ["0013"], indirect=True)
def test_no_patron_of_before_is_gone_already(first_revision):
    assert upgrade(first_revision) == ("0013", head_revision())
    with SqlStore(first_revision).transaction() as transaction:
        links = transaction.links_of_library("central", with_ended=True, position="", limit=10)
    assert links
    assert {link.patron_gone_at for link in links} == {None}


@pytest.mark.parametrize("first_revision", ["0016"], indirect=True)
def test_no_day_is_counted_before_somebody_asks(first_revision):
    assert upgrade(first_revision) == ("0016", head_revision())
    with SqlStore(first_revision).reading() as transaction:
        assert transaction.counted_days("central", date(2026, 1, 1), date(2026, 12, 31)) == {}


@pytest.mark.parametrize("first_revision", ["0017"], indirect=True)
def test_a_link_of_before_keeps_the_version_of_its_consent_and_a_library_may_have_its_own(first_revision):
    with first_revision.begin() as connection:
        connection.execute(text("UPDATE card_link SET consent_version = '2026-11-22'"))
    assert upgrade(first_revision) == ("0017", head_revision())
    wording = ConsentWording("2026-11-23-own1", dict.fromkeys(ConsentLanguage, "x"))
    set_at = datetime(2026, 11, 23, tzinfo=UTC)
    with SqlStore(first_revision).transaction() as transaction:
        assert transaction.find_link("central", "link-1").consent_version == "2026-11-22"
        assert transaction.last_consent("central") is None
        transaction.add_consent("central", 1, wording, set_at)
        assert transaction.last_consent("central") == OwnConsent(1, set_at, wording)
    again = (
        "INSERT INTO consent_wording SELECT library_id, 2, version, japanese, english, set_at"
        " FROM consent_wording"
    )
    with pytest.raises(IntegrityError), first_revision.begin() as connection:
        connection.execute(text(again))


@pytest.mark.parametrize("first_revision", ["0018"], indirect=True)
def test_an_end_of_many_links_has_two_persons_in_the_database_itself(first_revision):
    assert upgrade(first_revision) == ("0018", head_revision())
    request = (
        "INSERT INTO bulk_unlinking (bulk_id, library_id, reason, state, link_count, requested_by, "
        "requested_at, expires_at, decided_by, decided_at, decision, ended, skipped, closed_at) VALUES ("
        "'b1', 'central', 'mistake', :state, 1, 'l1', '2026-01-01 00:00:00', '2026-01-08 00:00:00', "
        ":decided_by, '2026-01-02 00:00:00', 'links_checked', 0, 0, NULL)"
    )
    for state, decided_by in (("approved", "l1"), ("approved", None), ("requested", "l1"), ("done", "l2")):
        with pytest.raises(IntegrityError), first_revision.begin() as connection:
            connection.execute(text(request), {"state": state, "decided_by": decided_by})
    with first_revision.begin() as connection:
        connection.execute(text(OTHER_LIBRARIAN))
        connection.execute(text(request), {"state": "approved", "decided_by": "l2"})
        connection.execute(text("INSERT INTO bulk_unlinking_link VALUES ('b1', 'link-1', NULL)"))
    with SqlStore(first_revision).reading() as transaction:
        assert transaction.bulk_links_to_end("b1", 10) == ["link-1"]


@pytest.mark.parametrize("first_revision", ["0019"], indirect=True)
def test_staff_of_before_keep_their_passwords_and_two_cannot_be_one_in_koha(first_revision):
    assert upgrade(first_revision) == ("0019", head_revision())
    with SqlStore(first_revision).transaction() as transaction:
        account = transaction.account_of("l1")
        assert account.librarian.koha_patron_id is None
        assert account.password_hash != NO_PASSWORD
        transaction.set_password_source("l1", 51, NO_PASSWORD)
        assert transaction.account_of("l1").librarian.koha_patron_id == 51
        other = Librarian("l9", "central", "other", "次郎", LibrarianRole.LIBRARIAN, koha_patron_id=51)
        with pytest.raises(KohaAccountTaken):
            transaction.add_librarian(other, NO_PASSWORD)


@pytest.mark.parametrize("first_revision", ["0020"], indirect=True)
def test_the_events_of_before_are_found_by_what_they_are_about(first_revision):
    event = (
        "INSERT INTO audit_event (at, library_id, tag, actor_kind, actor_id, subject, terminal_id, details, "
        "sequence, hash) VALUES ('2026-01-01 00:00:00', 'central', 'card_link:created', 'terminal', 'c1', "
        "'link-1', NULL, '{}', 1, 'h')"
    )
    with first_revision.begin() as connection:
        connection.execute(text(event))
    assert upgrade(first_revision) == ("0020", head_revision())
    with first_revision.connect() as connection:
        names = {index["name"] for index in indexes(connection, "audit_event")}
        found = connection.execute(text("SELECT count(*) FROM audit_event WHERE subject = 'link-1'"))
        assert found.scalar_one() == 1
    assert "ix_audit_event_subject" in names
