"""How the look-up of a card grows with the number of links."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from sqlalchemy import Engine, insert

from bench.figure import Figure
from bridge.models import CardIdentifier, IdentifierKind, LinkState
from bridge.store import CardLinkRow, SqlStore, open_engine, upgrade
from bridge.store.tables import CardClaimRow

LIBRARY = "central"
FEW, MANY = 1_000, 1_000_000
LOOKUPS = 2_000
ROWS_AT_ONCE = 20_000
NOW = datetime(2026, 11, 2, 3, 0, tzinfo=UTC)


def measure() -> Figure:
    """Return the figure."""
    return Figure("links.lookup_growth", _lookup_growth(), "ratio", 2, "lower")


def _lookup_growth() -> float:
    """The look-up of a card among a million links, against that among a thousand."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{folder}/bridge.sqlite3")
        upgrade(engine)
        _insert(engine, range(FEW))
        few = _lookup_seconds(SqlStore(engine), FEW)
        _insert(engine, range(FEW, MANY))
        many = _lookup_seconds(SqlStore(engine), MANY)
        engine.dispose()
    return many / few


def _insert(engine: Engine, numbers: range) -> None:
    """Put links into the database, in bulk."""
    with engine.begin() as connection:
        for begin in range(numbers.start, numbers.stop, ROWS_AT_ONCE):
            batch = range(begin, min(begin + ROWS_AT_ONCE, numbers.stop))
            connection.execute(insert(CardLinkRow), [_link(number) for number in batch])
            connection.execute(
                insert(CardClaimRow),
                [
                    {
                        "key_id": "k1",
                        "library_id": LIBRARY,
                        "kind": IdentifierKind.SERIAL_NUMBER,
                        "digest": _digest(number),
                        "link_id": f"{number:032x}",
                    }
                    for number in batch
                ],
            )


def _link(number: int) -> dict[str, object]:
    return {
        "link_id": f"{number:032x}",
        "library_id": LIBRARY,
        "patron_id": number,
        "kind": IdentifierKind.SERIAL_NUMBER,
        "key_id": "k1",
        "digest": _digest(number),
        "state": LinkState.ACTIVE,
        "not_after": NOW + timedelta(days=900),
        "linked_at": NOW,
        "linked_by": "bench",
    }


def _digest(number: int) -> str:
    return sha256(number.to_bytes(8, "big")).hexdigest()


def _lookup_seconds(store: SqlStore, count: int) -> float:
    """The median time in which a card is found, of cards anywhere among *count*."""
    chosen = random.Random(1).choices(range(count), k=LOOKUPS)  # not for secrets
    times = []
    for number in chosen:
        identifier = CardIdentifier(IdentifierKind.SERIAL_NUMBER, "k1", _digest(number))
        begun = time.perf_counter()
        with store.reading() as transaction:
            found = transaction.find_open_link(LIBRARY, [identifier])
        times.append(time.perf_counter() - begun)
        assert found is not None
        assert found.patron_id == number
    return statistics.median(times)
