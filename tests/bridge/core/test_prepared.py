"""Statements made ready once: the same rows and the same errors as over SQLAlchemy, on either database."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import bindparam, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from bridge.errors import StoreUnavailable
from bridge.models import TerminalKind
from bridge.store.prepared import Prepared
from bridge.store.tables import ChallengeRow, TerminalRow, table_under
from jpki.challenge import ChallengePurpose

TERMINALS, CHALLENGES = table_under(TerminalRow), table_under(ChallengeRow)
AT = datetime(2026, 11, 2, 3, 0, 0, 5, tzinfo=UTC)

ADD = Prepared(insert(CHALLENGES), [column.key for column in CHALLENGES.c])
BY_ID = select(CHALLENGES).where(CHALLENGES.c.challenge_id == bindparam("of_challenge"))
FIND = Prepared(BY_ID)
USE = Prepared(
    update(CHALLENGES)
    .where(
        CHALLENGES.c.challenge_id == bindparam("of_challenge"),
        CHALLENGES.c.purpose == ChallengePurpose.BORROW,
        CHALLENGES.c.used_at.is_(None),
    )
    .values(used_at=bindparam("at"))
)


def challenge(**changed):
    values = dict.fromkeys(column.key for column in CHALLENGES.c)
    values |= {
        "challenge_id": "challenge-1",
        "purpose": ChallengePurpose.BORROW,
        "library_id": "central",
        "terminal_id": "check-1",
        "nonce": bytes(range(32)),
        "issued_at": AT,
        "expires_at": AT,
        "certificate_digest": b"digest",
    }
    return values | changed


@pytest.fixture
def connection(store):
    with store._engine.begin() as connection:
        yield connection
        connection.rollback()


def test_a_row_comes_back_as_sqlalchemy_gives_it(connection):
    assert ADD.change(connection, challenge()) == 1
    row = FIND.first(connection, {"of_challenge": "challenge-1"})
    expected = connection.execute(BY_ID, {"of_challenge": "challenge-1"}).one()
    assert row._asdict() == dict(expected._mapping)
    assert (row.purpose, row.issued_at, row.used_at) == (ChallengePurpose.BORROW, AT, None)
    assert FIND.first(connection, {"of_challenge": "challenge-2"}) is None


def test_a_change_tells_how_many_rows_it_met(connection):
    ADD.change(connection, challenge())
    ADD.change(connection, challenge(challenge_id="challenge-2", purpose=ChallengePurpose.LINK))
    assert USE.change(connection, {"of_challenge": "challenge-1", "at": AT}) == 1
    assert USE.change(connection, {"of_challenge": "challenge-1", "at": AT}) == 0
    assert USE.change(connection, {"of_challenge": "challenge-2", "at": AT}) == 0, "another purpose"
    assert FIND.first(connection, {"of_challenge": "challenge-1"}).used_at == AT


def test_a_value_that_is_not_given_is_an_error(connection):
    with pytest.raises(KeyError):
        USE.change(connection, {"of_challenge": "challenge-1"})


def test_a_list_of_changing_length_is_refused(connection):
    several = Prepared(select(TERMINALS).where(TERMINALS.c.kind.in_(bindparam("kinds", expanding=True))))
    with pytest.raises(ValueError, match="changing length"):
        several.rows(connection, {"kinds": [TerminalKind.COUNTER]})


def test_an_error_is_sqlalchemys_and_repeats_no_value(connection):
    ADD.change(connection, challenge())
    with pytest.raises(IntegrityError) as raised:
        ADD.change(connection, challenge(terminal_id="secret"))
    assert "secret" not in str(raised.value)


def test_a_connection_that_was_cut_is_given_up(postgresql_store):
    engine = postgresql_store._engine

    def go_on_after_the_cut():
        with engine.begin() as connection:
            FIND.rows(connection, {"of_challenge": "challenge-1"})
            cut(engine, connection)
            FIND.rows(connection, {"of_challenge": "challenge-1"})

    with pytest.raises(DBAPIError) as raised:
        go_on_after_the_cut()
    assert raised.value.connection_invalidated
    with engine.begin() as connection:
        assert FIND.rows(connection, {"of_challenge": "challenge-1"}) == []


def test_a_transaction_that_was_cut_is_told_as_such(postgresql_store):
    def go_on_after_the_cut():
        with postgresql_store.transaction() as transaction:
            cut(postgresql_store._engine, transaction._connection)
            transaction.find_challenge("challenge-1")

    with pytest.raises(StoreUnavailable):
        go_on_after_the_cut()
    with postgresql_store.reading() as transaction:
        assert transaction.find_challenge("challenge-1") is None


def cut(engine, connection):
    number = connection.execute(text("SELECT pg_backend_pid()")).scalar()
    with engine.begin() as other:
        other.execute(text("SELECT pg_terminate_backend(:number)"), {"number": number})
