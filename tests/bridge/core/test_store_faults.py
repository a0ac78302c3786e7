"""The database is full, held, gone or restarted; the clock steps back: refused cleanly, nothing lost."""

from __future__ import annotations

import base64
import resource
import signal
import sqlite3
from contextlib import contextmanager
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, make_url, text

from bridge.accounts.own_account import OwnAccountService
from bridge.accounts.second_factor import SecondFactorPolicy
from bridge.app import create_app_from
from bridge.borrowing import Borrower, NoLongerValid, TokenProblem
from bridge.errors import LogInFailed, StoreUnavailable
from bridge.models import AuditTag, TerminalKind, UnlinkReason
from bridge.services import Services
from bridge.store import open_engine
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


@contextmanager
def held_by_another(path):
    """Let another program hold the database for writing."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@pytest.fixture
def impatient(place_on_sqlite):
    """The bridge, which does not wait five seconds for another program to finish."""
    place = place_on_sqlite
    engine = place.store.scoped_session()().get_bind().engine
    engine.dispose()
    event.listen(engine, "connect", lambda driver, _: driver.execute("PRAGMA busy_timeout = 20"))
    return place


def database_of(place):
    return Path(make_url(place.url).database)


def everything_in(place):
    with open_engine(f"sqlite:///{database_of(place)}").connect() as connection:
        assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
        return [
            connection.execute(text(f"SELECT * FROM {table}")).all()
            for table in ("card_link", "link_request", "challenge", "card_session", "audit_event")
        ]


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
    with held_by_another(database_of(place)):
        with pytest.raises(StoreUnavailable) as caught:
            place.complete_borrow(place.self_check, card, challenge)
        assert caught.value.code == "SQLITE_BUSY"
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
    with held_by_another(database_of(impatient)):
        refused = web.post("/api/v1/challenges", **call)
    assert (refused.status_code, refused.mimetype) == (503, "application/problem+json")
    assert refused.json["type"].endswith(":store-unavailable")
    assert web.post("/api/v1/challenges", **call).status_code == 201


def test_staff_are_told_that_they_cannot_log_in_while_the_database_is_held(impatient, web):
    with held_by_another(database_of(impatient)):
        refused = log_in(web, impatient.password)
    assert refused.status_code == 503
    assert "データベースが一時的に利用できません" in refused.text
    assert log_in(web, impatient.password).status_code == 303


@pytest.mark.parametrize("address", ["/admin/counter/", "/admin/links/"])
def test_staff_are_told_on_a_page_while_the_database_cannot_be_read(impatient, web, address, monkeypatch):
    assert log_in(web, impatient.password).status_code == 303
    impatient.store.dispose()
    path = database_of(impatient)
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


def test_a_locked_account_stays_locked_when_the_clock_steps_back(place):
    for _ in range(5):
        with pytest.raises(LogInFailed):
            place.staff.log_in("hanako", "wrong")
    place.clock.now -= timedelta(hours=1)
    with pytest.raises(LogInFailed):
        place.staff.log_in("hanako", place.password)
    place.clock.now += timedelta(hours=1, minutes=15)
    assert place.staff.log_in("hanako", place.password) == place.librarian
