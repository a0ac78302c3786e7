"""The database, the master keys and the libraries: what every service stands on."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from bridge.environment import Environment
from bridge.errors import StoreProblem
from bridge.keys.command import read_key_command
from bridge.keys.ring import KeyRing, load_key_ring, parse_key_ring
from bridge.store import SqlStore, check_version, open_engine
from bridge.wiring.clock import now
from bridge.wiring.libraries import build_library
from config import KeySettings, Settings

LONGEST_LOOK = timedelta(milliseconds=120)
"""SQLite looks again at least every 100 ms whether a lock is free (``sqliteDefaultBusyCallback``)."""


class Foundation(NamedTuple):
    """The surroundings of all services, and the store in them by its own type."""

    environment: Environment
    store: SqlStore


def lay_foundation(settings: Settings, *, confirm: bool = True) -> Foundation:
    """Return what every service stands on. Raises ``StoreProblem``, ``KeyProblem``.

    Without *confirm* nobody asks whether the keys are those of the data.
    """
    engine = open_engine(settings.database.url)
    check_version(engine)
    keys = _load_keys(settings.keys)
    store = SqlStore(engine, keys)
    if confirm:
        keys.confirm(store)
    environment = Environment(
        store=store,
        keys=keys,
        libraries={library.library_id: build_library(library, settings) for library in settings.libraries},
        clock=now,
        random_bytes=secrets.token_bytes,
    )
    return Foundation(environment, store)


def build_environment(settings: Settings, *, confirm: bool = True) -> Environment:
    """Return the surroundings of the services; see ``lay_foundation``."""
    return lay_foundation(settings, confirm=confirm).environment


def _load_keys(keys: KeySettings) -> KeyRing:
    if keys.master_key_file is not None:
        return load_key_ring(keys.master_key_file, secrets.token_bytes)
    if keys.master_key_command is not None:
        lines = read_key_command(keys.master_key_command)
        return parse_key_ring(lines, "the key command", secrets.token_bytes)
    return parse_key_ring(keys.master_keys or "", "KOHA_JPKI_KEYS_MASTER_KEYS", secrets.token_bytes)


def check_keys(settings: Settings) -> None:
    """Raise ``KeyProblem`` unless the keys are those of the data, where there is a database."""
    keys = _load_keys(settings.keys)
    engine = open_engine(settings.database.url)
    with suppress(StoreProblem):  # named already
        check_version(engine)
        with SqlStore(engine).transaction() as transaction:
            keys.check(transaction)
    engine.dispose()


def let_others_write() -> None:
    """Wait for a little longer than SQLite does between two looks at whether it may write."""
    time.sleep(LONGEST_LOOK.total_seconds())
