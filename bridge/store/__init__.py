"""The database: mapped classes, migrations, and every query.

``SqlStore`` is what the services see (as ``bridge.ports.Store``). The mapped classes are public for
the admin's read-only lists, and for nothing else.
"""

from __future__ import annotations

from bridge.store.engine import failures_translated, open_engine
from bridge.store.schema import check_version, upgrade
from bridge.store.store import SqlStore
from bridge.store.tables import (
    AuditEventRow,
    CardLinkRow,
    CardSessionRow,
    CategoryMoveRow,
    LibrarianRow,
    LinkRequestRow,
    SweptGroupRow,
    TerminalRow,
)

__all__ = [
    "AuditEventRow",
    "CardLinkRow",
    "CardSessionRow",
    "CategoryMoveRow",
    "LibrarianRow",
    "LinkRequestRow",
    "SqlStore",
    "SweptGroupRow",
    "TerminalRow",
    "check_version",
    "failures_translated",
    "open_engine",
    "upgrade",
]
