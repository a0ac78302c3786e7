"""The database is full, held, gone or restarted; the clock steps back: refused cleanly, nothing lost."""

from __future__ import annotations

import base64
import resource
import signal
import socket
from contextlib import contextmanager
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from alembic import command
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import OperationalError

from bridge.accounts.own_account import OwnAccountService
from bridge.accounts.second_factor import SecondFactorPolicy
from bridge.app import create_app_from
from bridge.audit.chain import Finding, FindingKind
from bridge.audit.log import AuditService
from bridge.borrowing import Borrower, NoLongerValid, TokenProblem
from bridge.errors import EnrolmentCodeExpired, LogInFailed, NoLinkRequest, StoreUnavailable
from bridge.housekeeping import Housekeeping
from bridge.models import AuditTag, LinkRequestState, LinkState, TerminalKind, UnlinkReason
from bridge.patrons.category import CategoryService
from bridge.services import Services
from bridge.store import SqlStore, open_engine, upgrade
from bridge.store.engine import BEGIN_OPTION, CONNECT_TIMEOUT, tables_may_be_rebuilt
from bridge.store.schema import _config, head_revision
from bridge.terminals.enrolment import EnrolmentService
from bridge.terminals.service import TerminalService
from config import WebSettings
from jpki.errors import ChallengeAlreadyUsed, ChallengeExpired


@contextmanager
def file_size_limit(size):
    """Let no file of this process grow, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


TABLES_THAT_ARE_WRITTEN = (
    "card_link, link_request, challenge, card_session, audit_event, audit_head, terminal, librarian"
)

IMPATIENT = {"sqlite": "PRAGMA busy_timeout = 20", "postgresql": "SET lock_timeout = '20ms'"}

TOLD = {"sqlite": "SQLITE_BUSY", "postgresql": "55P03"}  # PostgreSQL, appendix A: lock_not_available


@contextmanager
def held_by_another(url, tables=TABLES_THAT_ARE_WRITTEN):
    """Let another program keep everybody from writing; all may read. On SQLite that is the whole file."""
    other = open_engine(url)
    with other.execution_options(**{BEGIN_OPTION: "IMMEDIATE"}).connect() as connection, connection.begin():
        if other.dialect.name == "postgresql":
            connection.exec_driver_sql(f"LOCK TABLE {tables} IN EXCLUSIVE MODE")
        yield
    other.dispose()


def engine_of(place):
    return place.store._engine  # the one that writes


@pytest.fixture
def impatient(place):
    """The bridge, which does not wait five seconds for another program to finish."""
    engine = engine_of(place)
    engine.dispose()

    def set_up(driver, _):
        cursor = driver.cursor()
        cursor.execute(IMPATIENT[engine.dialect.name])
        cursor.close()
        driver.commit()

    event.listen(engine, "connect", set_up)
    yield place
    event.remove(engine, "connect", set_up)


def database_of(place):
    return Path(make_url(place.url).database)


def everything_in(place):
    engine = open_engine(place.url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
        rows = [
            sorted(map(repr, connection.execute(text(f"SELECT * FROM {table}"))))
            for table in ("card_link", "link_request", "challenge", "card_session", "audit_event")
        ]
    engine.dispose()
    return rows


def test_a_full_disk_refuses_a_link_and_once_there_is_room_it_is_made(place_on_sqlite):
    place = place_on_sqlite
    card = place.card()
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    place.store.dispose()  # so that the log is written back and has to grow anew
    before = everything_in(place)
    with file_size_limit(1), pytest.raises(StoreUnavailable):
        place.complete_link(place.counter, card, challenge)
    assert everything_in(place) == before
    assert place.complete_link(place.counter, card, challenge).ended_at is None


def test_a_database_held_by_another_program_refuses_to_write_and_still_reads(impatient):
    place = impatient
    card = place.card()
    place.link(card)
    opened = place.borrow(card)
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    before = everything_in(place)
    with held_by_another(place.url):
        with pytest.raises(StoreUnavailable) as caught:
            place.complete_borrow(place.self_check, card, challenge)
        assert caught.value.code == TOLD[engine_of(place).dialect.name]
        assert caught.value.__suppress_context__
        found = place.borrowing.resolve(place.library, "sc1", opened.token.value)
        assert isinstance(found, Borrower)
    assert everything_in(place) == before
    assert place.complete_borrow(place.self_check, card, challenge).token != opened.token


@pytest.fixture
def web(impatient):
    return browser_of(impatient)


def browser_of(place):
    """Return a client of the application over the bridge."""
    not_asked = {each.name: None for each in fields(Services)}
    services = Services(
        **not_asked
        | {
            "registration": place.registration,
            "borrowing": place.borrowing,
            "staff": place.staff,
            "own_account": OwnAccountService(place.environment, place.staff, SecondFactorPolicy.OPTIONAL),
            "bulk_unlinking": place.bulk_unlinking,
            "terminals": TerminalService(place.environment, place.tokens.idle_limit),
            "library_names": {place.library: "中央図書館"},
            "clock": place.clock,
        }
    )
    settings = WebSettings("127.0.0.1", 0, secret_key="s" * 40, secure_cookies=False)
    return create_app_from(services, place.store.scoped_session(), settings).test_client()


def log_in(web, password):
    page = web.get("/admin/login").text
    csrf = page.split('name="csrf_token"')[1].split('value="')[1].split('"')[0]
    return web.post("/admin/login", data={"csrf_token": csrf, "login_name": "hanako", "password": password})


def test_a_terminal_is_told_503_while_the_database_is_held(impatient, web):
    issued = impatient.staff.add_terminal(
        impatient.command,
        library_id=impatient.library,
        terminal_id="check-9",
        name="9",
        kind=TerminalKind.SELF_CHECK,
    )
    card = impatient.card()
    impatient.link(card)
    body = {"purpose": "borrow", "certificate": base64.b64encode(card.certificate_der).decode()}
    call = {"json": body, "headers": {"Authorization": f"Bearer {issued.token}"}}
    with held_by_another(impatient.url):
        refused = web.post("/api/v1/challenges", **call)
    assert (refused.status_code, refused.mimetype) == (503, "application/problem+json")
    assert refused.json["type"].endswith(":store-unavailable")
    assert web.post("/api/v1/challenges", **call).status_code == 201


def test_staff_are_told_that_they_cannot_log_in_while_the_database_is_held(impatient, web):
    with held_by_another(impatient.url):
        refused = log_in(web, impatient.password)
    assert refused.status_code == 503
    assert "データベースが一時的に利用できません" in refused.text
    assert log_in(web, impatient.password).status_code == 303


@pytest.mark.parametrize("address", ["/admin/counter/", "/admin/links/"])
def test_staff_are_told_on_a_page_while_the_database_cannot_be_read(place_on_sqlite, address):
    web = browser_of(place_on_sqlite)
    assert log_in(web, place_on_sqlite.password).status_code == 303
    place_on_sqlite.store.dispose()
    path = database_of(place_on_sqlite)
    away = path.rename(path.with_suffix(".away"))
    path.mkdir()
    refused = web.get(address)
    path.rmdir()
    away.rename(path)
    assert refused.status_code == 503
    assert "データベースが一時的に利用できません" in refused.text


ODD_ADDRESSES = {
    "/admin/links/%00/unlink": 404,
    "/admin/counter/requests/%00": 404,
    "/admin/audit/?search=%00": 404,
    "/admin/links/?flt0_0=%00": 404,
    "/admin/links/?page=9223372036854775807": 200,
    "/admin/audit/?page=99999999999999999999999999": 200,
    "/admin/audit/?page=-1": 200,
    "/admin/links/?flt0_0=99999999999999999999999999": 200,
    "/admin/links/?sort=99999999999999999999": 200,
    "/admin/audit/?page_size=99999999999999999999": 200,
}
"""What a database cannot look up, and what is answered."""


@pytest.mark.parametrize(("address", "status"), ODD_ADDRESSES.items())
def test_an_address_that_no_database_can_look_up_is_answered(place, address, status):
    web = browser_of(place)
    assert log_in(web, place.password).status_code == 303
    assert web.get(address).status_code == status


# PostgreSQL

DISK_IS_FULL = (
    "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
)


@contextmanager
def no_room_for(place, table):
    """Let the server refuse what needs a new page of a table, as where its disk is full (53100)."""
    trigger = f"CREATE TRIGGER no_room BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION disk_is_full()"
    engine = open_engine(place.url)
    with engine.begin() as connection:
        for statement in (DISK_IS_FULL, trigger):
            connection.exec_driver_sql(statement)
    try:
        yield
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP FUNCTION disk_is_full CASCADE")
        engine.dispose()


@pytest.mark.parametrize("table", ["card_link", "card_claim", "audit_event"])
def test_a_full_disk_of_the_server_refuses_a_link_whole_and_once_there_is_room_it_is_made(
    place_on_postgresql, table
):
    place = place_on_postgresql
    card = place.card()
    request = place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    with no_room_for(place, table), pytest.raises(StoreUnavailable) as caught:
        place.complete_link(place.counter, card, challenge)
    assert caught.value.code == "53100"
    assert everything_in(place)[0] == []
    assert place.audit(AuditTag.LINK_CREATED) == []
    told = place.registration.request(place.librarian, request.request_id)
    if told.state is LinkRequestState.REFUSED:  # where there was room for that
        assert told.problem == StoreUnavailable.slug
        place.start()
        challenge = place.registration.begin(place.counter, card.certificate_der)
    link = place.complete_link(place.counter, card, challenge)
    assert [event.subject for event in place.audit(AuditTag.LINK_CREATED)] == [link.link_id]


def test_a_terminal_is_told_503_while_the_disk_of_the_server_is_full(place_on_postgresql):
    place = place_on_postgresql
    card = place.card()
    place.link(card)
    issued = place.staff.add_terminal(
        place.command, library_id=place.library, terminal_id="check-9", name="9", kind=TerminalKind.SELF_CHECK
    )
    body = {"purpose": "borrow", "certificate": base64.b64encode(card.certificate_der).decode()}
    call = {"json": body, "headers": {"Authorization": f"Bearer {issued.token}"}}
    web = browser_of(place)
    with no_room_for(place, "challenge"):
        refused = web.post("/api/v1/challenges", **call)
    assert (refused.status_code, refused.mimetype) == (503, "application/problem+json")
    assert refused.json["type"].endswith(":store-unavailable")
    assert web.post("/api/v1/challenges", **call).status_code == 201


@contextmanager
def unable_to_write(place, server):
    """Let no process of the server that serves the bridge write to a file, its log of changes included."""
    engine = engine_of(place)
    engine.dispose()

    def limit(driver, _):
        server.limit_file_size(driver.info.backend_pid, 1)

    event.listen(engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(engine, "connect", limit)
        engine.dispose()


def test_a_server_that_cannot_write_its_log_falls_and_comes_back_with_nothing_lost(
    place_on_postgresql, postgresql_server
):
    place = place_on_postgresql
    card, other_card = place.card(), place.card()
    link = place.link(card)
    place.start(cardnumber="L-4711-000816")
    challenge = place.registration.begin(place.counter, other_card.certificate_der)
    links, requests, _, _, events = everything_in(place)
    with unable_to_write(place, postgresql_server), pytest.raises(StoreUnavailable):
        place.complete_link(place.counter, other_card, challenge)
    postgresql_server.wait()
    after = everything_in(place)
    assert (after[0], after[1], after[4]) == (links, requests, events)
    assert place.registration.link(place.librarian, link.link_id) == link
    # A challenge does not wait for the disk: the server's fall may have taken it, the order it has not.
    challenge = place.registration.begin(place.counter, other_card.certificate_der)
    assert place.complete_link(place.counter, other_card, challenge).patron_id == 52


def test_every_connection_waits_five_seconds_for_a_lock_and_no_longer(place_on_postgresql):
    with engine_of(place_on_postgresql).connect() as connection:
        for _ in range(2):
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "5s"
            connection.rollback()


def test_a_server_that_takes_the_call_and_never_answers_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        # The shortest that libpq knows.
        url = f"postgresql+psycopg://bridge@127.0.0.1:{port}/bridge?connect_timeout=2"
        store = SqlStore(open_engine(url))
        with pytest.raises(StoreUnavailable), store.reading() as transaction:
            transaction.key_checks()


@pytest.mark.parametrize("given", ["", "?connect_timeout=3"])
def test_a_time_limit_for_the_connection_is_always_set(given, monkeypatch):
    asked = []

    def connect(*_, **values):
        asked.append(str(values["connect_timeout"]))
        raise psycopg.OperationalError

    engine = open_engine(f"postgresql+psycopg://bridge@127.0.0.1/bridge{given}")
    monkeypatch.setattr(engine.dialect, "connect", connect)
    with pytest.raises(OperationalError):
        engine.connect()
    assert asked == [given[-1:] or str(CONNECT_TIMEOUT)]


def backends_ended(url):
    """Let the server end all connections to the database, as its restart does."""
    administration = open_engine(url.replace("/bridge?", "/postgres?"))
    with administration.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'bridge'")
        )
    administration.dispose()


def test_connections_that_the_server_ended_are_made_anew(place_on_postgresql):
    place = place_on_postgresql
    card = place.card()
    place.link(card)
    backends_ended(place.url)
    assert isinstance(place.resolve(place.borrow(card)), Borrower)


def test_what_was_under_way_when_the_server_ended_it_is_refused_and_undone(place_on_postgresql):
    place = place_on_postgresql

    def remove_while_the_server_ends_it():
        with place.store.transaction() as transaction:
            transaction.remove_terminal(place.library, "check-1")
            backends_ended(place.url)
            transaction.find_terminal(place.library, "counter-1")

    with pytest.raises(StoreUnavailable) as caught:
        remove_while_the_server_ends_it()
    assert caught.value.code == "57P01"
    assert place.self_check in place.staff.terminals(place.library)


@contextmanager
def stopped(server):
    """Let the server be down."""
    server.stop()
    try:
        yield
    finally:
        server.start()


def test_a_restart_of_the_server_refuses_and_loses_nothing(place_on_postgresql, postgresql_server):
    place = place_on_postgresql
    card, other_card = place.card(), place.card()
    link = place.link(card)
    opened = place.borrow(card)
    borrowing = place.borrowing.begin(place.self_check, card.certificate_der)
    request = place.start(cardnumber="L-4711-000816")
    linking = place.registration.begin(place.counter, other_card.certificate_der)
    with stopped(postgresql_server):
        for refused in (
            lambda: place.resolve(opened),
            lambda: place.complete_borrow(place.self_check, card, borrowing),
            lambda: place.complete_link(place.counter, other_card, linking),
            lambda: place.registration.unlink(place.librarian, link.link_id, reason=UnlinkReason.CARD_LOST),
        ):
            with pytest.raises(StoreUnavailable):
                refused()
    assert place.stands_for(place.resolve(opened)) == (opened.session_id, place.cardnumber)
    assert place.complete_borrow(place.self_check, card, borrowing).token != opened.token
    assert place.complete_link(place.counter, other_card, linking).patron_id == 52
    assert place.registration.request(place.librarian, request.request_id).link_id is not None
    assert [event.subject for event in place.audit(AuditTag.LINK_ENDED)] == []


def test_a_transaction_over_a_restart_of_the_server_is_undone(place_on_postgresql, postgresql_server):
    place = place_on_postgresql
    link = place.link(place.card())

    def end_while_the_server_restarts():
        with place.store.transaction() as transaction:
            transaction.end_link(place.library, link.link_id, UnlinkReason.CARD_LOST.value, place.clock())
            with stopped(postgresql_server):
                pass
            transaction.find_terminal(place.library, "counter-1")

    with pytest.raises(StoreUnavailable):
        end_while_the_server_restarts()
    assert place.registration.link(place.librarian, link.link_id) == link


# Bringing the database up to date


def test_a_database_that_is_held_is_not_brought_up_to_date_and_that_is_told(database_url):
    engine = open_engine(database_url)
    config = _config()
    with engine.connect() as connection, tables_may_be_rebuilt(connection), connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0017")
    engine.dispose()
    impatient = IMPATIENT[engine.dialect.name]
    event.listen(engine, "connect", lambda driver, _: driver.cursor().execute(impatient))
    with held_by_another(database_url, "alembic_version"), pytest.raises(StoreUnavailable) as caught:
        upgrade(engine)
    assert caught.value.code == TOLD[engine.dialect.name]
    assert upgrade(engine) == ("0017", head_revision())
    engine.dispose()


# The clock


def test_a_clock_that_steps_back_lets_nothing_live_longer_than_it_should(place):
    card = place.card()
    place.link(card)
    opened = place.borrow(card)
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    place.clock.advance(minutes=3)
    with pytest.raises(ChallengeExpired):
        place.complete_borrow(place.self_check, card, challenge)
    assert isinstance(place.resolve(opened), NoLongerValid)
    place.clock.now -= timedelta(minutes=3)
    with pytest.raises(ChallengeAlreadyUsed):
        place.complete_borrow(place.self_check, card, challenge)
    assert isinstance(place.resolve(opened), NoLongerValid)


def test_a_session_that_began_in_the_future_is_over(place):
    card = place.card()
    place.link(card)
    opened = place.borrow(card)
    place.clock.now -= timedelta(seconds=59)  # as the clock of another node may differ
    assert isinstance(place.resolve(opened), Borrower)
    place.clock.now -= timedelta(seconds=2)
    assert place.resolve(opened) == NoLongerValid(TokenProblem.EXPIRED)


def test_a_challenge_from_the_future_is_refused(place):
    card = place.card()
    place.link(card)
    challenge = place.borrowing.begin(place.self_check, card.certificate_der)
    place.clock.now -= timedelta(seconds=2)
    with pytest.raises(ChallengeExpired):
        place.complete_borrow(place.self_check, card, challenge)


def test_an_order_of_the_future_is_over_and_does_not_stand_in_the_way(place):
    card = place.card()
    order = place.start()
    place.clock.now -= timedelta(seconds=59)
    assert place.registration.pending(place.counter) is not None
    place.clock.now -= timedelta(hours=1)
    told = place.registration.request(place.librarian, order.request_id)
    assert told.state is LinkRequestState.EXPIRED
    assert place.registration.pending(place.counter) is None
    with pytest.raises(NoLinkRequest):
        place.registration.begin(place.counter, card.certificate_der)
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    place.complete_link(place.counter, card, challenge)


def test_an_enrolment_code_of_the_future_is_over(place):
    enrolment = EnrolmentService(place.environment)
    terminal = {"library_id": place.library, "terminal_id": "counter-1"}
    drawn = enrolment.draw_code(place.command, **terminal)
    place.clock.now -= timedelta(seconds=61)
    with pytest.raises(EnrolmentCodeExpired):
        enrolment.enrol(drawn.code.grouped(), "0" * 64)


def test_nothing_is_ended_or_deleted_early_and_the_log_stays_whole(place):
    card = place.card()
    link = place.link(card)
    ended = place.link(place.card())
    place.registration.unlink(place.librarian, ended.link_id, reason=UnlinkReason.MISTAKE)
    place.clock.now -= timedelta(days=400)
    housekeeping = Housekeeping(
        place.environment,
        CategoryService(place.environment),
        place.bulk_unlinking,
        place.command,
        account_gone=timedelta(days=7),
        session_retention=timedelta(days=30),
        idle_limit=timedelta(seconds=120),
    )
    assert [each for each in housekeeping.run(dry_run=False) if each.count] == []
    place.clock.now += timedelta(days=400)
    assert place.registration.link(place.librarian, link.link_id).state is LinkState.ACTIVE
    place.borrow(card)
    found = list(AuditService(place.environment, place.store.audit_log()).check(place.library))
    # The store of these tests seals nothing.
    assert [each.kind for each in found if isinstance(each, Finding)] == [FindingKind.NOT_SEALED]


def test_a_locked_account_stays_locked_when_the_clock_steps_back(place):
    for _ in range(5):
        with pytest.raises(LogInFailed):
            place.staff.log_in("hanako", "wrong")
    place.clock.now -= timedelta(hours=1)
    with pytest.raises(LogInFailed):
        place.staff.log_in("hanako", place.password)
    place.clock.now += timedelta(hours=1, minutes=15)
    assert place.staff.log_in("hanako", place.password) == place.librarian
