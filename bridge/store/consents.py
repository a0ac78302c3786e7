"""The wordings of the consent that libraries have set."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from bridge.errors import ConsentChanged
from bridge.links.consent import ConsentWording, OwnConsent
from bridge.models import ConsentLanguage
from bridge.store.queries import Queries
from bridge.store.tables import ConsentWordingRow


def _consent(row: ConsentWordingRow) -> OwnConsent:
    texts = {ConsentLanguage.JAPANESE: row.japanese, ConsentLanguage.ENGLISH: row.english}
    return OwnConsent(row.revision, row.set_at, ConsentWording(row.version, texts))


class ConsentQueries(Queries):
    """Queries on what patrons are asked to agree to."""

    def add_consent(self, library_id: str, revision: int, wording: ConsentWording, at: datetime) -> None:
        """See ``bridge.ports.Transaction``."""
        self._add(
            ConsentWordingRow(
                library_id=library_id,
                revision=revision,
                version=wording.version,
                japanese=wording.texts[ConsentLanguage.JAPANESE],
                english=wording.texts[ConsentLanguage.ENGLISH],
                set_at=at,
            ),
            taken=ConsentChanged,
        )

    def last_consent(self, library_id: str) -> OwnConsent | None:
        """See ``bridge.ports.Transaction``."""
        return next(iter(self._consents(library_id, limit=1)), None)

    def find_consent(self, library_id: str, version: str) -> OwnConsent | None:
        """Return the wording of a version that a library set."""
        row = self._session.scalar(
            select(ConsentWordingRow).where(
                ConsentWordingRow.library_id == library_id, ConsentWordingRow.version == version
            )
        )
        return None if row is None else _consent(row)

    def consents(self, library_id: str) -> Sequence[OwnConsent]:
        """See ``bridge.ports.Transaction``."""
        return self._consents(library_id, limit=None)

    def _consents(self, library_id: str, *, limit: int | None) -> Sequence[OwnConsent]:
        rows = self._session.scalars(
            select(ConsentWordingRow)
            .where(ConsentWordingRow.library_id == library_id)
            .order_by(ConsentWordingRow.revision.desc())
            .limit(limit)
        )
        return [_consent(row) for row in rows]
