"""Terminals and librarians."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Update, bindparam, func, or_, select, text, update

from bridge.errors import KohaAccountTaken, NameTaken, TerminalNotFound
from bridge.models import (
    Librarian,
    LibrarianRole,
    OpenWork,
    Terminal,
    TerminalEnrolment,
    TerminalReport,
)
from bridge.ports import EncryptedValue, LibrarianAccount, SecondFactor
from bridge.store.prepared import Prepared
from bridge.store.queries import Queries
from bridge.store.tables import (
    CardSessionRow,
    LibrarianRow,
    LinkRequestRow,
    TerminalRow,
    last_report,
    table_under,
)

REQUEST_IS_OPEN = text("state IN ('waiting_for_card', 'waiting_for_pin')")
"""In the words of the index ``uq_link_request_open``, which a bound value would not be known to meet."""

TERMINALS = table_under(TerminalRow)

TERMINAL_BY_TOKEN = Prepared(
    select(TERMINALS).where(TERMINALS.c.active, TERMINALS.c.token_digest == bindparam("of_token"))
)


def _terminal(row: TerminalRow | Row[Any]) -> Terminal:
    return Terminal(
        terminal_id=row.terminal_id,
        library_id=row.library_id,
        name=row.name,
        kind=row.kind,
        sip2_login=row.sip2_login,
        active=row.active,
        last_seen_at=row.last_seen_at,
        report=last_report(row),
    )


def _librarian(row: LibrarianRow) -> Librarian:
    return Librarian(
        librarian_id=row.librarian_id,
        library_id=row.library_id,
        login_name=row.login_name,
        display_name=row.display_name,
        role=row.role,
        active=row.active,
        session_generation=row.session_generation,
        has_second_factor=row.second_factor_confirmed_at is not None,
        koha_patron_id=row.koha_patron_id,
    )


def _second_factor(row: LibrarianRow) -> SecondFactor | None:
    key_id, nonce = row.second_factor_key_id, row.second_factor_nonce
    ciphertext = row.second_factor_ciphertext
    if key_id is None or nonce is None or ciphertext is None:
        return None
    secret = EncryptedValue(key_id, nonce, ciphertext)
    return SecondFactor(secret, row.second_factor_confirmed_at, row.second_factor_last_step)


def _account(row: LibrarianRow) -> LibrarianAccount:
    return LibrarianAccount(
        librarian=_librarian(row),
        failed_log_ins=row.failed_log_ins,
        locked_until=row.locked_until,
        password_hash=row.password_hash,
        second_factor=_second_factor(row),
    )


def _secret_columns(secret: EncryptedValue | None) -> dict[str, object]:
    return {
        "second_factor_key_id": None if secret is None else secret.key_id,
        "second_factor_nonce": None if secret is None else secret.nonce,
        "second_factor_ciphertext": None if secret is None else secret.ciphertext,
    }


def _at(library_id: str, terminal_id: str) -> Update:
    """Return the beginning of a change of one active terminal."""
    return update(TerminalRow).where(
        TerminalRow.active, TerminalRow.library_id == library_id, TerminalRow.terminal_id == terminal_id
    )


def _end(row: CardSessionRow, idle_limit: timedelta) -> datetime:
    return min(row.expires_at, (row.last_used_at or row.opened_at) + idle_limit)


class StaffQueries(Queries):
    """Queries on terminals and librarians."""

    def add_terminal(self, terminal: Terminal, token_digest: str) -> None:
        """See ``bridge.ports.Transaction``."""
        row = self._session.get(TerminalRow, (terminal.library_id, terminal.terminal_id))
        if row is None:
            row = TerminalRow(library_id=terminal.library_id, terminal_id=terminal.terminal_id)
        elif row.active:
            raise NameTaken
        row.name, row.kind = terminal.name, terminal.kind
        row.sip2_login, row.active = terminal.sip2_login, terminal.active
        row.token_digest = token_digest
        self._add(row, taken=NameTaken)

    def remove_terminal(self, library_id: str, terminal_id: str) -> Terminal:
        """See ``bridge.ports.Transaction``."""
        row = self._session.get(TerminalRow, (library_id, terminal_id))
        if row is None or not row.active:
            raise TerminalNotFound
        row.active, row.token_digest, row.sip2_login = False, None, None
        row.enrolment_digest = row.enrolment_expires_at = row.enrolled_at = None
        row.last_seen_at = row.reader = row.output = row.agent_version = None
        self._session.flush()
        return _terminal(row)

    def count_terminals(self) -> Mapping[str, int]:
        """Return how many active terminals each library has."""
        counted = select(TerminalRow.library_id, func.count()).where(TerminalRow.active)
        rows = self._connection.execute(counted.group_by(TerminalRow.library_id))
        return dict(rows.all())

    def count_librarians(self) -> Mapping[str, int]:
        """Return how many accounts of staff each library has, disabled ones too."""
        counted = select(LibrarianRow.library_id, func.count()).group_by(LibrarianRow.library_id)
        return dict(self._connection.execute(counted).all())

    def find_terminal(self, library_id: str, terminal_id: str) -> Terminal | None:
        """Return an active terminal."""
        return self._find_terminal(
            TerminalRow.library_id == library_id, TerminalRow.terminal_id == terminal_id
        )

    def find_terminal_by_token(self, token_digest: str) -> Terminal | None:
        """Return the active terminal that holds the token."""
        row = TERMINAL_BY_TOKEN.first(self._connection, {"of_token": token_digest})
        return None if row is None else _terminal(row)

    def find_terminal_by_sip2_login(self, library_id: str, sip2_login: str) -> Terminal | None:
        """Return the active terminal whose machine logs in to SIP2 by this name."""
        return self._find_terminal(TerminalRow.library_id == library_id, TerminalRow.sip2_login == sip2_login)

    def _find_terminal(self, *where: ColumnElement[bool]) -> Terminal | None:
        row = self._session.scalar(select(TerminalRow).where(TerminalRow.active, *where))
        return None if row is None else _terminal(row)

    def terminals(self, library_id: str) -> Sequence[Terminal]:
        """Return the active terminals of a library, by id."""
        rows = self._session.scalars(
            select(TerminalRow)
            .where(TerminalRow.active, TerminalRow.library_id == library_id)
            .order_by(TerminalRow.terminal_id)
        )
        return [_terminal(row) for row in rows]

    def set_enrolment_code(
        self, library_id: str, terminal_id: str, digest: str, expires_at: datetime
    ) -> None:
        """See ``bridge.ports.Transaction``."""
        self._session.execute(
            _at(library_id, terminal_id).values(
                enrolment_digest=digest, enrolment_expires_at=expires_at, enrolled_at=None
            )
        )

    def find_enrolment(self, digests: Sequence[str]) -> TerminalEnrolment | None:
        """See ``bridge.ports.Transaction``."""
        row = self._session.scalar(
            select(TerminalRow)
            .where(TerminalRow.active, TerminalRow.enrolment_digest.in_(digests))
            .with_for_update()
        )
        if row is None or row.enrolment_expires_at is None:
            return None
        return TerminalEnrolment(row.library_id, row.terminal_id, row.enrolment_expires_at, row.enrolled_at)

    def enrol_terminal(self, library_id: str, terminal_id: str, token_digest: str, at: datetime) -> Terminal:
        """See ``bridge.ports.Transaction``."""
        row = self._session.get(TerminalRow, (library_id, terminal_id))
        if row is None or not row.active:
            raise TerminalNotFound
        row.token_digest, row.enrolled_at = token_digest, at
        self._add(row, taken=NameTaken)
        return _terminal(row)

    def see_terminal(
        self, library_id: str, terminal_id: str, at: datetime, report: TerminalReport | None = None
    ) -> None:
        """See ``bridge.ports.Transaction``."""
        told = {}
        if report is not None:
            told = {"reader": report.reader, "output": report.output, "agent_version": report.version}
        self._session.execute(_at(library_id, terminal_id).values(last_seen_at=at, **told))

    def open_work(self, idle_limit: timedelta, terminal: Terminal | None = None) -> Sequence[OpenWork]:
        """See ``bridge.ports.Transaction``."""
        requests = select(LinkRequestRow).where(REQUEST_IS_OPEN)
        sessions = select(CardSessionRow).where(CardSessionRow.closed_at.is_(None))
        if terminal is not None:
            place = {"library_id": terminal.library_id, "terminal_id": terminal.terminal_id}
            requests, sessions = requests.filter_by(**place), sessions.filter_by(**place)
        return [
            *(
                OpenWork(row.library_id, row.terminal_id, row.request_id, row.expires_at)
                for row in self._session.scalars(requests.order_by(LinkRequestRow.started_at))
            ),
            *(
                OpenWork(row.library_id, row.terminal_id, row.session_id, _end(row, idle_limit))
                for row in self._session.scalars(sessions.order_by(CardSessionRow.opened_at))
            ),
        ]

    def add_librarian(self, librarian: Librarian, password_hash: str) -> None:
        """See ``bridge.ports.Transaction``."""
        self._add(
            LibrarianRow(
                librarian_id=librarian.librarian_id,
                library_id=librarian.library_id,
                login_name=librarian.login_name,
                display_name=librarian.display_name,
                role=librarian.role,
                active=librarian.active,
                password_hash=password_hash,
                koha_patron_id=librarian.koha_patron_id,
            ),
            taken=NameTaken,
            in_the_way={"koha_patron": KohaAccountTaken},
        )

    def find_librarian(self, librarian_id: str) -> Librarian | None:
        """Return a librarian, active or not."""
        row = self._session.get(LibrarianRow, librarian_id)
        return None if row is None else _librarian(row)

    def find_account(self, login_name: str) -> LibrarianAccount | None:
        """Return what a log-in by this name is checked against."""
        row = self._session.scalar(select(LibrarianRow).where(LibrarianRow.login_name == login_name))
        return None if row is None else _account(row)

    def account_of(self, librarian_id: str) -> LibrarianAccount | None:
        """See ``bridge.ports.Transaction``."""
        row = self._session.get(LibrarianRow, librarian_id, populate_existing=True)
        return None if row is None else _account(row)

    def accounts(self, library_id: str) -> Sequence[LibrarianAccount]:
        """See ``bridge.ports.Transaction``."""
        rows = self._session.scalars(
            select(LibrarianRow)
            .where(LibrarianRow.library_id == library_id)
            .order_by(LibrarianRow.login_name)
        )
        return [_account(row) for row in rows]

    def set_librarian_active(self, librarian_id: str, *, active: bool) -> None:
        """Let a librarian log in, or not."""
        self._update_librarian(librarian_id, active=active)

    def set_librarian_role(self, librarian_id: str, role: LibrarianRole) -> None:
        """Give a librarian another role."""
        self._update_librarian(librarian_id, role=role)

    def end_admin_sessions(self, librarian_id: str) -> None:
        """See ``bridge.ports.Transaction``."""
        self._update_librarian(librarian_id, session_generation=LibrarianRow.session_generation + 1)

    def count_failed_log_in(self, librarian_id: str, now: datetime) -> int | None:
        """See ``bridge.ports.Transaction``. Of many at the same moment each gets a number of its own."""
        return self._session.execute(
            update(LibrarianRow)
            .where(
                LibrarianRow.librarian_id == librarian_id,
                or_(LibrarianRow.locked_until.is_(None), LibrarianRow.locked_until <= now),
            )
            .values(failed_log_ins=LibrarianRow.failed_log_ins + 1)
            .returning(LibrarianRow.failed_log_ins)
        ).scalar_one_or_none()

    def lock_account(self, librarian_id: str, until: datetime) -> None:
        """See ``bridge.ports.Transaction``."""
        self._update_librarian(librarian_id, locked_until=until)

    def take_back_failure(self, librarian_id: str, locked_until: datetime | None) -> None:
        """See ``bridge.ports.Transaction``."""
        account = LibrarianRow.librarian_id == librarian_id
        self._session.execute(
            update(LibrarianRow)
            .where(account, LibrarianRow.failed_log_ins > 0)
            .values(failed_log_ins=LibrarianRow.failed_log_ins - 1)
        )
        if locked_until is not None:
            self._session.execute(
                update(LibrarianRow)
                .where(account, LibrarianRow.locked_until == locked_until)
                .values(locked_until=None)
            )

    def clear_failed_log_ins(self, librarian_id: str) -> None:
        """Forget the failures after a success."""
        self._update_librarian(librarian_id, failed_log_ins=0, locked_until=None)

    def set_password_hash(self, librarian_id: str, password_hash: str) -> None:
        """Replace the hash of a librarian's password."""
        self._update_librarian(librarian_id, password_hash=password_hash)

    def set_password_source(self, librarian_id: str, koha_patron_id: int | None, password_hash: str) -> None:
        """See ``bridge.ports.Transaction``."""
        row = self._session.get_one(LibrarianRow, librarian_id)
        row.koha_patron_id, row.password_hash = koha_patron_id, password_hash
        self._add(row, taken=KohaAccountTaken)

    def propose_second_factor(self, librarian_id: str, secret: EncryptedValue) -> None:
        """See ``bridge.ports.Transaction``."""
        self._update_librarian(
            librarian_id,
            second_factor_confirmed_at=None,
            second_factor_last_step=None,
            **_secret_columns(secret),
        )

    def confirm_second_factor(self, librarian_id: str, step: int, at: datetime) -> bool:
        """See ``bridge.ports.Transaction``."""
        met = self._changed(
            update(LibrarianRow)
            .where(
                LibrarianRow.librarian_id == librarian_id,
                LibrarianRow.second_factor_ciphertext.is_not(None),
                LibrarianRow.second_factor_confirmed_at.is_(None),
            )
            .values(second_factor_confirmed_at=at, second_factor_last_step=step)
        )
        return met == 1

    def use_second_factor_step(self, librarian_id: str, step: int) -> bool:
        """See ``bridge.ports.Transaction``. Of two with the same code at the same moment one is late."""
        last = LibrarianRow.second_factor_last_step
        met = self._changed(
            update(LibrarianRow)
            .where(
                LibrarianRow.librarian_id == librarian_id,
                LibrarianRow.second_factor_confirmed_at.is_not(None),
                or_(last.is_(None), last < step),
            )
            .values(second_factor_last_step=step)
        )
        return met == 1

    def remove_second_factor(self, librarian_id: str) -> None:
        """See ``bridge.ports.Transaction``."""
        self._update_librarian(
            librarian_id,
            second_factor_confirmed_at=None,
            second_factor_last_step=None,
            **_secret_columns(None),
        )

    def second_factors_to_rotate(self, key_id: str) -> Sequence[LibrarianAccount]:
        """See ``bridge.ports.Transaction``."""
        rows = self._session.scalars(select(LibrarianRow).where(LibrarianRow.second_factor_key_id != key_id))
        return [_account(row) for row in rows]

    def rotate_second_factor(self, librarian_id: str, before: EncryptedValue, after: EncryptedValue) -> None:
        """See ``bridge.ports.Transaction``."""
        self._session.execute(
            update(LibrarianRow)
            .where(
                LibrarianRow.librarian_id == librarian_id,
                LibrarianRow.second_factor_key_id == before.key_id,
                LibrarianRow.second_factor_nonce == before.nonce,
            )
            .values(**_secret_columns(after))
        )

    def _update_librarian(self, librarian_id: str, **values: object) -> None:
        self._session.execute(
            update(LibrarianRow).where(LibrarianRow.librarian_id == librarian_id).values(**values)
        )
