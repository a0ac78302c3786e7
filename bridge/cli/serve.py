"""``koha-jpki serve``: the middleware and the admin under gunicorn."""

from __future__ import annotations

import socket
import struct
from typing import Any

import click
from flask import Flask
from gunicorn.app.base import BaseApplication

from bridge.app import create_app_from
from bridge.cli.common import load, refusals_told
from bridge.counter import watch as desk_watch
from bridge.terminals import watch as terminal_watch
from bridge.wiring import build_bridge
from config import Settings

WORKING_THREADS = 16
"""Requests that may wait for Koha or the revocation source at the same time."""

THREADS = WORKING_THREADS + terminal_watch.MAXIMUM_WAITING + desk_watch.MAXIMUM_WAITING
"""Agents that wait for work, and desks for a patron at the card, cannot take a thread from anybody."""

RECEIVE_TIMEOUT = 5
"""Seconds of silence in the middle of a request until its thread is given to another."""


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn with one worker of several threads, its options set here."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's options (called by gunicorn)."""
        web = self._settings.web
        options = {
            "bind": _address(web.host, web.port),
            "worker_class": "gthread",
            "threads": THREADS,
            "loglevel": self._settings.logging.level.lower(),
            "when_ready": _when_ready,
            "post_worker_init": _worker_ready,
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Make the application, in the worker (called by gunicorn)."""
        bridge = build_bridge(self._settings)
        self.watch = bridge.services.terminals.watch
        bridge.services.bulk_unlinking.resume()
        return create_app_from(bridge.services, bridge.session_factory, self._settings.web)


def _worker_ready(worker: Any) -> None:
    # A worker that is told to stop lets its requests end; who waits need not be waited for.
    worker.app.watch.end_when(lambda: not worker.alive)


def _when_ready(arbiter: Any) -> None:
    listener = arbiter.LISTENERS[0].sock
    # gunicorn waits without end for the rest of a request; connections inherit the limit (socket(7)).
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", RECEIVE_TIMEOUT, 0))
    click.echo(f"listening on {_address(*listener.getsockname()[:2])}")


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@click.command()
@click.pass_context
def serve(ctx: click.Context) -> None:
    """Run the middleware and the admin."""
    settings = load(ctx)
    with refusals_told(ctx):
        # Whatever stands against starting is told here, before a worker fails at it.
        build_bridge(settings).store.dispose()
    Server(settings).run()
