"""The server of ``bench.links_session``: the application and an empty view under the product's gunicorn."""

from __future__ import annotations

import os
import sys
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Flask

from bridge.app import create_app_from
from bridge.cli.serve import Server
from bridge.services import Services
from bridge.terminals.service import TerminalService
from config import Settings, load_settings
from fuzz.kill import LIBRARY, Bridge
from jpki.simulator.pki import CardPki

EMPTY_VIEW = "/empty"


def present() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


class BenchServer(Server):
    """Runs the application over the bench's database, with the same options as the product."""

    def __init__(self, settings: Settings, url: str, pki: CardPki) -> None:
        self._url, self._pki = url, pki
        super().__init__(settings)

    def load(self) -> Any:
        """Put a view of its own application before the product's, on the same server."""
        bridge = Bridge(self._url, present, self._pki)
        terminals = TerminalService(bridge.environment, bridge.borrowing.idle_limit)
        self.watch = terminals.watch
        services: dict[str, Any] = {each.name: None for each in fields(Services)}
        services |= {  # no admin page is asked for
            "registration": bridge.registration,
            "borrowing": bridge.borrowing,
            "staff": bridge.staff,
            "terminals": terminals,
            "library_names": {LIBRARY: "中央図書館"},
            "clock": present,
        }
        product = create_app_from(Services(**services), bridge.store.scoped_session(), self._settings.web)
        empty = Flask("empty")
        empty.add_url_rule(EMPTY_VIEW, "empty", lambda: "")

        def either(environ: Any, start_response: Any) -> Any:
            app = empty if environ["PATH_INFO"] == EMPTY_VIEW else product
            return app(environ, start_response)

        return either


def run(settings_file: Path, url: str, pki: CardPki) -> None:
    """Serve until the process is ended."""
    sys.argv = sys.argv[:1]  # gunicorn would read them
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # figures alone go to standard output
    BenchServer(load_settings(settings_file, {}), url, pki).run()
