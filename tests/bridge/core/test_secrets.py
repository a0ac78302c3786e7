"""Nothing secret in the log, in the tables or in the database's files."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from sqlalchemy import make_url, select

from bridge.errors import BridgeError, LogInFailed
from bridge.models import AgentStep, TerminalKind, UnlinkReason
from bridge.store import AuditEventRow, CardLinkRow
from bridge.store.tables import Base
from jpki.errors import JpkiError
from jpki.simulator.pki import CardProfile


def live(place) -> dict[str, bytes]:
    """Link, borrow, fail and end; return what must not be found anywhere, by name."""
    card = place.card(CardProfile.SERIAL_20_OCTETS)  # too long to be found by chance
    issued = place.staff.add_terminal(
        place.command, library_id=place.library, terminal_id="x", name="x", kind=TerminalKind.COUNTER
    )
    place.staff.log_in("hanako", place.password)
    with pytest.raises(LogInFailed):
        place.staff.log_in("hanako", place.password + "!")
    place.start()
    challenge = place.registration.begin(place.counter, card.certificate_der)
    place.registration.progress(place.counter, challenge.challenge_id, AgentStep.PIN_REQUESTED, 3)
    place.complete_link(place.counter, card, challenge)
    with pytest.raises((BridgeError, JpkiError)):
        place.complete_link(place.counter, card, challenge)
    closed, running = place.borrow(card), place.borrow(card)
    place.resolve(closed)
    place.resolve(running)
    place.resolve(running, "sc2")
    serial = card.serial_number
    return {
        "serial number in decimal": str(serial).encode(),
        "serial number in hex": f"{serial:x}".encode(),
        "serial number in upper case hex": f"{serial:X}".encode(),
        "serial number in bytes": serial.to_bytes(20, "big"),
        "certificate": card.certificate_der,
        "card number": place.cardnumber.encode(),
        "name": place.name.encode(),
        "password": place.password.encode(),
        "terminal token": issued.token.encode(),
        "closed token": closed.token.value.encode(),
        "running token": running.token.value.encode(),
    }


def found_in(haystack: bytes, secrets: dict[str, bytes]) -> list[str]:
    return [name for name, value in secrets.items() if value in haystack]


def test_the_log_at_its_lowest_level_holds_no_secret(place, caplog):
    caplog.set_level(1)
    # SQLAlchemy keeps its own level, above that of the settings; this one shows its statements.
    caplog.set_level(logging.INFO, logger="sqlalchemy.engine")
    secrets = live(place)
    session = place.store.scoped_session()
    secrets["identifier digest"] = session.scalars(select(CardLinkRow.digest)).one().encode()
    session.remove()
    text = "\n".join(f"{record.getMessage()} {record.args} {record.exc_text}" for record in caplog.records)
    assert "SELECT" in text  # the log is on
    assert found_in(text.encode(), secrets) == []


def test_the_tables_of_the_database_hold_no_secret(place):
    secrets = live(place)
    session = place.store.scoped_session()
    rows = [
        value
        for table in Base.metadata.sorted_tables
        for row in session.execute(select(table))
        for value in row
    ]
    session.remove()
    assert len(rows) > 200
    assert found_in(b"\n".join(repr(value).encode() for value in rows), secrets) == []
    assert found_in(b"\n".join(value for value in rows if isinstance(value, bytes)), secrets) == []


def test_the_files_of_the_database_hold_no_secret(place_on_sqlite):
    secrets = live(place_on_sqlite)
    files = list(Path(make_url(place_on_sqlite.url).database).parent.glob("bridge.sqlite3*"))
    assert len(files) == 3  # the file, its log and the log's index
    for file in files:
        assert found_in(file.read_bytes(), secrets) == []


def test_the_audit_log_holds_references_only(place):
    live(place)
    link_digests_and_more = set()
    session = place.store.scoped_session()
    for table in ("card_link", "card_session", "challenge"):
        for row in session.execute(select(Base.metadata.tables[table])).mappings():
            link_digests_and_more |= {
                str(row[column]) for column in row if "digest" in column or "nonce" in column
            }
    events = repr([vars(row) for row in session.scalars(select(AuditEventRow))])
    session.remove()
    assert not [value for value in link_digests_and_more if value != "None" and value in events]


def test_no_value_of_the_bridge_prints_a_secret(place):
    card = place.card(CardProfile.SERIAL_20_OCTETS)
    link = place.link(card)
    opened = place.borrow(card)
    summary = place.registration.find_patron(place.librarian, place.cardnumber)
    with place.store.transaction() as transaction:
        account = transaction.find_account("hanako")
    checked = place.verification.check(card.certificate_der)
    printed = repr([link, opened, summary, place.resolve(opened), place.keys, account, checked]).encode()
    secrets = {
        "card number": place.cardnumber.encode(),
        "name": place.name.encode(),
        "token": opened.token.value.encode(),
        "serial number": str(card.serial_number).encode(),
        "password hash": account.password_hash.encode(),
    }
    assert found_in(printed, secrets) == []


def test_an_ended_link_leaves_nothing_of_the_card_in_the_tables(place):
    card = place.card()
    link = place.link(card)
    certificate = place.verification.check(card.certificate_der).certificate
    digest = place.verification.identifiers(place.library, certificate)[0].digest
    place.registration.unlink(place.librarian, link.link_id, reason=UnlinkReason.PATRON_REQUEST)
    session = place.store.scoped_session()
    rows = [repr(row) for table in Base.metadata.sorted_tables for row in session.execute(select(table))]
    session.remove()
    assert not [row for row in rows if digest in row]
