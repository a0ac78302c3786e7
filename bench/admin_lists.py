"""How the first page of each list, and the dashboard, grow with the number of links.

Both databases are asked in turn, by the whole application: log-in, query, page.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import Engine, insert

from bench.figure import Figure, median_seconds
from bridge.accounts.own_account import OwnAccountService
from bridge.accounts.second_factor import SecondFactorPolicy
from bridge.admin.base import StaffView
from bridge.app import create_app_from
from bridge.links.bulk_unlinking import BulkUnlinkingService, at_once
from bridge.models import ActorKind, AuditTag, IdentifierKind, LinkState
from bridge.patrons.category import CategoryService
from bridge.services import Services
from bridge.statistics import StatisticsService
from bridge.store import AuditEventRow, CardLinkRow, CategoryMoveRow, open_engine, upgrade
from config.settings import WebSettings
from fuzz.kill import LIBRARY, Bridge
from jpki.simulator.pki import CardPki

FEW, MANY = 1_000, 1_000_000
ROWS_AT_ONCE = 20_000
ROUNDS, PAGES = 15, 3
LISTS = ("links", "renewals", "bulk", "categories", "terminals", "revocation", "audit")
SEARCHES = tuple(
    f"{name}/?search={text}" for name in ("links", "audit") for text in (f"{FEW // 2:032x}", "0" * 8)
)
"""For a number that is in both databases, and for digits that all begin with."""
DASHBOARD = "/admin/dashboard/"
NOW = datetime(2026, 11, 2, 3, 0, tzinfo=UTC)
LIFE = timedelta(days=5 * 365)
"""Over so many days the certificates end, and the links were made: as in a city."""


def measure() -> Iterator[Figure]:
    """Yield the figures: of the list that grows most, and of the dashboard."""
    with tempfile.TemporaryDirectory() as folder:
        pki = CardPki.create(NOW)
        few = open_desk(Path(folder) / "few.sqlite3", FEW, pki)
        many = open_desk(Path(folder) / "many.sqlite3", MANY, pki)
        _open(many, DASHBOARD)  # the days that are over are counted once
        dashboard = _growth(few, many, DASHBOARD)
        growths = {
            name: _growth(few, many, f"/admin/{name}")
            for name in (*(f"{name}/" for name in LISTS), *SEARCHES)
        }
    print("  " + ", ".join(f"{name} {growth:.2f}" for name, growth in growths.items()), file=sys.stderr)
    yield Figure("admin.list_growth", max(growths.values()), "ratio", 2, "lower")
    yield Figure("admin.dashboard_growth", dashboard, "ratio", None, "lower")


def _growth(few: FlaskClient, many: FlaskClient, path: str) -> float:
    seconds = [
        median_seconds(lambda client=client: _open(client, path), rounds=ROUNDS, repeats=PAGES)
        for client in (few, many)
    ]
    return seconds[1] / seconds[0]


def _open(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200, path
    assert b"<tbody>" in answer.data


def open_desk(
    path: Path, count: int, pki: CardPki, view: Callable[[Services], StaffView] | None = None
) -> FlaskClient:
    """Return a librarian's browser, logged in, over a database with *count* links.

    *view* makes a further page for the admin.
    """
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    bridge = Bridge(f"sqlite:///{path}", lambda: NOW, pki)
    bridge.furnish()
    _insert(engine, count)
    engine.dispose()
    web = WebSettings("127.0.0.1", 0, secret_key="of a bench", secure_cookies=False)
    services: dict[str, Any] = {each.name: None for each in fields(Services)}
    services |= {
        "registration": bridge.registration,
        "staff": bridge.staff,
        "own_account": OwnAccountService(bridge.environment, bridge.staff, SecondFactorPolicy.OPTIONAL),
        "bulk_unlinking": BulkUnlinkingService(
            bridge.environment, CategoryService(bridge.environment), at_once
        ),
        "library_names": {LIBRARY: "中央図書館"},
        "statistics": StatisticsService(bridge.environment, lambda: ()),
        "clock": lambda: NOW,
    }
    app = create_app_from(Services(**services), bridge.store.scoped_session(), web)
    if view is not None:
        app.extensions["admin"][0].add_view(view(Services(**services)))
    client = app.test_client()
    page = client.get("/admin/login").text
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert found is not None
    form = {"csrf_token": found[1], "login_name": "hanako", "password": "correct horse battery staple"}
    assert client.post("/admin/login", data=form).status_code == 303
    return client


def _insert(engine: Engine, count: int) -> None:
    """Put links into the database in bulk, and of each link one event and one change of category."""
    with engine.begin() as connection:
        for begin in range(0, count, ROWS_AT_ONCE):
            batch = range(begin, min(begin + ROWS_AT_ONCE, count))
            connection.execute(insert(CardLinkRow), [_link(number, count) for number in batch])
            connection.execute(insert(AuditEventRow), [_event(number, count) for number in batch])
            connection.execute(insert(CategoryMoveRow), [_move(number, count) for number in batch])


def _link(number: int, count: int) -> dict[str, object]:
    made = NOW - LIFE * ((count - number) / count)
    return {
        "link_id": f"{number:032x}",
        "library_id": LIBRARY,
        "patron_id": number + 1,
        "kind": IdentifierKind.SERIAL_NUMBER,
        "key_id": "k1",
        "digest": sha256(number.to_bytes(8, "big")).hexdigest(),
        "state": LinkState.ACTIVE,
        "not_after": made + LIFE,
        "linked_at": made,
        "linked_by": "bench",
    }


def _event(number: int, count: int) -> dict[str, object]:
    return {
        "at": NOW - LIFE * ((count - number) / count),
        "library_id": LIBRARY,
        "tag": AuditTag.LINK_CREATED,
        "actor_kind": ActorKind.TERMINAL,
        "actor_id": "counter-1",
        "subject": f"{number:032x}",
        "terminal_id": "counter-1",
        "details": {},
        # Those of the furnishing come before; nobody looks at the chain here.
        "sequence": number + 1_000,
        "hash": b"",
    }


def _move(number: int, count: int) -> dict[str, object]:
    moment = NOW - LIFE * ((count - number) / count)
    return {
        "move_id": f"{number:032x}",
        "library_id": LIBRARY,
        "link_id": f"{number:032x}",
        "patron_id": number + 1,
        "direction": "linked",
        "from_category": "PT",
        "to_category": "JP",
        "state": "done",
        "created_at": moment,
        "updated_at": moment,
        "attempts": 1,
        "problem": None,
    }
