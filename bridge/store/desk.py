"""The desk in Koha's staff pages: plugins, accounts, passes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select, update

from bridge.errors import LibrarianNotFound, NameTaken, PluginNotFound
from bridge.models import DeskPass, KohaAccount, KohaPlugin
from bridge.ports import PluginCredentials
from bridge.store.queries import Queries
from bridge.store.tables import DeskPassRow, KohaAccountRow, KohaPluginRow


def _plugin(row: KohaPluginRow) -> KohaPlugin:
    return KohaPlugin(row.plugin_id, row.library_id, row.name)


def _account(row: KohaAccountRow) -> KohaAccount:
    return KohaAccount(row.library_id, row.koha_patron_id, row.librarian_id)


class DeskQueries(Queries):
    """Queries on what opens the desk."""

    def add_plugin(self, plugin: KohaPlugin, secret_digest: str) -> None:
        """Keep a plugin and the digest of its secret."""
        self._add(
            KohaPluginRow(
                plugin_id=plugin.plugin_id,
                library_id=plugin.library_id,
                name=plugin.name,
                secret_digest=secret_digest,
            )
        )

    def remove_plugin(self, library_id: str, plugin_id: str) -> KohaPlugin:
        """See ``bridge.ports.Transaction``."""
        row = self._session.get(KohaPluginRow, plugin_id)
        if row is None or row.library_id != library_id:
            raise PluginNotFound
        self._session.execute(delete(DeskPassRow).where(DeskPassRow.plugin_id == plugin_id))
        self._session.delete(row)
        self._session.flush()
        return _plugin(row)

    def plugins(self, library_id: str) -> Sequence[KohaPlugin]:
        """Return the plugins of a library, by name."""
        rows = self._session.scalars(
            select(KohaPluginRow).where(KohaPluginRow.library_id == library_id).order_by(KohaPluginRow.name)
        )
        return [_plugin(row) for row in rows]

    def find_plugin(self, plugin_id: str) -> PluginCredentials | None:
        """Return a plugin and what its secret is checked against."""
        row = self._session.get(KohaPluginRow, plugin_id)
        if row is None:
            return None
        return PluginCredentials(_plugin(row), row.failures, row.locked_until, row.secret_digest)

    def set_plugin_failures(self, plugin_id: str, failures: int, locked_until: datetime | None) -> None:
        """Keep how many wrong secrets came in a row, and until when none is looked at."""
        self._session.execute(
            update(KohaPluginRow)
            .where(KohaPluginRow.plugin_id == plugin_id)
            .values(failures=failures, locked_until=locked_until)
        )

    def add_koha_account(self, account: KohaAccount) -> None:
        """See ``bridge.ports.Transaction``."""
        row = KohaAccountRow(
            library_id=account.library_id,
            koha_patron_id=account.koha_patron_id,
            librarian_id=account.librarian_id,
        )
        self._add(row, taken=NameTaken)

    def remove_koha_account(self, library_id: str, koha_patron_id: int) -> KohaAccount:
        """See ``bridge.ports.Transaction``."""
        row = self._session.get(KohaAccountRow, (library_id, koha_patron_id))
        if row is None:
            raise LibrarianNotFound
        self._session.execute(delete(DeskPassRow).where(DeskPassRow.librarian_id == row.librarian_id))
        self._session.delete(row)
        self._session.flush()
        return _account(row)

    def koha_accounts(self, library_id: str) -> Sequence[KohaAccount]:
        """Return the accounts of a library, by number."""
        rows = self._session.scalars(
            select(KohaAccountRow)
            .where(KohaAccountRow.library_id == library_id)
            .order_by(KohaAccountRow.koha_patron_id)
        )
        return [_account(row) for row in rows]

    def find_koha_account(self, library_id: str, koha_patron_id: int) -> KohaAccount | None:
        """Return whose account it is."""
        row = self._session.get(KohaAccountRow, (library_id, koha_patron_id))
        return None if row is None else _account(row)

    def add_desk_pass(self, desk_pass: DeskPass, token_digest: str) -> None:
        """Keep a pass under the digest of its token."""
        self._add(
            DeskPassRow(
                token_digest=token_digest,
                librarian_id=desk_pass.librarian_id,
                plugin_id=desk_pass.plugin_id,
                session_generation=desk_pass.session_generation,
                expires_at=desk_pass.expires_at,
            )
        )

    def find_desk_pass(self, token_digest: str) -> DeskPass | None:
        """Return the pass of a token, over or not."""
        row = self._session.get(DeskPassRow, token_digest)
        if row is None:
            return None
        return DeskPass(row.librarian_id, row.session_generation, row.plugin_id, row.expires_at)

    def delete_desk_passes(self, expired_until: datetime) -> None:
        """Delete the passes that were over by then."""
        self._session.execute(delete(DeskPassRow).where(DeskPassRow.expires_at <= expired_until))
